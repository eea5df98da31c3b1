"""Namespaces (``man 7 namespaces``)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from pytest_pycontainer.kernel import libc

_T = TypeVar("_T")

MOUNT: Final = 0x00020000
CGROUP: Final = 0x02000000
UTS: Final = 0x04000000
IPC: Final = 0x08000000
USER: Final = 0x10000000
PID: Final = 0x20000000
NETWORK: Final = 0x40000000

ALL: Final = MOUNT | CGROUP | UTS | IPC | USER | PID | NETWORK

NAMES: Final = {MOUNT: "mnt", CGROUP: "cgroup", UTS: "uts", IPC: "ipc", USER: "user", PID: "pid", NETWORK: "net"}
"""The file below /proc/PID/ns that stands for each kind."""


def unshare(kinds: int) -> None:
    """Moves this process into new namespaces of these kinds; for PID, its children."""
    libc.call("unshare", kinds)


def enter(descriptor: int, kinds: int) -> None:
    """Joins the namespace open as ``descriptor``, or, with a pidfd (Linux 5.8), all of ``kinds`` of that process."""
    libc.call("setns", descriptor, kinds)


def open_own(kind: int) -> int:
    """A descriptor that keeps this process's namespace of that kind alive, and lets others enter it."""
    return os.open(f"/proc/self/ns/{NAMES[kind]}", os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def inside(descriptor: int, kind: int) -> Iterator[None]:
    """Has the calling thread in the namespace open as ``descriptor``, of that kind, for the length of a block."""
    own = os.open(f"/proc/thread-self/ns/{NAMES[kind]}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(descriptor, kind)
        try:
            yield
        finally:
            enter(own, kind)
    finally:
        os.close(own)


def call_inside(descriptor: int, kinds: int, function: Callable[[], _T]) -> _T:
    """Calls the function in namespaces as ``enter`` takes them, in a thread that is nowhere else before or after.

    The calling thread stays where it is, with whatever a signal has it do meanwhile. For kinds that a thread can have
    of its own: not PID, not USER, and not MOUNT.
    """
    import threading  # which the spawner has no use for

    results: list[_T] = []
    errors: list[BaseException] = []

    def enter_and_call() -> None:
        try:
            enter(descriptor, kinds)
            results.append(function())
        except BaseException as error:  # noqa: BLE001  (it is the caller's)
            errors.append(error)

    thread = threading.Thread(target=enter_and_call, daemon=True)
    thread.start()
    thread.join()
    for error in errors:
        raise error
    return results[0]


def open_of(process: int, kind: int) -> int:
    """As ``open_own``, for another process by its number where /proc is from. Raises OSError if it is gone."""
    return os.open(f"/proc/{process}/ns/{NAMES[kind]}", os.O_RDONLY | os.O_CLOEXEC)
