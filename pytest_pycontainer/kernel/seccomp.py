"""Filters of system calls (``man 2 seccomp``)."""

from __future__ import annotations

import ctypes
import errno

from pytest_pycontainer.kernel import libc

_SET_MODE_FILTER = 1
# Without it kernels before 5.16 also slow the process down (Speculative Store Bypass), which Docker does not ask for.
_SPECULATION_ALLOWED = 1 << 2
_INSTRUCTION_BYTES = 8


class _Program(ctypes.Structure):
    """struct sock_fprog (linux/filter.h)."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def install_filter(program: bytes) -> None:
    """Filters every system call of this thread and all that come from it through a classic BPF program, for good.

    Needs CAP_SYS_ADMIN or no_new_privs. Raises OSError: EACCES without either, EINVAL for a program that is none.
    """
    argument = _Program(len(program) // _INSTRUCTION_BYTES, program)
    try:
        libc.syscall("seccomp", _SET_MODE_FILTER, _SPECULATION_ALLOWED, ctypes.byref(argument))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        libc.syscall("seccomp", _SET_MODE_FILTER, 0, ctypes.byref(argument))  # the flag came with Linux 4.17
