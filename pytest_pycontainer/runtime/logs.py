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


def append(log: int, stream: int, data: bytes) -> None:
    """Writes one frame to the descriptor ``log``. Raises OSError."""
    frame = memoryview(_HEADER.pack(time.time_ns(), stream, len(data)) + data)
    while frame:
        frame = frame[os.write(log, frame) :]


def read(log: BinaryIO) -> Iterator[LogEntry]:
    """The whole frames from the file's position on; it is left behind the last of them, for the next call."""
    while True:
        position = log.tell()
        header = log.read(_HEADER.size)
        if len(header) == _HEADER.size:
            moment, stream, length = _HEADER.unpack(header)
            data = log.read(length)
            if len(data) == length:
                yield LogEntry(moment, stream, data)
                continue
        log.seek(position)
        return
