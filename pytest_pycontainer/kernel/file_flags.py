"""What a file system is told of a directory (``man 2 ioctl_iflags``)."""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress

# The kernel takes them for an int, whatever their numbers say (linux/fs.h).
_GET_FLAGS = 0x80086601 if struct.calcsize("l") == 8 else 0x80046601
_SET_FLAGS = 0x40086602 if struct.calcsize("l") == 8 else 0x40046602
_TOP_OF_HIERARCHIES = 0x00020000
_FLAGS = struct.Struct("i")


def keep_subdirectories_apart(path: str | os.PathLike[str]) -> None:
    """Tells ext4 that what lies in one subdirectory has nothing to do with what lies in another.

    Each is then begun in another part of the disk. Where subdirectories come and go all the time this matters: to make
    a file, ext4 without a journal looks at every one that was removed from the same part in the last minutes. Other
    file systems know no such thing, and are left as they are.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            (flags,) = _FLAGS.unpack(fcntl.ioctl(descriptor, _GET_FLAGS, bytes(_FLAGS.size)))
            if not flags & _TOP_OF_HIERARCHIES:
                fcntl.ioctl(descriptor, _SET_FLAGS, _FLAGS.pack(flags | _TOP_OF_HIERARCHIES))
    finally:
        os.close(descriptor)
