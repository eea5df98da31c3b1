"""Locks on open files (``man 2 flock``), without waiting: the kernel's own way to wait knows no time limit."""

from __future__ import annotations

import fcntl
import os
from typing import Final

SHARED: Final = fcntl.LOCK_SH
ALONE: Final = fcntl.LOCK_EX


def try_lock(descriptor: int, kind: int) -> bool:
    """Takes the lock on an open file, SHARED or ALONE; False if others hold it in the way. Raises OSError."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(path: str | os.PathLike[str]) -> bool:
    """Whether somebody holds the lock on a file or directory alone. It is shared for a moment to find out.

    Raises OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return not try_lock(descriptor, SHARED)
    finally:
        os.close(descriptor)
