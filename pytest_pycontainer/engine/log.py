"""Reading a container's log while it grows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from pytest_pycontainer.kernel.inotify import ModificationWatch
from pytest_pycontainer.runtime import logs
from pytest_pycontainer.runtime.logs import LogEntry


def read_log(directory: Path) -> list[LogEntry]:
    """What the container has written until now; nothing if it has not come to have a log."""
    try:
        with (directory / logs.FILE_NAME).open("rb") as file:
            return list(logs.read(file))
    except FileNotFoundError:
        return []


def follow_log(directory: Path, exit_descriptor: int, timeout: float | None) -> Iterator[list[LogEntry]]:
    """What the container writes, from the start, as it comes; ends when ``exit_descriptor`` is readable.

    Yields an empty list, once, when ``timeout`` seconds have passed, and ends.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    path = directory / logs.FILE_NAME
    with ModificationWatch(path) as watch, path.open("rb") as file:
        ended = False
        while True:
            if entries := list(logs.read(file)):
                yield entries
            if ended:
                return
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                yield []
                return
            ended = watch.wait(remaining, exit_descriptor)
