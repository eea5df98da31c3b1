"""Capabilities and what else the kernel lets a process do (``man 7 capabilities``, ``man 2 prctl``)."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from pytest_pycontainer.kernel import libc

CAPABILITIES: Final = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
"""In the kernel's order: a capability's place is its number (include/uapi/linux/capability.h)."""

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
_CAPABILITIES_AT_MOST = 64  # of that version
_KEYCTL_JOIN_SESSION_KEYRING = 1


def capability_mask(names: Iterable[str]) -> int:
    """The bit set of these capabilities, named without ``CAP_``. Raises ValueError for an unknown name."""
    return sum(1 << CAPABILITIES.index(name) for name in names)


def limit_capabilities(mask: int) -> None:
    """Drops every capability outside ``mask`` from the bounding set, so that no exec brings one back."""
    libc.call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for number in range(_CAPABILITIES_AT_MOST):
        if not mask >> number & 1:
            try:
                libc.call("prctl", _PR_CAPBSET_DROP, number, 0, 0, 0)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                return  # the kernel's own last capability was before it: the table above may have another


def set_capabilities(mask: int) -> None:
    """Makes ``mask`` the permitted and effective set; the inheritable one is empty (CVE-2022-24769)."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    libc.syscall("capset", ctypes.byref(header), ctypes.byref(data))


def make_files_as(uid: int, gid: int) -> None:
    """Has this thread make files as another user and group (``man 2 setfsuid``), with the capabilities that it has.

    The kernel takes some of them from who stops being root so: they are taken back.
    """
    header, data = _capability_sets()
    libc.call("setfsgid", gid)
    libc.call("setfsuid", uid)
    libc.syscall("capset", ctypes.byref(header), ctypes.byref(data))


@contextmanager
def files_made_as(uid: int, gid: int) -> Iterator[None]:
    """As ``make_files_as``, for the length of a block."""
    own_uid, own_gid = os.geteuid(), os.getegid()
    make_files_as(uid, gid)
    try:
        yield
    finally:
        make_files_as(own_uid, own_gid)


def _capability_sets() -> tuple[ctypes.Array[ctypes.c_uint32], ctypes.Array[ctypes.c_uint32]]:
    """The calling thread's effective, permitted and inheritable sets, as capget(2) and capset(2) take them."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()
    libc.syscall("capget", ctypes.byref(header), ctypes.byref(data))
    return header, data


def keep_capabilities() -> None:
    """Lets this process change from root to another user and keep its permitted capabilities, until it executes."""
    libc.call("prctl", _PR_SET_KEEPCAPS, 1, 0, 0, 0)


def refuse_new_privileges() -> None:
    """From here on no file that this process or its children execute gives them more rights than they have."""
    libc.call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def hide_process() -> None:
    """Makes this process not dumpable: without CAP_SYS_PTRACE nobody reads its memory or /proc/PID/ links."""
    libc.call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)


def die_with_parent(signal: int) -> None:
    """Asks for ``signal`` when the thread that forked this process ends (``man 2 PR_SET_PDEATHSIG``).

    The kernel forgets it when the process changes its user or executes a set-user-ID file.
    """
    libc.call("prctl", _PR_SET_PDEATHSIG, signal, 0, 0, 0)


def join_new_keyring() -> None:
    """A session keyring of its own, so that keys of this machine's user can't be read (``man 7 keyrings``)."""
    libc.syscall("keyctl", _KEYCTL_JOIN_SESSION_KEYRING, None)
