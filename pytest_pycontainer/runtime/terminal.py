"""A pseudo-terminal of the container's own (``man 7 pty``), made by a process that is in its root already."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from typing import Final

from pytest_pycontainer.runtime.failure import step
from pytest_pycontainer.runtime.spec import TerminalSize

_MULTIPLEXER: Final = "/dev/pts/ptmx"
_MULTIPLEXER_NUMBER = os.makedev(5, 2)
_TIOCSCTTY = 0x540E
_TIOCSWINSZ = 0x5414
_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441

KIND: Final = "xterm"
"""What programs take it for, unless their environment has a TERM."""


def open_terminal(size: TerminalSize) -> tuple[int, int]:
    """Makes one; returns the end of who sits before it, and the program's. Raises StepFailed."""
    with step("make a terminal"):
        # What is there is the container's to change: no link is followed, and its cgroup says what can be opened.
        flags = os.O_RDWR | os.O_NOCTTY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        outer = os.open(_MULTIPLEXER, flags)
        status = os.fstat(outer)
        if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _MULTIPLEXER_NUMBER:
            os.close(outer)
            raise OSError(0, f"the container has put something else at {_MULTIPLEXER}")
        fcntl.ioctl(outer, _TIOCSPTLCK, struct.pack("i", 0))
        # The kernel gives its other end: a name in /dev/pts could lead elsewhere (CVE-2025-52565).
        inner = fcntl.ioctl(outer, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        resize_terminal(outer, size)
    return outer, inner


def take_terminal(inner: int) -> None:
    """Makes it this session leader's controlling terminal, and its input, output and error. Raises StepFailed."""
    with step("take the terminal"):
        fcntl.ioctl(inner, _TIOCSCTTY, 0)
        for number in range(3):
            os.dup2(inner, number)
        os.close(inner)


def resize_terminal(descriptor: int, size: TerminalSize) -> None:
    """Says how large it is; its programs get SIGWINCH if that is new. Raises OSError."""
    fcntl.ioctl(descriptor, _TIOCSWINSZ, struct.pack("HHHH", size.lines, size.columns, 0, 0))
