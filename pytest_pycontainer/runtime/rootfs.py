"""A container's root file system: the overlay, and the host image's place at its bottom."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable

from pytest_pycontainer.kernel import mount
from pytest_pycontainer.kernel.own_ids import OwnIds
from pytest_pycontainer.kernel.removal import remove_tree
from pytest_pycontainer.runtime.host_parts import HostParts
from pytest_pycontainer.runtime.overlay import mount_overlay
from pytest_pycontainer.runtime.spec import Rootfs

# Directories that a machine fills while it runs: the host image starts with none of their content.
_OWN_DIRECTORIES = {"proc": 0o555, "sys": 0o555, "dev": 0o755, "tmp": 0o1777, "run": 0o755, "run/lock": 0o1777}
# As in Debian's container images: packages must not start services while they are installed (invoke-rc.d(8)).
_SERVICE_POLICY = ("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n")
_SIZE = "64m"  # at most; the mask takes some kilobytes, copies of small files of this machine's some megabytes
_OPAQUE = "trusted.overlay.opaque"


class MountPoints:
    """Where the spawner and its children mount: a tmpfs that exists in the spawner's mount namespace alone.

    ``mask`` is the layer that lies on the host image: it hides what is this machine's own business. ``host`` is the
    host image as one directory. ``root``, ``source`` and ``system`` are empty directories to mount on; ``empty`` is a
    layer with nothing in it. ``machine`` is this machine's root file system. ``ids`` are the users of the spawner,
    ``parts`` the host image where they are not all.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.mask = os.path.join(directory, "mask")
        self.empty = os.path.join(directory, "empty")
        self.host = os.path.join(directory, "host")
        self.root = os.path.join(directory, "root")
        self.source = os.path.join(directory, "source")
        self.system = os.path.join(directory, "system")
        self.machine = "/"
        self._mapped = os.path.join(directory, "mapped")
        self.ids = OwnIds.read()
        self.parts = None if self.ids.are_all else HostParts(self.mask, os.path.join(directory, "parts"))

    def prepare(self, hidden: Iterable[str]) -> None:
        """Mounts the tmpfs and fills it, in a mount namespace that this process has for itself. Raises OSError.

        ``hidden`` are absolute paths: what of this machine no container may see, such as the store.
        """
        mount.mount("pycontainer", self.directory, "tmpfs", mount.NOSUID | mount.NODEV, f"mode=0755,size={_SIZE}")
        for path in (self.mask, self.empty, self.host, self.root, self.source, self.system, self._mapped):
            os.mkdir(path, 0o755)
        if self.parts is not None:
            self.parts.prepare(_OWN_DIRECTORIES, hidden)
            return
        self._fill_mask(hidden)
        # Once, for all containers: what is looked up in it is known to the next.
        mount_overlay([self.mask, "/"], None, None, self.host)

    def map_host(self, user_namespace: int) -> None:
        """Shows the host image's files as that namespace's users own them; in a mount namespace of this process's own.

        Raises OSError, EINVAL where this kernel can't map a file system.
        """
        for source, place in ((self.mask, self.mask), ("/", self._mapped)):
            mount.show_mapped(source, place, user_namespace)
        self.machine = self._mapped
        mount_overlay([self.mask, self.machine], None, None, self.host)

    def _fill_mask(self, hidden: Iterable[str]) -> None:
        for name, mode in _OWN_DIRECTORIES.items():
            path = os.path.join(self.mask, name)
            os.mkdir(path)
            os.chmod(path, mode)
            os.setxattr(path, _OPAQUE, b"y")
        policy, script = _SERVICE_POLICY
        if os.path.isdir("/usr/sbin") and not os.path.lexists(f"/{policy}"):
            self._copy_parents(policy)
            target = os.path.join(self.mask, policy)
            with open(target, "w") as file:
                file.write(script)
            os.chmod(target, 0o755)  # noqa: S103  (a script that packages' scripts run)
        for path in hidden:
            relative = os.path.relpath(os.path.realpath(path), "/")
            if relative.partition("/")[0] not in _OWN_DIRECTORIES and os.path.lexists(path):
                self._copy_parents(relative)
                # A character device 0:0 is overlayfs's sign for "not there".
                os.mknod(os.path.join(self.mask, relative), stat.S_IFCHR, os.makedev(0, 0))

    def _copy_parents(self, relative: str) -> None:
        # A merged directory shows the attributes of its topmost layer.
        path = ""
        for name in relative.split("/")[:-1]:
            path = os.path.join(path, name)
            copy = os.path.join(self.mask, path)
            if not os.path.exists(copy):
                original = os.stat(os.path.join("/", path))
                os.mkdir(copy)
                os.chown(copy, original.st_uid, original.st_gid)
                os.chmod(copy, stat.S_IMODE(original.st_mode))


def renew_work_directory(rootfs: Rootfs) -> None:
    """Makes the overlay's work directory anew, for a further mount. Raises OSError.

    The kernel takes none a second time that a volatile overlay has had.
    """
    if rootfs.work is not None:
        remove_tree(rootfs.work)
        os.mkdir(rootfs.work, 0o700)


def mount_root(rootfs: Rootfs, points: MountPoints, target: str) -> int:
    """Mounts ``rootfs`` on ``target`` and returns a descriptor of it. Raises OSError.

    Layers are named to the kernel through descriptors: mount options hold one page, and their syntax has no quoting.
    """
    if points.parts is None:
        _mount_layers(rootfs, points, target)
    else:
        _mount_in_user_namespace(rootfs, points.parts if rootfs.host else None, points, target)
    return os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _mount_layers(rootfs: Rootfs, points: MountPoints, target: str) -> None:
    layers = list(rootfs.layers)
    if rootfs.host:
        if layers and os.stat(layers[0]).st_dev == os.stat("/").st_dev:
            # Layers that lie inside another layer, as the store does in "/", are refused with ELOOP ("overlapping
            # lowerdir path"), so they are stacked on the host image that is an overlay of its own.
            layers.append(points.host)
        else:
            layers += [points.mask, points.machine]
    mount_overlay(layers or [points.empty], rootfs.upper, rootfs.work, target, empty=points.empty)


def _mount_in_user_namespace(rootfs: Rootfs, parts: HostParts | None, points: MountPoints, target: str) -> None:
    layers = list(rootfs.layers)
    paths = [] if parts is None else parts.paths
    if rootfs.upper is not None:
        for path in paths:  # before what they are seen through is mounted
            _make_like(points.mask, rootfs.upper, path)
    lowest = [] if parts is None else [parts.skeleton]
    layers_of_root = [*layers, *lowest] or [points.empty]
    mount_overlay(layers_of_root, rootfs.upper, rootfs.work, target, empty=points.empty, trusted=False)
    for number, path in enumerate(paths):
        assert parts is not None
        upper = work = None
        if rootfs.upper is not None:
            upper, work = os.path.join(rootfs.upper, path), f"{rootfs.work}-{number}"
            remove_tree(work)  # of an earlier run
            os.mkdir(work, 0o700)
        mount_overlay(parts.layers_of(path, layers), upper, work, os.path.join(target, path), trusted=False)


def _make_like(layer: str, copy: str, path: str) -> None:
    """Makes a directory in ``copy``, with those above it, as they are in ``layer``."""
    if not os.path.isdir(os.path.join(copy, path)):
        above = os.path.dirname(path)
        if above:
            _make_like(layer, copy, above)
        os.mkdir(os.path.join(copy, path))
        os.chmod(os.path.join(copy, path), stat.S_IMODE(os.stat(os.path.join(layer, path)).st_mode))


_LINKS_AT_MOST = 40


def open_mount_target(root: int, path: str, *, directory: bool) -> int:
    """Opens ``path`` inside ``root`` as something to mount on, making it (and its parents) if it is not there.

    A link that points to nothing is followed inside the root, and what it points to is made. Directories that get
    something so keep their times. Raises OSError.
    """
    for _ in range(_LINKS_AT_MOST):
        try:
            return mount.open_in_root(root, path, os.O_PATH)
        except FileNotFoundError:
            path = _make(root, path, directory=directory) or path
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def _make(root: int, path: str, *, directory: bool) -> str | None:
    """Makes ``path``; or, if a dangling link is there, returns the path that it stands for."""
    parent_path, name = os.path.split(path.rstrip("/"))
    parent = open_mount_target(root, parent_path or "/", directory=True)
    try:
        before = os.fstat(parent)
        try:
            if directory:
                os.mkdir(name, 0o755, dir_fd=parent)
            else:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                os.close(os.open(name, flags, 0o644, dir_fd=parent))
        except FileExistsError:
            return os.path.join(parent_path, os.readlink(name, dir_fd=parent))
        os.utime(f"/proc/self/fd/{parent}", ns=(before.st_atime_ns, before.st_mtime_ns))
    finally:
        os.close(parent)
    return None
