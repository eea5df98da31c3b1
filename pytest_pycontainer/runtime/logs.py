"""A container's log on disk: what it wrote to standard output and error, in order, with times.

The file is a row of frames: a little-endian header (nanoseconds since the epoch, u64; stream, u8: 1 or 2; length,
u32), then the bytes as they were written. Only the monitor writes; anybody may read, a last frame cut short being
one still written.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

STDOUT: Final = 1
STDERR: Final = 2

FILE_NAME: Final = "log"

_HEADER = struct.Struct("<QBI")


@dataclass(frozen=True, slots=True)
class LogEntry:
    """What one write brought: ``time`` in nanoseconds since the epoch, ``stream`` STDOUT or STDERR."""

    time: int
    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the data of one write lies: ``offset`` and ``length`` in bytes of the file."""

    time: int
    stream: int
    offset: int
    length: int


def append(log: int, stream: int, data: bytes) -> None:
    """Writes one frame to the descriptor ``log``. Raises OSError."""
    frame = memoryview(_HEADER.pack(time.time_ns(), stream, len(data)) + data)
    while frame:
        frame = frame[os.write(log, frame) :]


def frames(log: BinaryIO) -> Iterator[Frame]:
    """The whole frames from the file's position to what is its end now, without their data.

    The position is behind each frame when it is yielded, and in the end behind the last.
    """
    size = os.fstat(log.fileno()).st_size
    position = log.tell()
    while position + _HEADER.size <= size:
        log.seek(position)
        moment, stream, length = _HEADER.unpack(log.read(_HEADER.size))
        offset = position + _HEADER.size
        if offset + length > size:
            break
        position = offset + length
        log.seek(position)
        yield Frame(moment, stream, offset, length)
    log.seek(position)


def read(log: BinaryIO) -> Iterator[LogEntry]:
    """The entries of ``frames``."""
    for frame in frames(log):
        yield read_frame(log, frame)


def read_frame(log: BinaryIO, frame: Frame) -> LogEntry:
    """A frame with its data; the file's position is behind it."""
    log.seek(frame.offset)
    return LogEntry(frame.time, frame.stream, log.read(frame.length))
