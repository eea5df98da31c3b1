"""Calls into the C library and straight to the kernel.

Every function here raises ``OSError`` with the kernel's errno when a call fails; none retries.
"""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)

# Calls that Debian 12's C library has no wrapper for, or one of another kind. Those made since Linux 5.0 have one
# number on every architecture.
_OWN_NUMBERS = {
    "x86_64": {"clone": 56, "pivot_root": 155, "capget": 125, "capset": 126, "keyctl": 250, "seccomp": 317, "bpf": 321},
    "aarch64": {"clone": 220, "pivot_root": 41, "capget": 90, "capset": 91, "keyctl": 219, "seccomp": 277, "bpf": 280},
}
_SHARED_NUMBERS = {
    "open_tree": 428,
    "move_mount": 429,
    "openat2": 437,
    "mount_setattr": 442,
}


def _check(result: int, doing: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{doing}: {os.strerror(number)}")
    return result


def call(function: str, *arguments: object) -> int:
    """Calls a C library function that returns an int, negative for failure. Raises OSError."""
    return _check(getattr(_libc, function)(*arguments), function)


def syscall(name: str, *arguments: object) -> int:
    """Calls the kernel by a system call's name (x86_64 and aarch64). Raises OSError, ENOSYS on another machine."""
    return _check(_libc.syscall(ctypes.c_long(number_of(name)), *map(_as_long, arguments)), name)


def number_of(name: str) -> int:
    """The number of a system call that ``syscall`` knows; -1 on another machine."""
    number = _SHARED_NUMBERS.get(name)
    return _OWN_NUMBERS.get(os.uname().machine, {}).get(name, -1) if number is None else number


def _as_long(argument: object) -> object:
    # Variadic arguments travel as ints unless told otherwise; the kernel reads whole registers.
    return ctypes.c_long(argument) if isinstance(argument, int) else argument
