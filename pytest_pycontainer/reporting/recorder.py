"""What was done for containers in this process, and when: for reports, for the list of slowest steps, for the timeline.

All times are seconds since the epoch, so that those of several processes can be compared.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_pycontainer.build import progress as build_events
from pytest_pycontainer.engine.container import Container
from pytest_pycontainer.engine.last_look import LastLook
from pytest_pycontainer.reporting.waits import described

if TYPE_CHECKING:
    from pytest_pycontainer.engine.display import Display
    from pytest_pycontainer.engine.engine import Engine
    from pytest_pycontainer.engine.extensions import ContainerRequest
    from pytest_pycontainer.engine.wait import Wait
    from pytest_pycontainer.registry.progress import Progress

_LOOKS_AT_MOST: Final = 50
"""Of containers that one test has removed: each has a file open."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that took its time: ``kind`` is what was done (``pull``, ``build``, ``start``, ``wait``), ``subject``
    to what; for which ``fixture`` and ``test``, either empty if for none.
    """

    kind: str
    subject: str
    begin: float
    end: float
    fixture: str
    test: str
    failed: bool = False

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.begin


@dataclass(slots=True)
class ContainerLife:
    """What became of one container; moments that have not come are 0.

    It was ``asked`` for when nothing had been done yet, and ``created`` when its image was there. ``samples`` are
    moment, seconds of CPU time since its making, and bytes of memory. It was ``waited`` for if somebody wanted to know
    when it is ready; ``tests`` have used it.
    """

    id: str
    name: str
    image: str
    command: str
    fixture: str
    test: str
    asked: float
    created: float
    started: float = 0.0
    ready: float = 0.0
    removed: float = 0.0
    exit_code: int | None = None
    out_of_memory: bool = False
    waited: bool = False
    tests: list[str] = field(default_factory=list)
    samples: list[tuple[float, float, int]] = field(default_factory=list)


class Recorder:
    """Is told of everything by the engine: as an observer of its containers, and by ``display`` of what takes long.

    It forgets what is over when the next test begins, unless ``keeps_all``. Registered with pytest, it knows for whom
    things are done. ``engine`` is None while it is being made. Safe to use from several threads.
    """

    engine: Engine | None = None

    def __init__(self, *, keeps_all: bool = False) -> None:
        self.steps: list[Step] = []
        self.lives: dict[str, ContainerLife] = {}
        self.definitions: dict[str, pytest.FixtureDef[Any]] = {}
        self.last_looks: dict[str, LastLook] = {}
        self.present: dict[str, Container] = {}
        self._keeps_all = keeps_all
        self._fixtures: list[pytest.FixtureDef[Any]] = []
        # It is made while the first test that needs an engine is being set up.
        self._test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
        self._test_begin = time.time()
        self._of_thread = threading.local()

    def pytest_unconfigure(self) -> None:
        # Not with the engine: the last test's teardown, which ends that, is reported after it.
        self.close()

    def close(self) -> None:
        """Lets go of what is held of containers that are gone."""
        while self.last_looks:
            self.last_looks.popitem()[1].close()

    # For whom

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self._test = item.nodeid
        self._test_begin = time.time()
        self.close()
        if not self._keeps_all:
            self.steps.clear()
            for container_id in [life.id for life in self.lives.values() if life.removed]:
                del self.lives[container_id]
                self.definitions.pop(container_id, None)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        if self._keeps_all:
            used = {container.id: self._life_of(container) for _, container in self.containers_of(item)}
            used |= {container_id: self.lives[container_id] for container_id in self.last_looks}
            for life in used.values():
                life.tests.append(item.nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        self._fixtures.append(fixturedef)
        try:
            return (yield)
        finally:
            self._fixtures.remove(fixturedef)

    @property
    def test_begin(self) -> float:
        """When the set-up of the test began that is running now, or ran last."""
        return self._test_begin

    @property
    def _fixture(self) -> str:
        return self._fixtures[-1].argname if self._fixtures else ""

    # What an engine tells its observers

    def before_create(self, container_request: ContainerRequest) -> None:  # noqa: ARG002
        """See Observer."""
        self._of_thread.asked = self._of_thread.begin = time.time()

    def after_start(self, container: Container) -> None:
        """See Observer."""
        now = time.time()
        life = self._life_of(container)
        if not life.started:
            life.started = now
            self._note("start", life.name, self._of_thread.__dict__.pop("begin", life.created), now)

    def waited(self, container: Container) -> None:
        """Somebody wants to know when it is ready."""
        self._life_of(container).waited = True

    def ready(self, container: Container) -> None:
        """See Observer."""
        self._life_of(container).ready = time.time()

    def before_remove(self, container: Container) -> None:
        """See Observer."""
        life = self._life_of(container)
        life.removed = time.time()
        # Whether the test fails is not known yet, and nobody can look into it later.
        look = self.last_looks[container.id] = LastLook(container)
        life.exit_code, life.out_of_memory = look.exit_code, look.out_of_memory
        if not life.started and life.exit_code is not None:
            self._note("start", life.name, life.created, life.removed, failed=True)
        self.present.pop(container.id, None)
        if len(self.last_looks) > _LOOKS_AT_MOST:
            self.last_looks.pop(next(iter(self.last_looks))).close()

    def _life_of(self, container: Container) -> ContainerLife:
        life = self.lives.get(container.id)
        if life is None:
            created = container.created_at.timestamp()
            image = container.image.name
            asked = min(getattr(self._of_thread, "asked", created), created)
            made = (container.id, container.name, image, " ".join(container.command))
            life = ContainerLife(*made, self._fixture, self._test, asked, created)
            self.lives[container.id] = life
            self.present[container.id] = container
            if self._fixtures:
                self.definitions[container.id] = self._fixtures[-1]
        return life

    def living(self) -> list[tuple[ContainerLife, Container]]:
        """The containers that are there, and their lives."""
        return [(self.lives[container_id], container) for container_id, container in self.present.copy().items()]

    def containers_of(self, item: pytest.Item) -> Iterator[tuple[str, Container]]:
        """What to call them, and the containers that are there which a test's fixtures are or made, or the test."""
        named = {
            value.id: (fixture, value)
            for fixture, value in getattr(item, "funcargs", {}).items()
            if isinstance(value, Container) and value.id not in self.last_looks
        }
        yield from named.values()
        # pytest has no public name for the fixtures that were set up for a test.
        definitions = set(map(id, getattr(getattr(item, "_request", None), "_fixture_defs", {}).values()))
        for container in self.engine.containers() if self.engine is not None else ():
            life = self.lives.get(container.id)
            is_new = container.created_at.timestamp() >= self._test_begin
            # One that is kept was an earlier test's value of a fixture.
            is_value = not container.is_kept and id(self.definitions.get(container.id)) in definitions
            if container.id not in named and (is_new or is_value):
                yield (life and life.fixture) or container.name, container

    # What takes long

    def display(self, display: Display) -> RecordingDisplay:
        """A display that shows what ``display`` does, and has it recorded."""
        return RecordingDisplay(self, display)

    @contextmanager
    def timing(self, kind: str, subject: Callable[[], str]) -> Iterator[None]:
        """A step, from now to the end of the block."""
        begin = time.time()
        try:
            yield
        except BaseException:
            self._note(kind, subject(), begin, time.time(), failed=True)
            raise
        self._note(kind, subject(), begin, time.time())

    def _note(self, kind: str, subject: str, begin: float, end: float, *, failed: bool = False) -> None:
        self._of_thread.begin = end  # what comes next in this thread begins now
        self.steps.append(Step(kind, subject, begin, end, self._fixture, self._test, failed))


class RecordingDisplay:
    """Has another display show everything, and a recorder take it down."""

    def __init__(self, recorder: Recorder, display: Display) -> None:
        self._recorder = recorder
        self._display = display

    @contextmanager
    def pulling(self, name: str, *, missing: bool) -> Iterator[Progress]:
        """As TransferDisplay has it."""
        with self._recorder.timing("pull", lambda: name), self._display.pulling(name, missing=missing) as progress:
            yield progress

    @contextmanager
    def pushing(self, name: str) -> Iterator[Progress]:
        """As TransferDisplay has it."""
        with self._recorder.timing("push", lambda: name), self._display.pushing(name) as progress:
            yield progress

    @contextmanager
    def building(self, name: str) -> Iterator[build_events.Progress]:
        """As BuildDisplay has it."""
        with self._recorder.timing("build", lambda: name), self._display.building(name) as progress:
            yield progress

    @contextmanager
    def waiting(self, container: Container, wait: Wait) -> Iterator[None]:
        """As WaitDisplay has it."""
        self._recorder.waited(container)
        with (
            self._recorder.timing("wait", lambda: f"{container.name}: {described(wait)}"),
            self._display.waiting(container, wait),
        ):
            yield
