"""Namespaces of another container, by the pidfd of its PID 1."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pytest_pycontainer.kernel import mount, namespaces
from pytest_pycontainer.runtime.failure import StepFailed, step
from pytest_pycontainer.runtime.messages import Failed

_ENDED = "the container that it is shared with has ended"


def join_namespace(first_process: int, kind: int) -> None:
    """Joins the other container's namespace of that kind. Raises StepFailed, also if that container has ended."""
    doing = f"join another container's {namespaces.NAMES[kind]} namespace"
    with step(doing):
        try:
            namespaces.enter(first_process, kind)
        except ProcessLookupError as error:
            raise StepFailed(Failed(doing, error.errno or 0, _ENDED)) from error


def open_shared_memory(joined: Mapping[int, int]) -> int:
    """What the container whose IPC namespace is joined has as /dev/shm, as a detached mount; -1 if there is none.

    ``joined`` are pidfds by kind. Raises StepFailed.
    """
    if namespaces.IPC not in joined:
        return -1
    with step("find the other container's /dev/shm"):
        own = namespaces.open_own(namespaces.MOUNT)
        # A mount can be cloned only by who is in its namespace; its root is this process's for a moment.
        namespaces.enter(joined[namespaces.IPC], namespaces.MOUNT)
        try:
            root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            other = mount.open_in_root(root, "dev/shm", os.O_PATH | os.O_DIRECTORY, follow=False)
            return mount.clone_tree(other)
        finally:
            namespaces.enter(own, namespaces.MOUNT)
