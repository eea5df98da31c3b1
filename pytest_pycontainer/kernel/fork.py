"""Forking into a cgroup, into a PID namespace, and for one's parent (``man 2 clone3``)."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from typing import Final

from pytest_pycontainer.kernel import libc, namespaces

_CLONE3: Final = 435  # on every architecture
_CLONE_PARENT = 0x00008000
_INTO_CGROUP = 0x200000000
_ARGUMENTS = 11  # of struct clone_args up to its cgroup

# Unlike CDLL it holds Python's lock during the call: the child's one thread has it then, and nobody to get it from.
_libc = ctypes.PyDLL(None, use_errno=True)


def fork_into_cgroup(directory: int) -> int:
    """As ``os.fork``, with the child in the version 2 cgroup open as ``directory`` from its first moment (Linux 5.7).

    Nobody waits for a grace period, as a process does that moves itself. Only for a process with a single thread: what
    Python and the C library do around a fork is left out. Raises OSError; ENOSYS where a sandbox hides the call.
    """
    arguments = (ctypes.c_uint64 * _ARGUMENTS)(_INTO_CGROUP, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, directory)
    pid: int = _libc.syscall(ctypes.c_long(_CLONE3), ctypes.byref(arguments), ctypes.c_size_t(ctypes.sizeof(arguments)))
    if pid < 0:
        number = ctypes.get_errno() or errno.ENOSYS
        raise OSError(number, f"clone3: {os.strerror(number)}")
    return pid


def fork_sibling() -> int:
    """As ``os.fork``, but the new process is a child of this one's parent; its number is returned here.

    Only for a process with a single thread, as ``fork_into_cgroup``. Raises OSError.
    """
    return _clone(_CLONE_PARENT)


def fork_into_pid_namespace() -> int:
    """As ``os.fork``, with the child as the first process of a new PID namespace; this one's later children stay here.

    After ``unshare`` they would only with the right to the own namespace, which who is in a user namespace may lack.
    Only for a process with a single thread, as ``fork_into_cgroup``. Raises OSError.
    """
    return _clone(namespaces.PID)


def _clone(flags: int) -> int:
    # With clone(2), which is there in every sandbox in which os.fork is.
    arguments = (ctypes.c_ulong(flags | signal.SIGCHLD), *([ctypes.c_void_p(None)] * 4))
    pid: int = _libc.syscall(ctypes.c_long(libc.number_of("clone")), *arguments)
    if pid < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"clone: {os.strerror(number)}")
    return pid
