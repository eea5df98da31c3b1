"""A container's log on disk: what it wrote to standard output and error, in order, with times.

A log is a row of files, ``log.0``, ``log.1`` and so on, of which the last one is written to. When that is full the next
is begun and the oldest removed: nothing is ever renamed, so who reads one file knows which comes after it. A file is a
row of frames: a little-endian header (nanoseconds since the epoch, u64; stream, u8: 1 or 2; length, u32), then the
bytes as they were written. Only the monitor writes; anybody may read, a last frame cut short being one still written.
"""

from __future__ import annotations

import os
import struct
import time
from contextlib import suppress
from typing import Final, NamedTuple

from pytest_pycontainer.runtime.spec import LogLimits
from pytest_pycontainer.runtime.values import dataclass

STDOUT: Final = 1
STDERR: Final = 2

DATA_AT_MOST: Final = 64 * 1024
"""Bytes of one frame's data; a pipe holds as much, unless somebody makes it larger."""

_READ_SIZE = 1 << 20  # more than a frame
_HEADER = struct.Struct("<QBI")
_NAME = "log."


class LogEntry(NamedTuple):
    """What one write brought: ``time`` in nanoseconds since the epoch, ``stream`` STDOUT or STDERR.

    A log may have millions, and a tuple is made in a third of the time of a frozen dataclass.
    """

    time: int
    stream: int
    data: bytes


@dataclass(frozen=True, slots=True, order=True)
class LogPosition:
    """A place in a log: the file's number, and where in it."""

    file: int = 0
    offset: int = 0


class LogWriter:
    """Writes the log in a container's directory, within ``limits``. There is none before the first frame."""

    def __init__(self, directory: str, limits: LogLimits) -> None:
        self.limits = limits
        self._directory = directory
        self._number = 0
        self._size = 0
        self._file = -1

    @property
    def position(self) -> LogPosition:
        """Where the next frame comes to lie, or the end of the file before it."""
        return LogPosition(self._number, self._size)

    def append(self, stream: int, data: bytes | memoryview) -> None:
        """Writes one frame, of DATA_AT_MOST bytes. Raises OSError, and nothing of it is written then."""
        if self._file < 0:
            self._file = self._open(0)
        if self.limits.file_bytes is not None and self._size >= self.limits.file_bytes:
            self._begin_next()
        header = _HEADER.pack(time.time_ns(), stream, len(data))
        try:
            written = os.writev(self._file, [header, data])
            if written < len(header) + len(data):
                rest = memoryview(header + data)[written:]
                while rest:
                    rest = rest[os.write(self._file, rest) :]
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(header) + len(data)

    def _begin_next(self) -> None:
        following = self._open(self._number + 1)
        os.close(self._file)
        self._file = following
        self._number += 1
        self._size = 0
        with suppress(FileNotFoundError):
            os.unlink(self._path(self._number - self.limits.files))

    def _open(self, number: int) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._path(number), flags, 0o600)

    def _path(self, number: int) -> str:
        return os.path.join(self._directory, f"{_NAME}{number}")


def file_numbers(directory: str | os.PathLike[str]) -> list[int]:
    """The numbers of a log's files, oldest first; none when the container is gone, or has not come to have one."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return sorted(int(name.removeprefix(_NAME)) for name in names if name.startswith(_NAME))


def open_file(directory: str | os.PathLike[str], number: int) -> int:
    """Opens one of a log's files for reading. Raises FileNotFoundError if it has been removed."""
    return os.open(os.path.join(directory, f"{_NAME}{number}"), os.O_RDONLY | os.O_CLOEXEC)


def read(file: int, offset: int, at_most: int | None = None) -> tuple[list[LogEntry], int]:
    """Some of the whole frames that lie in a file from ``offset`` on, none if there are none yet; where they end.

    In ``at_most`` so many bytes, if it is given.
    """
    data = os.pread(file, _READ_SIZE if at_most is None else min(_READ_SIZE, at_most), offset)
    entries = []
    begin = 0
    while (content := begin + _HEADER.size) <= len(data):
        moment, stream, length = _HEADER.unpack_from(data, begin)
        if content + length > len(data):
            break
        begin = content + length
        entries.append(LogEntry(moment, stream, data[content:begin]))
    return entries, offset + begin
