"""Images on their way, builds and waits, in the output of a pytest run."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

import pytest

from pytest_pycontainer.build import progress as build_events
from pytest_pycontainer.engine.display import Display, SilentDisplay
from pytest_pycontainer.registry.progress import Progress
from pytest_pycontainer.reporting.slow_steps import shown_if_slow

if TYPE_CHECKING:
    from _pytest.capture import CaptureManager

    from pytest_pycontainer.engine.container import Container
    from pytest_pycontainer.engine.wait import Wait


class SessionDisplay:
    """Shows transfers, builds, and waits of more than a second, while a test waits for them, captured or not.

    It shows them where pytest shows its results.
    Silent with ``-q``, without a terminal reporter, and in a worker of pytest-xdist. What a test prints meanwhile
    remains captured: the display has a descriptor of its own for pytest's output, from the first of them until
    it is left. Safe to use from several threads.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._closing = ExitStack()
        self._display: Display | None = None

    @contextmanager
    def pulling(self, name: str, *, missing: bool) -> Iterator[Progress]:
        """As TransferDisplay has it. Raises InvalidReferenceError for what is no name."""
        with self._at_a_line_start().pulling(name, missing=missing) as progress:
            yield progress

    @contextmanager
    def pushing(self, name: str) -> Iterator[Progress]:
        """As TransferDisplay has it. Raises InvalidReferenceError for what is no name."""
        with self._at_a_line_start().pushing(name) as progress:
            yield progress

    def building(self, name: str) -> AbstractContextManager[build_events.Progress]:
        """As BuildDisplay has it; a build of which nothing has to be run is not shown."""
        return _when_it_runs(lambda: self._at_a_line_start().building(name))

    def waiting(self, container: Container, wait: Wait) -> AbstractContextManager[None]:
        """As WaitDisplay has it."""
        if self._reporter() is None:
            return nullcontext()
        return shown_if_slow(lambda: self._at_a_line_start().waiting(container, wait))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Lets go of its descriptor; nothing may be on its way."""
        with self._lock:
            self._display = None
            self._closing.close()

    def _at_a_line_start(self) -> Display:
        """The display, when pytest has ended its line; the next result begins one with the file's name anew."""
        reporter = self._reporter()
        if reporter is None:
            return SilentDisplay()
        with self._lock, self._uncaptured():
            reporter.ensure_newline()
            reporter.flush()
            if self._display is None:
                from pytest_pycontainer.reporting.display import open_display

                self._display = open_display(self._open(reporter._tw._file), color=reporter.hasmarkup)
            return self._display

    def _reporter(self) -> pytest.TerminalReporter | None:
        """What writes the run's results, None where nothing is to be shown."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if hasattr(self._config, "workerinput") or not isinstance(reporter, pytest.TerminalReporter):
            return None
        return None if reporter.verbosity < 0 else reporter

    def _uncaptured(self) -> AbstractContextManager[None]:
        """While it lasts, the reporter's descriptor is the run's own output and no file of captured text."""
        capture: CaptureManager | None = self._config.pluginmanager.get_plugin("capturemanager")
        return nullcontext() if capture is None else capture.global_and_fixture_disabled()

    def _open(self, file: TextIO) -> TextIO:
        try:
            descriptor = os.dup(file.fileno())
        except io.UnsupportedOperation:
            return file  # in memory, as in a run inside a test of a plugin: no capture turns it elsewhere
        return self._closing.enter_context(
            os.fdopen(descriptor, "w", encoding=file.encoding, errors="backslashreplace")
        )


@contextmanager
def _when_it_runs(show: Callable[[], AbstractContextManager[build_events.Progress]]) -> Iterator[build_events.Progress]:
    """Progress that opens a display, by ``show``, at the first step which is not just taken from the cache.

    A build that is all cached takes a millisecond, and is nothing to look at.
    """
    with ExitStack() as opened:
        lock = threading.Lock()
        waiting: list[build_events.Event] = []
        shown: build_events.Progress | None = None

        def tell(event: build_events.Event) -> None:
            nonlocal shown
            with lock:
                if shown is None and isinstance(event, build_events.ContainerStarted):
                    shown = opened.enter_context(show())
                    for earlier in waiting:
                        shown(earlier)
                if shown is None:
                    waiting.append(event)
                else:
                    shown(event)

        yield tell
