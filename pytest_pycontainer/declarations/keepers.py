"""The keepers of a pytest run: what has the containers that its workers share, and those that later runs reuse."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import pytest

from pytest_pycontainer.declarations.declaration import KEEPERS_FIXTURE, Declaration, SetUp, print_progress
from pytest_pycontainer.engine.keeper import Keeper
from pytest_pycontainer.engine.keeper_messages import Removed, SharedNetwork
from pytest_pycontainer.engine.sharing import (
    REUSED,
    REUSED_LABEL,
    LodgingEngine,
    SharingEngine,
    is_in_shared_network,
    shared_network,
)
from pytest_pycontainer.errors import PycontainerError

if TYPE_CHECKING:
    from pytest_pycontainer.engine.container import Container
    from pytest_pycontainer.engine.engine import Engine
    from pytest_pycontainer.settings import Settings

_KEEPERS = pytest.StashKey["RunKeepers"]()


class RunKeepers:
    """The connections of this process, made when they are first asked for; its end closes them, if nobody does.

    A plugin, which says at the end of the run what is kept for later ones.
    """

    def __init__(self, config: pytest.Config) -> None:
        # pytest-xdist gives it to workers alone; its variables reach also a pytest that a worker's test runs.
        worker: dict[str, str] = getattr(config, "workerinput", {})
        self._run = worker.get("testrunuid", "")
        self._client = worker.get("workerid") or f"another run (process {os.getpid()})"
        self._open: dict[tuple[Settings, str], Keeper] = {}
        self.names_of_reused: set[str] = set()

    @property
    def are_shared(self) -> bool:
        """Whether this process is one of several workers."""
        return bool(self._run)

    def shared(self, settings: Settings) -> Keeper | None:
        """That of this run's workers on this machine; None if this process is no worker, and has nobody to share with.

        Raises KeeperError and StoreError.
        """
        return self._opened(settings, self._run, stays=False) if self._run else None

    def reused(self, settings: Settings) -> Keeper:
        """That of all runs. Raises KeeperError and StoreError."""
        return self._opened(settings, REUSED, stays=True)

    def leave(self) -> None:
        """Lets go of them: what only this process uses is removed before it returns. Raises what removing raises."""
        with ExitStack() as leaving:
            while self._open:
                leaving.callback(self._open.popitem()[1].leave)

    def abandon(self) -> None:
        """Lets go of them without waiting for anything."""
        while self._open:
            self._open.popitem()[1].abandon()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.names_of_reused and terminalreporter.verbosity >= 0:
            names = ", ".join(sorted(self.names_of_reused))
            terminalreporter.line(
                f"pycontainer: kept for later runs (--pycontainer-remove-reused removes them): {names}"
            )

    def _opened(self, settings: Settings, group: str, *, stays: bool) -> Keeper:
        if (settings, group) not in self._open:
            self._open[settings, group] = Keeper.open(settings, group, stays=stays, client=self._client)
        return self._open[settings, group]


def keepers_of(config: pytest.Config) -> RunKeepers:
    """Those of the run with this configuration."""
    if _KEEPERS not in config.stash:
        config.stash[_KEEPERS] = keepers = RunKeepers(config)
        config.pluginmanager.register(keepers)
        config.add_cleanup(keepers.abandon)
    return config.stash[_KEEPERS]


def remove_reused(config: pytest.Config, settings: Settings) -> None:
    """Removes what earlier runs have kept, and says so. Raises KeeperError, and what removing raises."""
    from pytest_pycontainer.engine.engine import Engine

    removed = Removed()
    if (keeper := Keeper.open_running(settings, REUSED, client="this run")) is not None:
        removed = keeper.remove_unused()
        keeper.leave()
    names = list(removed.names)
    with Engine(settings) as engine:
        for container in engine.containers(others=True):  # an earlier version's, which has a keeper of its own
            if REUSED_LABEL in container.labels and container.name not in removed.in_use:
                names.append(container.name)
                container.remove(force=True)
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and reporter.verbosity >= 0:
        for done, whose in (("removed", names), ("left, as another run uses them,", removed.in_use)):
            if whose:
                reporter.line(f"pycontainer: {done} {', '.join(whose)}")


def join_those_who_share(session: pytest.Session, settings: Settings) -> None:
    """Connects a worker, before its first test, whose tests will ask for what is shared.

    What is shared is thus there until the last worker has ended that could ask for it, and the keeper starts meanwhile.
    """
    keepers = keepers_of(session.config)
    if keepers.are_shared and any(_share(item) for item in session.items):
        with suppress(PycontainerError):  # the fixture's set-up finds it, too, and can say so
            keepers.shared(settings)


def _share(item: pytest.Item) -> bool:
    definitions = getattr(item, "_fixtureinfo", None)
    return definitions is not None and KEEPERS_FIXTURE in definitions.names_closure


def run_for_others(
    declaration: Declaration, set_up: SetUp, run: Callable[[Engine, SetUp], Container], *, reused: bool
) -> Container | None:
    """The container that ``run`` runs on an engine, once for all who want it; None if there are no others.

    Raises what ``run`` raises, KeeperError and StoreError.
    """
    config, settings = set_up.request.config, set_up.engine.settings
    keepers = keepers_of(config)
    keeper = keepers.reused(settings) if reused else keepers.shared(settings)
    if keeper is None:
        return None
    place = _place(declaration, set_up.request, with_line=not reused)
    engine = SharingEngine(set_up.engine, keeper, place, reused=reused, progress=print_progress)
    set_up.until_finished.callback(engine.close)
    container = run(engine, set_up)
    if reused:
        keepers.names_of_reused.add(container.name)
        if hasattr(config, "workeroutput"):
            config.workeroutput["pycontainer_reused"] = sorted(keepers.names_of_reused)
    return container


def network_for_others(
    declaration: Declaration, set_up: SetUp, name: str | None, options: Mapping[str, Any]
) -> SharedNetwork | None:
    """A network for all workers; None if there are no others.

    Raises what ``Engine.network`` raises, and KeeperError.
    """
    keeper = keepers_of(set_up.request.config).shared(set_up.engine.settings)
    if keeper is None:
        return None
    return shared_network(keeper, _place(declaration, set_up.request), name, print_progress, **options)


def engine_for(set_up: SetUp, options: Mapping[str, Any]) -> Engine:
    """The engine that can run a container with these options: its networks may be those of a keeper."""
    if not is_in_shared_network(options):
        return set_up.engine
    keeper = keepers_of(set_up.request.config).shared(set_up.engine.settings)
    assert keeper is not None, "it has the network"
    engine = LodgingEngine(set_up.engine, keeper)
    set_up.until_finished.callback(engine.close)
    return engine


def _place(declaration: Declaration, request: pytest.FixtureRequest, *, with_line: bool = True) -> str:
    """What is reused is replaced by what is declared there later, also some lines further down."""
    file, line = declaration.place
    place = f"{request.fixturename} of {file}:{line}" if with_line else f"{request.fixturename} of {file}"
    index = getattr(request, "param_index", 0)
    return f"{place} [{index}]" if index else place
