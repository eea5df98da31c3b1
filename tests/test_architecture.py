"""The rooms of the house: who may import whom, and how long a file may be. The table is the one in CONTRIBUTING.md."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parent.parent / "pytest_pycontainer"
FILES = sorted(PACKAGE.rglob("*.py"))
LONGEST_FILE = 400

STANDARD_LIBRARY = sys.stdlib_module_names
PROGRAM_STARTERS = {"subprocess", "pty", "multiprocessing", "concurrent.futures.process"}
# Spawner and keeper, which are fresh interpreters of our own; credential helpers, which are programs by their nature.
MAY_START_PROGRAMS = {
    PACKAGE / place
    for place in ("runtime/spawner.py", "engine/keeper.py", "engine/holder.py", "registry/credentials.py")
}
# The whole hierarchy of errors in one place is its subject, however long.
MAY_BE_LONGER = PACKAGE / "errors.py"

# A room, and what it may import beside the standard library, errors, and itself.
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "settings": set(),
    "kernel": set(),
    "image": set(),
    "runtime": {"kernel"},
    "network": {"kernel"},
    "store": {"image", "kernel", "filelock"},
    "registry": {"image", "store", "requests", "urllib3"},
    "build": {"image", "store"},
    "engine": {"kernel", "image", "runtime", "network", "store", "registry", "build", "settings"}
    | {"filelock", "dulwich"},
    "services": {"engine"} | {"kazoo", "nats", "paho", "pika", "psycopg", "pymemcache", "pymysql", "redis"},
    "reporting": {"engine", "build", "settings", "image", "registry", "pytest", "_pytest", "pluggy", "rich"},
    "hookspecs": {"engine", "settings", "pytest"},
    "plugin_hooks": {"engine", "services", "pytest"},
    "plugin_options": {"settings", "pytest"},
    "declarations": {"engine", "settings", "pytest", "_pytest"},
    "fixtures": {"declarations", "engine", "_pytest"},
    "plugin": {"plugin_options", "plugin_hooks", "hookspecs", "declarations", "engine", "services", "reporting"}
    | {"settings", "pytest"},
    "cli": {"engine", "services", "reporting", "settings"},
    "__init__": {"engine", "services", "settings", "fixtures", "store"},
    "__main__": {"cli"},
}


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere, in functions and for type checkers too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import; write the whole name"
            assert node.module is not None
            if node.module == PACKAGE.name:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module


def room_or_distribution(module: str) -> str:
    first, *rest = module.split(".")
    if first == PACKAGE.name:
        return rest[0] if rest else "__init__"
    return first


def forbidden(room: str, source: str) -> set[str]:
    allowed = ROOMS[room] | STANDARD_LIBRARY | {"errors", room}
    return {room_or_distribution(module) for module in imports(ast.parse(source))} - allowed


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_room_imports_only_what_lies_below_it(file: Path) -> None:
    assert forbidden(room_of(file), file.read_text()) == set()


def test_the_check_finds_each_kind_of_import() -> None:
    assert forbidden("kernel", "import pytest_pycontainer.engine.wait") == {"engine"}
    assert forbidden("image", "from pytest_pycontainer import store") == {"store"}
    assert forbidden("build", "def f():\n    from pytest_pycontainer.runtime.spec import Limits") == {"runtime"}
    assert forbidden("store", "import requests.adapters as r, os.path") == {"requests"}
    assert forbidden("network", "import socket\nfrom pytest_pycontainer.kernel import libc, errors") == set()


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_room_starts_programs_through_the_standard_library(file: Path) -> None:
    tree = ast.parse(file.read_text())
    allowed = {"subprocess"} if file in MAY_START_PROGRAMS else set()
    assert not set(imports(tree)) & PROGRAM_STARTERS - allowed
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not calls & {"os.system", "os.popen", "os.spawnv", "os.spawnve", "os.spawnvp", "os.spawnvpe", "os.startfile"}


@pytest.mark.parametrize("file", sorted(set(FILES) - {MAY_BE_LONGER}), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_file_has_one_subject(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= LONGEST_FILE, "look for the second subject and give it its own file"


def test_the_plugin_is_light() -> None:
    tree = ast.parse((PACKAGE / "plugin.py").read_text())
    at_import = {
        module for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom) for module in imports(node)
    }
    assert at_import <= {
        "__future__",
        "sys",
        "typing",
        "pytest",
        "pytest_pycontainer.hookspecs",
        "pytest_pycontainer.plugin_options",
    }


def test_the_spawner_is_light() -> None:
    """Each engine starts one, and each monitor has a copy of its memory."""
    code = (
        f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); before = set(sys.modules); "
        "import pytest_pycontainer.runtime.spawner_process; print(*(set(sys.modules) - before))"
    )
    listed = subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True, text=True)
    heavy = {
        "pathlib",
        "platform",
        "subprocess",
        "logging",
        "asyncio",
        "threading",
        "tempfile",
        "shutil",
        "typing_extensions",
    }
    assert not set(listed.stdout.split()) & heavy
