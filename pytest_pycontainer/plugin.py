"""The pytest plugin: the ``pycontainer`` fixture, its options, and what a failing test says about its containers.

A run that uses no container pays for this module alone, so it imports pytest and nothing else; the engine is imported
when the fixture is first asked for.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer import hookspecs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_pycontainer.engine.engine import Engine
    from pytest_pycontainer.settings import Settings

_SETTINGS = {
    "root": ("DIR", "the directory that holds images, layers and the build cache"),
    "state": ("DIR", "the directory that holds locks and records of running containers"),
    "insecure_registries": ("HOST[:PORT],...", "registries that may have any certificate, or none"),
    "registry_mirrors": ("[REGISTRY=]URL,...", "mirrors to pull from before the registry (default: docker.io) itself"),
    "registry_certificates": ("DIR", "certificates by registry, laid out as docker's certs.d"),
    "registry_authority": ("FILE", "authorities to trust for every registry, beside the system's (PEM)"),
    "proxy": ("URL", "the proxy to registries, in place of HTTPS_PROXY and HTTP_PROXY"),
    "layer_entries": ("N", "the most files and directories that a layer may have"),
    "layer_size": ("SIZE", "the most bytes that a layer may have, such as 20g"),
    "layer_ratio": ("N", "how many times as large as it is compressed a layer may be"),
}
_PATHS = ("DIR", "FILE")
_SEVERAL = ",..."


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(hookspecs)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "pytest_pycontainer.declarations" in sys.modules:
        from pytest_pycontainer.fixture_checks import check_fixtures_of

        check_fixtures_of(metafunc)


def pytest_collection_finish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput") and "pytest_pycontainer.declarations" in sys.modules:
        from pytest_pycontainer.keepers import join_those_who_share

        join_those_who_share(session, _read_settings)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pycontainer", "throwaway containers")
    for name, (form, meaning) in _SETTINGS.items():
        variable = f"PYCONTAINER_{name.upper()}"
        group.addoption(
            f"--pycontainer-{name.replace('_', '-')}",
            metavar=form,
            help=f"{meaning} (ini: pycontainer_{name}, environment: {variable})",
        )
        remark = "; a relative path counts from the ini file's directory" if form in _PATHS else ""
        if form.endswith(_SEVERAL):
            parser.addini(f"pycontainer_{name}", meaning, type="linelist")
        else:
            parser.addini(f"pycontainer_{name}", meaning + remark)


def _read_settings(config: pytest.Config) -> Settings:
    from pytest_pycontainer.settings import Settings

    return Settings.read(
        options={name: config.getoption(f"pycontainer_{name}") or "" for name in _SETTINGS},
        ini={
            name: "\n".join(value) if isinstance(value := config.getini(f"pycontainer_{name}"), list) else value
            for name in _SETTINGS
        },
        ini_directory=(config.inipath or config.rootpath / "none").parent,
    )


@pytest.fixture(scope="session")
def pycontainer(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """The container engine of this test session: ``build``, ``run``, ``create``, ``image``, ``containers``."""
    from pytest_pycontainer.engine.engine import Engine
    from pytest_pycontainer.plugin_hooks import extensions_of
    from pytest_pycontainer.reporting.failure import FailureReports
    from pytest_pycontainer.reporting.session_display import SessionDisplay

    config = request.config
    reports = FailureReports()
    config.pluginmanager.register(reports)
    settings, extensions = _read_settings(config), extensions_of(config)
    with SessionDisplay(config) as display:
        opening = config.hook.pytest_pycontainer_engine(config=config, settings=settings, extensions=extensions)
        with opening or Engine(settings, display=display, extensions=extensions) as engine:
            reports.engine = engine
            yield engine
    reports.engine = None


@pytest.fixture(scope="session")
def _pycontainer_keepers(
    request: pytest.FixtureRequest,
    pycontainer: Engine,  # noqa: ARG001  (its end comes after this one's)
) -> Iterator[None]:
    """What shared and reused containers request: its end lets go of them."""
    from pytest_pycontainer.keepers import keepers_of

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
