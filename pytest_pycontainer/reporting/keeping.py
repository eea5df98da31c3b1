"""Which containers stay after a run, for somebody to look into, and how that one gets at them."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer.errors import PycontainerError
from pytest_pycontainer.settings import Settings

if TYPE_CHECKING:
    from pytest_pycontainer.engine.container import Container
    from pytest_pycontainer.reporting.recorder import Recorder
    from pytest_pycontainer.settings import Keep


@dataclass(frozen=True, slots=True)
class KeptContainer:
    """One that stays: its name, whether it runs, the test that it was kept for, and where the engine's files are."""

    name: str
    runs: bool
    test: str
    root: str
    state: str


class Keeping:
    """Decides it, for an engine's extensions: all containers stay, or those that a failing test has used.

    While a test goes on, one whose block ends by an error stays too; it goes when the test has passed all the same.
    """

    def __init__(self, policy: Keep, settings: Settings, recorder: Recorder) -> None:
        self._policy = policy
        self._root, self._state = str(settings.root), str(settings.state)
        self._recorder = recorder
        self._test = ""
        self._has_failed = False
        self._wanted: dict[str, str] = {}
        self._kept: list[tuple[Container, KeptContainer]] = []
        self._undecided: list[Container] = []

    def __call__(self, container: Container, error: BaseException | None) -> bool:
        """See Extensions.keeps."""
        if self._policy == "always" or container.id in self._wanted:
            self._keep(container, self._wanted.get(container.id, self._test))
            return True
        if isinstance(error, Exception):
            self._undecided.append(container)
            return True
        return False

    def _keep(self, container: Container, test: str) -> None:
        name, runs = container.name, container.status in ("running", "paused")
        with suppress(PycontainerError):
            if not name.endswith(container.short_id):
                container.rename(f"{name}-{container.short_id}")  # the next test may want the name
                name += f"-{container.short_id}"
        self._kept.append((container, KeptContainer(name, runs, test, self._root, self._state)))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self._test, self._has_failed = item.nodeid, False

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        self._test = item.nodeid
        if report.failed:
            self._has_failed = True
            for _, container in self._recorder.containers_of(item):
                self._wanted.setdefault(container.id, item.nodeid)
        return report

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logfinish(self) -> None:
        undecided, self._undecided = self._undecided, []
        for container in undecided:
            if self._has_failed:
                self._keep(container, self._test)
            else:
                container.is_kept = False
                container.remove(force=True)

    def kept(self) -> list[KeptContainer]:
        """Those that stay, and have not been removed since."""
        self._has_failed = True
        self.pytest_runtest_logfinish()  # which an interrupted test has not come to
        return [kept for container, kept in self._kept if container.is_kept]


def kept_lines(kept: Iterable[KeptContainer], environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """How to look into each of them, and how to remove it: commands for a shell."""
    usual = Settings.read(environment=environment)
    for one in kept:
        command = ["pycontainer"]
        for option, value, default in (("--root", one.root, usual.root), ("--state", one.state, usual.state)):
            if value != str(default):
                command += [option, value]
        begin = shlex.join(command)
        look = f"{begin} exec -it {one.name} sh" if one.runs else f"{begin} logs {one.name}"
        yield f"{one.name} ({one.test})" if one.test else one.name
        yield f"    to look into it: {look}"
        yield f"    to remove it:    {begin} rm -f {one.name}"
