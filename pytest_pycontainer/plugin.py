"""The pytest plugin: the ``pycontainer`` fixture, its options, and what a failing test says about its containers.

A run that uses no container pays for its options alone, so nothing heavy is imported; the engine is when the fixture is
first asked for.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from pytest_pycontainer import hookspecs, plugin_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_pycontainer.engine.engine import Engine
    from pytest_pycontainer.settings import ReportSettings, Settings

_SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
_REPORT: pytest.StashKey[ReportSettings] = pytest.StashKey()


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(hookspecs)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "pytest_pycontainer.declarations" in sys.modules:
        from pytest_pycontainer.declarations.checks import check_fixtures_of

        check_fixtures_of(metafunc)


@pytest.hookimpl(tryfirst=True)  # pytest-xdist's tells that this worker is ready: others may be done before it joins
def pytest_collection_finish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput") and "pytest_pycontainer.declarations" in sys.modules:
        from pytest_pycontainer.declarations.keepers import join_those_who_share

        join_those_who_share(session, session.config.stash[_SETTINGS])


def pytest_addoption(parser: pytest.Parser) -> None:
    plugin_options.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    from pytest_pycontainer.errors import InvalidSpecError

    try:
        config.stash[_SETTINGS] = plugin_options.read_settings(config)
        config.stash[_REPORT] = plugin_options.read_report_settings(config)
    except InvalidSpecError as error:
        raise pytest.UsageError(str(error)) from None
    report = config.stash[_REPORT]
    if report.keep != "never" or report.durations is not None or report.timeline is not None:
        from pytest_pycontainer.reporting.run_summary import SUMMARY, RunSummary

        summary = RunSummary(config, report)
        config.pluginmanager.register(summary, SUMMARY)


def pytest_report_header(config: pytest.Config) -> str:
    return plugin_options.header(config.stash[_SETTINGS])


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.getoption("pycontainer_remove_reused") and not hasattr(session.config, "workerinput"):
        from pytest_pycontainer.declarations.keepers import remove_reused

        remove_reused(session.config, session.config.stash[_SETTINGS])


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    if "pytest_pycontainer.engine.file_status" not in sys.modules:
        return None
    from pytest_pycontainer.reporting.assertions import explain_comparison

    return explain_comparison(op, left, right)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    if reused := getattr(node, "workeroutput", {}).get("pycontainer_reused"):
        from pytest_pycontainer.declarations.keepers import keepers_of

        keepers_of(node.config).names_of_reused.update(reused)


@pytest.fixture(scope="session")
def pycontainer(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """The container engine of this test session: ``build``, ``run``, ``create``, ``image``, ``containers``."""
    from pytest_pycontainer.engine.engine import Engine
    from pytest_pycontainer.plugin_hooks import extensions_of
    from pytest_pycontainer.reporting.session import reporting

    config, settings = request.config, request.config.stash[_SETTINGS]
    with reporting(config, settings, config.stash[_REPORT]) as session:
        extensions = extensions_of(config, session.recorder, keeps=session.keeping)
        opening = config.hook.pytest_pycontainer_engine(
            config=config, settings=settings, extensions=extensions, display=session.display
        )
        with opening or Engine(settings, display=session.display, extensions=extensions) as engine:
            session.recorder.engine = engine
            yield engine


@pytest.fixture(scope="session")
def _pycontainer_keepers(
    request: pytest.FixtureRequest,
    pycontainer: Engine,  # noqa: ARG001  (its end comes after this one's)
) -> Iterator[None]:
    """What shared and reused containers request: its end lets go of them."""
    from pytest_pycontainer.declarations.keepers import keepers_of

    yield
    keepers_of(request.config).leave()


@pytest.fixture(scope="package")
def pycontainer_package(pycontainer: Engine) -> Iterator[Engine]:
    """The session's engine, for a package: what is made through it is removed after the package's last test."""
    with pycontainer.scope() as engine:
        yield engine


@pytest.fixture(scope="module")
def pycontainer_module(pycontainer: Engine) -> Iterator[Engine]:
    """The session's engine, for a module: what is made through it is removed after the module's last test."""
    with pycontainer.scope() as engine:
        yield engine


@pytest.fixture(scope="class")
def pycontainer_class(pycontainer: Engine) -> Iterator[Engine]:
    """The session's engine, for a class: what is made through it is removed after the class's last test."""
    with pycontainer.scope() as engine:
        yield engine


@pytest.fixture
def pycontainer_function(pycontainer: Engine) -> Iterator[Engine]:
    """The session's engine, for one test: what is made through it is removed after the test."""
    with pycontainer.scope() as engine:
        yield engine
