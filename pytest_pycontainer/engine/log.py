"""Reading a container's log, while it grows and while its oldest files are removed."""

from __future__ import annotations

import io
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

from pytest_pycontainer.engine.connection import MonitorConnection
from pytest_pycontainer.engine.log_selection import LogSelection
from pytest_pycontainer.kernel.inotify import DirectoryWatch
from pytest_pycontainer.runtime import logs
from pytest_pycontainer.runtime.logs import LogEntry, LogPosition

_NANOSECONDS = 1_000_000_000
# A line that is longer is passed on in parts.
_LINE_BYTES_AT_MOST = 1 << 20


class LogReader:
    """Reads a log from a position on, in as many files as there are. For one thread; it is to be closed.

    What has been removed before it was reached is left out. It reads up to ``end``, if that is set.
    """

    def __init__(self, directory: Path, position: LogPosition = LogPosition()) -> None:  # noqa: B008  (a value)
        self.end: LogPosition | None = None
        self._directory = directory
        self._number = position.file - 1
        self._offset = 0
        self._file = -1
        if self._open_next() and self._number == position.file:
            self._offset = position.offset

    def close(self) -> None:
        """Lets go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    @property
    def position(self) -> LogPosition:
        """Where it goes on."""
        return LogPosition(max(self._number, 0), self._offset)

    def read(self) -> list[LogEntry]:
        """What comes next, a part of it if it is much; an empty list if there is nothing yet."""
        while True:
            # Asked before reading: when there is another, this one does not grow any more.
            is_last = self._file >= 0 and self._following() is None
            entries: list[LogEntry] = []
            if self._file >= 0:
                entries, self._offset = logs.read(self._file, self._offset, self._bytes_at_most())
            if entries or is_last or not self._open_next():
                return entries

    def _bytes_at_most(self) -> int | None:
        if self.end is None or self._number < self.end.file:
            return None
        return max(0, self.end.offset - self._offset) if self._number == self.end.file else 0

    def _following(self) -> int | None:
        return next((number for number in logs.file_numbers(self._directory) if number > self._number), None)

    def _open_next(self) -> bool:
        while (number := self._following()) is not None:
            self._number = number
            with suppress(FileNotFoundError):  # removed in this moment: those after it are there
                file = logs.open_file(self._directory, number)
                self.close()
                self._file, self._offset = file, 0
                return True
        return False


def read_log(directory: Path, selection: LogSelection) -> Iterator[LogEntry]:
    """What the container has written until now; nothing if it has not come to have a log."""
    if selection.tail is not None:
        yield from _read_tail(directory, selection)[0]
        return
    with closing(LogReader(directory)) as reader:
        while entries := reader.read():
            yield from (entry for entry in entries if selection.has(entry.time, entry.stream))


def follow_log(
    directory: Path, connection: MonitorConnection, selection: LogSelection, timeout: float | None
) -> Iterator[list[LogEntry]]:
    """What the container writes, from the start, as it comes; ends when it has exited, and is not started again.

    Yields an empty list, once, when ``timeout`` seconds have passed, and ends.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        opened = DirectoryWatch(directory)
    except FileNotFoundError:
        return  # it has been removed
    with opened as watch, connection.news() as news:
        begin = LogPosition()
        if selection.tail is not None:
            last, begin = _read_tail(directory, selection)
            if last:
                yield last
        with closing(LogReader(directory, begin)) as reader:
            while True:
                watch.forget()
                # Asked first: what was written before the exit, the monitor has logged before it tells of that.
                ended = connection.gone or connection.state.status == "exited" or _is_past(selection)
                while entries := reader.read():
                    if wanted := [entry for entry in entries if selection.has(entry.time, entry.stream)]:
                        yield wanted
                    if deadline is not None and time.monotonic() >= deadline:
                        break
                if ended and not entries:
                    return
                if deadline is not None and time.monotonic() >= deadline:
                    yield []
                    return
                if not ended:
                    news.wait(watch.fileno(), _remaining(deadline, selection))


def _is_past(selection: LogSelection) -> bool:
    return selection.until is not None and time.time_ns() > selection.until


def _remaining(deadline: float | None, selection: LogSelection) -> float | None:
    limits = []
    if deadline is not None:
        limits.append(deadline - time.monotonic())
    if selection.until is not None:
        limits.append((selection.until - time.time_ns()) / _NANOSECONDS + 0.001)
    return max(0.0, min(limits)) if limits else None


def _read_tail(directory: Path, selection: LogSelection) -> tuple[list[LogEntry], LogPosition]:
    """The last lines of what is selected, and where the log goes on after them. No more files are read than needed."""
    last = LastLines(selection.tail or 0, selection.tail_bytes)
    end: LogPosition | None = None
    for number in reversed(logs.file_numbers(directory)):
        try:
            file = logs.open_file(directory, number)
        except FileNotFoundError:
            break
        before = LastLines(last.lines - last.ends, last.bytes_at_most and last.bytes_at_most - last.size)
        try:
            offset = before.read(file, selection)
        finally:
            os.close(file)
        end = end or LogPosition(number, offset)
        last.prepend(before)
        if last.is_complete():
            break
    return last.cut(), end or LogPosition()


class LastLines:
    """The last entries of many: those with the last ``lines``, and little before them; of about ``bytes_at_most``."""

    def __init__(self, lines: int, bytes_at_most: int | None) -> None:
        self.lines = lines
        self.bytes_at_most = bytes_at_most
        self.ends = 0
        self.size = 0
        self._entries: deque[LogEntry] = deque()

    def read(self, file: int, selection: LogSelection) -> int:
        """Adds what is selected of one of a log's files; returns where that ends."""
        offset = 0
        while True:
            entries, offset = logs.read(file, offset)
            if not entries:
                return offset
            for entry in entries:
                if selection.has(entry.time, entry.stream):
                    self.add(entry)

    def add(self, entry: LogEntry) -> None:
        """Adds the next one."""
        self._entries.append(entry)
        self.ends += entry.data.count(b"\n")
        self.size += len(entry.data)
        while self._entries and self._is_dispensable(self._entries[0]):
            first = self._entries.popleft()
            self.ends -= first.data.count(b"\n")
            self.size -= len(first.data)

    def _is_dispensable(self, entry: LogEntry) -> bool:
        if self.ends - entry.data.count(b"\n") > self.lines:
            return True
        return self.bytes_at_most is not None and self.size - len(entry.data) >= self.bytes_at_most

    def prepend(self, before: LastLines) -> None:
        """Adds those of the file before."""
        self._entries.extendleft(reversed(before._entries))
        self.ends += before.ends
        self.size += before.size

    def is_complete(self) -> bool:
        """Whether what comes before does not count any more."""
        return (
            self.lines == 0
            or self.ends > self.lines
            or (self.bytes_at_most is not None and self.size >= self.bytes_at_most)
        )

    def cut(self) -> list[LogEntry]:
        """The last lines alone; what comes after the last end of a line is a line, too."""
        if self.lines == 0 or not self._entries:
            return []
        to_pass = self.lines + self._entries[-1].data.endswith(b"\n")
        found: deque[LogEntry] = deque()
        size = 0
        for entry in reversed(self._entries):
            data = entry.data
            here = data.count(b"\n")
            if here >= to_pass:
                data = data[_find_from_end(data, to_pass) + 1 :]
            if self.bytes_at_most is not None:
                data = data[max(0, len(data) - (self.bytes_at_most - size)) :]
            if data:
                found.appendleft(entry._replace(data=data))
            size += len(data)
            to_pass -= here
            if to_pass <= 0:
                break
        return list(found)


def _find_from_end(data: bytes, count: int) -> int:
    """Where the last line feed but ``count`` - 1 is."""
    at = len(data)
    for _ in range(count):
        at = data.rindex(b"\n", 0, at)
    return at


class Lines:
    """Makes lines of entries, those of each stream apart: a line comes when its end does.

    With ``timestamps`` each begins with the time when its beginning was read, as docker writes it.
    """

    def __init__(self, *, timestamps: bool) -> None:
        self._timestamps = timestamps
        self._begun: dict[int, bytes] = {}
        self._seconds = -1
        self._date = ""

    def of(self, entries: Iterable[LogEntry]) -> Iterator[bytes]:
        """The lines that are complete now, with their ends."""
        for entry in entries:
            begun = self._begun.pop(entry.stream, b"")
            for line in io.BytesIO(entry.data):
                whole = begun + line if begun else self._stamp(entry.time) + line
                begun = b""
                if line.endswith(b"\n") or len(whole) > _LINE_BYTES_AT_MOST:
                    yield whole
                else:
                    self._begun[entry.stream] = whole

    def rest(self) -> Iterator[bytes]:
        """What was begun and has no end."""
        yield from self._begun.values()
        self._begun = {}

    def _stamp(self, moment: int) -> bytes:
        if not self._timestamps:
            return b""
        seconds, nanoseconds = divmod(moment, _NANOSECONDS)
        if seconds != self._seconds:  # most lines are of the same second as the one before
            self._seconds, self._date = seconds, f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
        return f"{self._date}.{nanoseconds:09}Z ".encode()
