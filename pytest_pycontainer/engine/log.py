"""Reading a container's log while it grows."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from pytest_pycontainer.engine.connection import MonitorConnection
from pytest_pycontainer.kernel.inotify import ModificationWatch
from pytest_pycontainer.runtime import logs
from pytest_pycontainer.runtime.logs import LogEntry

# A container may write faster than anybody reads: what is held at once is bounded.
_BATCH_BYTES = 1 << 20


def read_log(directory: Path, streams: Collection[int]) -> bytes:
    """What the container has written to ``streams`` until now; nothing if it has not come to have a log."""
    try:
        with (directory / logs.FILE_NAME).open("rb") as file:
            wanted = (frame for frame in logs.frames(file) if frame.stream in streams)
            return b"".join(logs.read_frame(file, frame).data for frame in wanted)
    except FileNotFoundError:
        return b""


def read_last_lines(directory: Path, streams: Collection[int], lines: int) -> bytes:
    """The last lines of that; only the end of the log is read for them."""
    if lines <= 0:
        return b""
    try:
        with (directory / logs.FILE_NAME).open("rb") as file:
            parts: list[bytes] = []
            ends = 0
            for frame in reversed([frame for frame in logs.frames(file) if frame.stream in streams]):
                parts.append(logs.read_frame(file, frame).data)
                ends += parts[-1].count(b"\n")
                if ends > lines:
                    break
    except FileNotFoundError:
        return b""
    found = b"".join(reversed(parts)).split(b"\n")
    return b"\n".join(found[-lines - 1 :] if found[-1] == b"" else found[-lines:])


def follow_log(directory: Path, connection: MonitorConnection, timeout: float | None) -> Iterator[list[LogEntry]]:
    """What the container writes, from the start, as it comes; ends when it has exited.

    Yields an empty list, once, when ``timeout`` seconds have passed, and ends.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    path = directory / logs.FILE_NAME
    with ModificationWatch(path) as watch, path.open("rb") as file, connection.exit_descriptor() as exit_descriptor:
        ended = False
        while True:
            batch = _read_batch(file)
            if batch:
                yield batch
            elif ended:
                return
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                yield []
                return
            if not batch and watch.wait(remaining, exit_descriptor):
                # What is in the pipes when PID 1 is gone, the monitor logs before it tells of the exit.
                ended = connection.exited(remaining) is not None


def _read_batch(file: BinaryIO) -> list[LogEntry]:
    batch: list[LogEntry] = []
    size = 0
    for entry in logs.read(file):
        batch.append(entry)
        size += len(entry.data)
        if size >= _BATCH_BYTES:
            break
    return batch
