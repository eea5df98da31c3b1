"""Images on their way, in the output of a pytest run."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

import pytest

from pytest_pycontainer.build.progress import NoBuildDisplay
from pytest_pycontainer.build.progress import Progress as BuildProgress
from pytest_pycontainer.registry.progress import NoDisplay, Progress, TransferDisplay

if TYPE_CHECKING:
    from _pytest.capture import CaptureManager


class SessionDisplay:
    """Shows transfers where pytest shows its results, while a test or fixture waits for them, captured or not.

    Silent with ``-q``, without a terminal reporter, and in a worker of pytest-xdist. What a test prints meanwhile
    remains captured: the display has a descriptor of its own for pytest's output, from the first transfer until
    it is left. Safe to use from several threads.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._closing = ExitStack()
        self._display: TransferDisplay | None = None

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

    def building(self, name: str) -> AbstractContextManager[BuildProgress]:
        """As BuildDisplay has it."""
        return NoBuildDisplay().building(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Lets go of its descriptor; nothing may be on its way."""
        with self._lock:
            self._display = None
            self._closing.close()

    def _at_a_line_start(self) -> TransferDisplay:
        """The display, when pytest has ended its line; the next result begins one with the file's name anew."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        is_worker = hasattr(self._config, "workerinput")
        if is_worker or not isinstance(reporter, pytest.TerminalReporter) or reporter.verbosity < 0:
            return NoDisplay()
        with self._lock, self._uncaptured():
            reporter.ensure_newline()
            reporter.flush()
            if self._display is None:
                from pytest_pycontainer.reporting.transfers import transfer_display

                self._display = transfer_display(self._open(reporter._tw._file), color=reporter.hasmarkup)
            return self._display

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
