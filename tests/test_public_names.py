"""The names that users import: all there, imported late, and not lost to the rooms of the same name."""

from __future__ import annotations

import inspect
import subprocess
import sys
from types import ModuleType

import pytest

import pytest_pycontainer


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("name", pytest_pycontainer.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    assert inspect.getdoc(getattr(pytest_pycontainer, name))
    assert name in dir(pytest_pycontainer)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'contianer'"):
        _ = pytest_pycontainer.contianer


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import pytest_pycontainer; print(*sorted(set(sys.modules) - before))"
    assert python(code) == "pytest_pycontainer"


def test_an_engine_under_pytest_imports_no_library_that_few_runs_need() -> None:
    code = (
        "import sys, pytest_pycontainer.engine.engine, pytest_pycontainer.plugin_hooks;"
        "import pytest_pycontainer.reporting.session;"
        "from pytest_pycontainer import container, services; services.redis;"
        "print({'filelock', 'isal', 'requests', 'rich', 'urllib3', 'backports.zstd'} & set(sys.modules))"
    )
    assert python(code) == "set()"


def test_the_factory_named_build_outlives_the_import_of_the_room_named_build() -> None:
    code = (
        "import pytest_pycontainer.build, sys; from pytest_pycontainer import build;"
        "print(build.__module__, sys.modules['pytest_pycontainer.build'].__name__)"
    )
    assert python(code) == "pytest_pycontainer.fixtures pytest_pycontainer.build"


def test_modules_among_the_names_are_modules() -> None:
    assert isinstance(pytest_pycontainer.errors, ModuleType)
    assert isinstance(pytest_pycontainer.wait, ModuleType)
