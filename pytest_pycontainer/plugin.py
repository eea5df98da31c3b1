"""The pytest plugin: the ``pycontainer`` fixture, its options, and what a failing test says about its containers.

A run that uses no container pays for this module alone, so it imports pytest and nothing else; the engine is imported
when the fixture is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_pycontainer.engine.engine import Engine
    from pytest_pycontainer.settings import Settings

_SETTINGS = {
    "root": "the directory that holds images, layers and the build cache",
    "state": "the directory that holds locks and records of running containers",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pycontainer", "throwaway containers")
    for name, meaning in _SETTINGS.items():
        variable = f"PYCONTAINER_{name.upper()}"
        group.addoption(
            f"--pycontainer-{name}", metavar="DIR", help=f"{meaning} (ini: pycontainer_{name}, environment: {variable})"
        )
        parser.addini(f"pycontainer_{name}", f"{meaning}; a relative path counts from the ini file's directory")


def _read_settings(config: pytest.Config) -> Settings:
    from pytest_pycontainer.settings import Settings

    return Settings.read(
        options={name: config.getoption(f"pycontainer_{name}") or "" for name in _SETTINGS},
        ini={name: config.getini(f"pycontainer_{name}") for name in _SETTINGS},
        ini_directory=(config.inipath or config.rootpath / "none").parent,
    )


@pytest.fixture(scope="session")
def pycontainer(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """The container engine of this test session: ``build``, ``run``, ``create``, ``image``, ``containers``."""
    from pytest_pycontainer.engine.engine import Engine
    from pytest_pycontainer.reporting.failure import FailureReports
    from pytest_pycontainer.reporting.session_display import SessionDisplay

    reports = FailureReports()
    request.config.pluginmanager.register(reports)
    with SessionDisplay(request.config) as display, Engine(_read_settings(request.config), display=display) as engine:
        reports.engine = engine
        yield engine
    reports.engine = None
