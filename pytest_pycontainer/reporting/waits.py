"""Containers that are waited for, as a person reads it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, TextIO

from pytest_pycontainer.reporting.slow_steps import SLOW_SECONDS

if TYPE_CHECKING:
    from pytest_pycontainer.engine.container import Container
    from pytest_pycontainer.engine.wait import Wait
    from pytest_pycontainer.reporting.live_view import LiveView, Row


def described(wait: Wait) -> str:
    """What is waited for: in the wait's own words, or as it was written."""
    return str(getattr(wait, "what", "")) or repr(wait).replace(", timeout=None", "").replace("timeout=None", "")


class WaitLines:
    """A line for each wait, where nothing can be drawn over. Safe to use from several threads."""

    def __init__(self, file: TextIO) -> None:
        self._wait_file = file
        self._wait_lock = threading.Lock()

    @contextmanager
    def waiting(self, container: Container, wait: Wait) -> Iterator[None]:
        """As WaitDisplay has it."""
        with self._wait_lock:
            self._wait_file.write(f"Waiting for {container.name}: {described(wait)}\n")
            self._wait_file.flush()
        yield


class WaitRows:
    """A row for each wait in a live view, from when it has gone on for SLOW_SECONDS.

    Safe to use from several threads.
    """

    def __init__(self, view: LiveView) -> None:
        self._wait_view = view

    def waiting(self, container: Container, wait: Wait) -> AbstractContextManager[None]:
        """As WaitDisplay has it."""
        return self._wait_view.showing(_Waiting(f"{container.name}: {described(wait)}"))


class _Waiting:
    """One wait, with the seconds that it has gone on for."""

    def __init__(self, what: str) -> None:
        self.over = False
        self._what = what
        self._begin = time.monotonic() - SLOW_SECONDS

    def rows(self, width: int) -> Iterable[Row]:  # noqa: ARG002  (the view cuts it)
        from rich.text import Text

        from pytest_pycontainer.reporting.live_view import Row

        seconds = time.monotonic() - self._begin
        begin = "Waited for" if self.over else "Waiting for"
        yield Row(Text(f"{begin} {self._what} ({seconds:.0f} s)"), 0, "waiting")
