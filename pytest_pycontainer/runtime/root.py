"""A container's root with all that is mounted in it, ready to be entered."""

from __future__ import annotations

import os

from pytest_pycontainer.kernel import mount
from pytest_pycontainer.runtime.devices import complete_system_directories, move_system_directories
from pytest_pycontainer.runtime.failure import step
from pytest_pycontainer.runtime.init_layer import add_init_layer
from pytest_pycontainer.runtime.mount_points import record_mount_points
from pytest_pycontainer.runtime.mounts import attach_mounts
from pytest_pycontainer.runtime.rootfs import MountPoints, mount_root, open_mount_target
from pytest_pycontainer.runtime.spec import ContainerSpec, IdMap


def mount_whole_root(spec: ContainerSpec, points: MountPoints, *, ids: IdMap | None = None, again: bool = False) -> int:
    """Mounts the root, what was prepared of /proc, /sys and /dev, and the mounts; returns a descriptor of it.

    In a mount namespace of this process's own. ``ids`` say what this machine calls the container's users; ``again`` is
    for a root that has been in use before. Raises StepFailed.
    """
    with step("mount the root file system"):
        root = mount_root(spec.rootfs, points, points.root)
    parts = _open_parts(spec, points)
    complete_system_directories(points.system, spec, ids)
    move_system_directories(points.system, root)
    if spec.init_layer and not again:
        with step("add what Docker adds to every image"):
            add_init_layer(root)
    attach_mounts(root, spec.mounts, points, fill=not again, ids=ids)
    if spec.rootfs.upper is not None and not again:  # what else is there the container has written
        with step("record the mount points"):
            record_mount_points(spec.rootfs.upper)
    for part in parts:
        with step("make the root read-only"):
            mount.make_read_only(f"/proc/self/fd/{part}")
            os.close(part)
    if spec.read_only:
        with step(f"make the working directory {spec.process.working_directory}"):
            os.close(open_mount_target(root, spec.process.working_directory or "/", directory=True))
    return root


def _open_parts(spec: ContainerSpec, points: MountPoints) -> list[int]:
    """Descriptors of the mounts below the root that a read-only root is to have read-only, too."""
    if not (spec.read_only and spec.rootfs.host and points.parts is not None):
        return []
    with step("open the parts of the host image"):
        places = (os.path.join(points.root, path) for path in points.parts.paths)
        return [os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for place in places]
