"""The container's /proc, /sys and /dev, equal to Docker's."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable

from pytest_pycontainer.kernel import mount
from pytest_pycontainer.runtime.failure import step
from pytest_pycontainer.runtime.rootfs import open_mount_target

_PLAIN = mount.NOSUID | mount.NODEV | mount.NOEXEC
_NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}


def mount_system_directories(root: int, shm_bytes: int, cgroup_hierarchies: tuple[str, ...]) -> None:
    """Mounts /proc, /sys, /dev and what belongs below them, into the root open as ``root``. Raises StepFailed."""
    _mount(root, "proc", "proc", _PLAIN)
    _mount(root, "dev", "tmpfs", mount.NOSUID, "mode=755,size=65536k")
    with step("fill /dev"):
        dev = mount.open_in_root(root, "dev", os.O_PATH | os.O_DIRECTORY, follow=False)
        try:
            _fill_dev(dev)
        finally:
            os.close(dev)
    terminals = "newinstance,ptmxmode=0666,mode=0620,gid=5"
    _mount(root, "dev/pts", "devpts", mount.NOSUID | mount.NOEXEC, terminals)
    _mount(root, "dev/mqueue", "mqueue", _PLAIN)
    _mount(root, "dev/shm", "tmpfs", _PLAIN, f"mode=1777,size={shm_bytes}")
    _mount(root, "sys", "sysfs", _PLAIN | mount.RDONLY)
    _mount_cgroups(root, cgroup_hierarchies)


def _mount_cgroups(root: int, hierarchies: tuple[str, ...]) -> None:
    # The cgroup namespace makes the container's own directory the top of what it sees.
    if hierarchies == ("cgroup2",):
        _mount(root, "sys/fs/cgroup", "cgroup2", _PLAIN | mount.RDONLY)
    elif hierarchies:
        _mount(root, "sys/fs/cgroup", "tmpfs", _PLAIN, "mode=755")
        for name in hierarchies:
            _mount(root, f"sys/fs/cgroup/{name}", "cgroup", _PLAIN | mount.RDONLY, name)
        with step("make /sys/fs/cgroup read-only"):
            target = mount.open_in_root(root, "sys/fs/cgroup", os.O_PATH, follow=False)
            mount.mount("none", f"/proc/self/fd/{target}", None, mount.REMOUNT | mount.BIND | mount.RDONLY | _PLAIN)
            os.close(target)


def _fill_dev(dev: int) -> None:
    for name, (major, minor) in _NODES.items():
        os.mknod(name, stat.S_IFCHR | 0o666, os.makedev(major, minor), dir_fd=dev)
    for name, to in _LINKS.items():
        os.symlink(to, name, dir_fd=dev)
    for name in ("pts", "mqueue", "shm"):
        os.mkdir(name, 0o755, dir_fd=dev)


def _mount(root: int, path: str, filesystem: str, flags: int, options: str = "") -> None:
    with step(f"mount /{path}"):
        try:
            # Never through a link: an image could point /proc elsewhere (CVE-2023-27561).
            target = mount.open_in_root(root, path, os.O_PATH | os.O_DIRECTORY, follow=False)
        except FileNotFoundError:
            target = open_mount_target(root, path, directory=True)
        try:
            mount.mount(filesystem, f"/proc/self/fd/{target}", filesystem, flags, options)
        finally:
            os.close(target)


def mask_paths(masked: Iterable[str], read_only: Iterable[str]) -> None:
    """Covers ``masked`` with nothing and makes ``read_only`` unwritable; called inside the container's root.

    What the machine does not have needs no mask. A file is covered by /dev/null, a directory by an empty read-only
    tmpfs; both sources are of our own making. Raises StepFailed.
    """
    null = _own_null()
    for path in read_only:
        with step(f"make {path} read-only"):
            try:
                mount.bind(path, path, mount.REC | mount.RDONLY | _PLAIN)
            except FileNotFoundError:
                continue
    for path in masked:
        with step(f"mask {path}"):
            try:
                mount.mount(null, path, None, mount.BIND)
            except FileNotFoundError:
                continue
            except NotADirectoryError:
                mount.mount("tmpfs", path, "tmpfs", mount.RDONLY | _PLAIN, "size=0")


def _own_null() -> str:
    with step("open /dev/null"):
        status = os.stat("/dev/null", follow_symlinks=False)
        # Something else there would be shown at every masked path (CVE-2025-31133).
        if not stat.S_ISCHR(status.st_mode) or status.st_rdev != os.makedev(*_NODES["null"]):
            raise OSError(errno.ENXIO, "it is not the null device")
    return "/dev/null"
