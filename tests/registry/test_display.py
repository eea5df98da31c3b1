"""What a pytest run shows while images come from a real registry. Runs of their own, as users have them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer.registry.push import push

if TYPE_CHECKING:
    from pytest_pycontainer.registry.registries import Registries
    from pytest_pycontainer.store.store import Store
    from tests.conftest import Terminal

TESTS = """
    import os
    import sys
    import pytest

    @pytest.fixture
    def created(pycontainer):
        print("printed by the fixture")
        with pycontainer.create("{name}", ["/a"]) as created:
            yield created

    def test_it(request, created, capsys):
        assert created.image.config.env == ("a=b",)
        print("printed by the test")
        assert "{gone}" not in capsys.readouterr().out
        assert ("rich" in sys.modules) == ("ON_TERMINAL" in os.environ), "imported where it draws, and only there"
        if hasattr(request.config, "workerinput"):
            assert "pytest_pycontainer.reporting.transfers" not in sys.modules, "nobody reads what a worker writes"
"""
SHOWN = [
    "Unable to find image '{name}:latest' locally",
    "latest: Pulling from {path}",
    "????????????: Pull complete",
    "Digest: {digest}",
    "Status: Downloaded newer image for {name}:latest",
]


class Project:
    """A folder with a test that needs the image ``name``, which is in the registry and not here."""

    def __init__(self, name: str, digest: str, pytester: pytest.Pytester) -> None:
        self.name = name
        self._pytester = pytester
        values = {"name": name, "digest": digest, "path": name.partition("/")[2]}
        self.shown = [line.format(**values) for line in SHOWN]
        pytester.makeini("[pytest]\naddopts = -p no:cacheprovider --import-mode=importlib\nfilterwarnings = error")
        pytester.makepyfile(test_shown=TESTS.format(name=name, gone=digest))

    def run(self, *arguments: str) -> pytest.RunResult:
        result = self._pytester.runpytest_subprocess(*arguments, timeout=120)
        assert result.stderr.lines == []
        return result

    def run_on(self, terminal: Terminal, *arguments: str) -> int:
        """Runs pytest on a terminal and returns its exit code."""
        command = [sys.executable, "-m", "pytest", *arguments]
        run = subprocess.run(
            command,
            stdin=terminal.file,
            stdout=terminal.file,
            stderr=terminal.file,
            cwd=self._pytester.path,
            env=os.environ | {"ON_TERMINAL": "yes", "PY_COLORS": "1"},
            timeout=120,
        )
        return run.returncode


@pytest.fixture
def project(
    registries: Registries,
    name: str,
    new_store: Callable[[], Store],
    make_image: Callable[..., str],
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Project:
    monkeypatch.setenv("PYCONTAINER_ROOT", str(tmp_path / "store"))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    store = new_store()
    image = make_image(store, {"a": os.urandom(1 << 16)}, env=("a=b",))
    return Project(name, push(store, registries, image, name), pytester)


@pytest.mark.parametrize("capture", ["fd", "sys", "tee-sys", "no"])
def test_a_fixture_that_pulls_shows_it(project: Project, capture: str) -> None:
    result = project.run(f"--capture={capture}")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["test_shown.py *", *project.shown, ".*"])
    assert ("printed by the fixture" in result.stdout.str()) == (capture in ("no", "tee-sys"))
    again = project.run()
    again.assert_outcomes(passed=1)
    again.stdout.no_fnmatch_line("*Pull*")


def test_a_verbose_run_stays_tidy(project: Project) -> None:
    result = project.run("-v")
    begin = result.outlines.index(project.shown[0])
    assert result.outlines[begin - 1].strip() == "test_shown.py::test_it"
    assert re.fullmatch(r"test_shown.py::test_it PASSED +\[100%\]", result.outlines[begin + 6])


@pytest.mark.parametrize("arguments", [("-q",), ("-n", "1"), ("-n", "1", "-s"), ("-p", "no:terminal")], ids=" ".join)
def test_who_does_not_look_is_not_shown_anything(project: Project, arguments: tuple[str, ...]) -> None:
    result = project.run(*arguments)
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*Pull*")
    result.stdout.no_fnmatch_line("*Unable*")


def test_without_pytests_capturing(project: Project) -> None:
    result = project.run("-p", "no:capture")
    result.stdout.fnmatch_lines(project.shown)


@pytest.fixture
def terminal(open_terminal: Callable[..., Terminal]) -> Terminal:
    return open_terminal(120, 40)


@pytest.mark.parametrize("arguments", [(), ("-s",), ("--color=no",)], ids=" ".join)
def test_on_a_terminal(project: Project, terminal: Terminal, arguments: tuple[str, ...]) -> None:
    assert project.run_on(terminal, *arguments) == 0, terminal.text
    text = terminal.await_text(r"1 passed in .*=$")
    begin = text.splitlines().index(project.shown[0])
    shown = text.splitlines()[begin : begin + 6]
    assert [shown[0], shown[1], *shown[3:5]] == [*project.shown[:2], *project.shown[3:]]
    assert re.fullmatch(r"\w{12}: Pull complete", shown[2])
    assert re.fullmatch(r"\.( +\[100%\])?", shown[5])
    assert "\x1b[2K" in terminal.written, "it was drawn, and drawn again"
    assert bool(re.search(r"\x1b\[[0-9;]*m", terminal.written)) == ("--color=no" not in arguments)


def test_a_pull_that_fails(project: Project, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_shown=TESTS.format(name=f"{project.name}:none", gone="x"))
    result = project.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["Unable to find image '*:none' locally", "none: Pulling from *", "E *"])


def test_a_run_in_memory(project: Project, pytester: pytest.Pytester) -> None:
    """That of somebody who tests a plugin of theirs."""
    inner = Path("test_shown.py").read_text()
    pytester.makepyfile(
        test_shown=f"""
        pytest_plugins = "pytester"
        def test_outer(pytester):
            pytester.makepyfile({inner!r})
            result = pytester.runpytest_inprocess()
            result.assert_outcomes(passed=1)
            shown = ["Unable to find *", "* Pulling *", "*: Pull complete", "Digest: *", "Status: *"]
            result.stdout.fnmatch_lines(shown)
        """
    )
    result = project.run()
    result.assert_outcomes(passed=1)
