"""Mounting a root that no process runs in, for somebody who is to read and write its files."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_pycontainer.kernel import mount, namespaces
from pytest_pycontainer.runtime.failure import step
from pytest_pycontainer.runtime.mounts import attach_mounts
from pytest_pycontainer.runtime.rootfs import MountPoints, mount_root
from pytest_pycontainer.runtime.spec import Mount, Rootfs


def run_open_root(rootfs: Rootfs, mounts: Iterable[Mount], points: MountPoints) -> int:
    """A descriptor of the root, mounted in a process that is there for nothing else. Raises StepFailed.

    The mounts of this process's namespace go with it; what the descriptor stands for is detached from all.
    """
    with step("mount the root"):
        namespaces.unshare(namespaces.MOUNT)
        root = mount_root(rootfs, points, points.root)
    attach_mounts(root, mounts, points)
    with step("detach the root"):
        return mount.clone_tree(root)
