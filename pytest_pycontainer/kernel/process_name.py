"""What others see of a process that executes nothing: its name and its command line (``man 5 proc``)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence

from pytest_pycontainer.kernel import libc

_PR_SET_NAME = 15
# Fields of /proc/PID/stat, counted from the one after the name.
_ARGUMENTS_START, _ARGUMENTS_END = 45, 46


def rename_process(name: str, command: Sequence[str]) -> None:
    """Shows ``name``, at most 15 bytes, and ``command``, as much of it as the real one was long. Raises OSError.

    The kernel reads a command line from the process's own memory. /proc has to be mounted.
    """
    libc.call("prctl", _PR_SET_NAME, os.fsencode(name), 0, 0, 0)
    with open("/proc/self/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    start, end = int(fields[_ARGUMENTS_START]), int(fields[_ARGUMENTS_END])
    # A last byte that is no zero would say that it goes on where the environment was.
    shown = b"\0".join(map(os.fsencode, command))[: end - start - 1]
    ctypes.memmove(start, shown.ljust(end - start, b"\0"), end - start)
