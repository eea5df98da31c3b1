"""What a container sees beside its root file system: mounts, each made on a target inside the root.

A mount is made detached from everything, restricted, and then put on its target by descriptor: no path of the
container's is ever looked up outside its root.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from pytest_pycontainer.kernel import mount
from pytest_pycontainer.kernel.own_ids import OwnIds
from pytest_pycontainer.runtime.copying import SOURCE_STEP
from pytest_pycontainer.runtime.failure import StepFailed, step
from pytest_pycontainer.runtime.messages import Failed
from pytest_pycontainer.runtime.rootfs import MountPoints, mount_root, open_mount_target
from pytest_pycontainer.runtime.spec import BindMount, FileMount, IdMap, Mount, RootMount, TmpfsMount, VolumeMount
from pytest_pycontainer.runtime.values import replace
from pytest_pycontainer.runtime.volumes import content_of, fill_volume

_FromSource = BindMount | VolumeMount | RootMount | FileMount
_SMALL = mount.NOSUID | mount.NODEV


def attach_mounts(
    root: int, mounts: Iterable[Mount], points: MountPoints, *, fill: bool = True, ids: IdMap | None = None
) -> None:
    """Makes ``mounts`` in the root open as ``root``, in a mount namespace of our own. Raises StepFailed.

    Empty volumes that want the image's content are filled with it, unless not to ``fill`` them. Where sources of
    ours are needed, they are mounted on ``points.source`` for a moment. ``ids`` say what this machine calls the
    container's users; of what is this machine's, nothing is mapped.
    """
    for one in mounts:
        if fill and isinstance(one, VolumeMount) and one.copies:
            # All of them before the first is mounted: what is copied is the image's.
            with step(f"fill the volume at {one.target}"):
                fill_volume(root, one)
    for one in mounts:
        with step(f"mount {one.target}"):
            if isinstance(one, TmpfsMount):
                options = one.options if ids is None else _of_machine(one.options, ids)
                _mount_tmpfs(root, replace(one, options=tuple(_owned(options, points.ids))))
            else:
                if isinstance(one, FileMount) and ids is not None:
                    uid, gid = ids.of_machine(one.uid, one.gid)
                    one = replace(one, uid=uid, gid=gid)
                with _open_source(one, points) as source:
                    _attach(root, source, one)


def _of_machine(options: Iterable[str], ids: IdMap) -> tuple[str, ...]:
    """A tmpfs's options, with its owner as this machine calls that."""
    first = {"uid": ids.uid, "gid": ids.gid}
    parted = (option.partition("=") for option in options)
    return tuple(
        f"{name}={first[name] + int(value)}" if name in first else name + sign + value for name, sign, value in parted
    )


def _owned(options: Iterable[str], ids: OwnIds) -> Iterator[str]:
    """A tmpfs's options, with its owner as whoever can have it here. Raises OSError."""
    for option in options:
        name, _, value = option.partition("=")
        if name == "uid":
            option = f"uid={ids.owner(int(value), 0)[0]}"
        elif name == "gid":
            option = f"gid={ids.owner(0, int(value))[1]}"
        yield option


def _mount_tmpfs(root: int, wanted: TmpfsMount) -> None:
    size = () if wanted.size is None else (f"size={wanted.size}",)
    options = ",".join((f"mode={wanted.mode:o}", *size, *wanted.options))
    flags = wanted.flags | (mount.RDONLY if wanted.read_only else 0)
    with _open_target(root, wanted.target, directory=True) as target:
        mount.mount("tmpfs", f"/proc/self/fd/{target}", "tmpfs", flags, options)


def _attach(root: int, source: int, wanted: _FromSource) -> None:
    receives = isinstance(wanted, BindMount) and wanted.receives
    tree = mount.clone_tree(source, _flags(wanted), mount.SLAVE if receives else mount.PRIVATE)
    try:
        with _open_target(root, wanted.target, directory=stat.S_ISDIR(os.fstat(source).st_mode)) as target:
            mount.attach(tree, target)
    finally:
        os.close(tree)


def _flags(wanted: _FromSource) -> int:
    if isinstance(wanted, FileMount):
        return _SMALL | mount.RDONLY | (0 if wanted.mode & 0o111 else mount.NOEXEC)
    return mount.RDONLY if wanted.read_only else 0


@contextmanager
def _open_target(root: int, path: str, *, directory: bool) -> Iterator[int]:
    target = open_mount_target(root, path, directory=directory)
    try:
        if mount.is_proc(target):
            # What of ours enters the container later counts on /proc being what it seems to be (CVE-2019-16884).
            raise OSError(errno.EPERM, "nothing may be mounted in /proc")
        yield target
    finally:
        os.close(target)


@contextmanager
def _open_source(wanted: _FromSource, points: MountPoints) -> Iterator[int]:
    if isinstance(wanted, BindMount | VolumeMount):
        path = wanted.source if isinstance(wanted, BindMount) else content_of(wanted.directory)
        source = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            yield source
        finally:
            os.close(source)
    elif isinstance(wanted, RootMount):
        with _mounted_root(wanted, points) as source:
            yield source
    else:
        with _file_in_memory(wanted, points) as source:
            yield source


@contextmanager
def _mounted_root(wanted: RootMount, points: MountPoints) -> Iterator[int]:
    other = mount_root(wanted.rootfs, points, points.source)
    try:
        try:
            source = mount.open_in_root(other, wanted.source, os.O_PATH)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StepFailed(Failed(SOURCE_STEP, error.errno or errno.ENOENT, wanted.source)) from error
        try:
            yield source
        finally:
            os.close(source)
    finally:
        os.close(other)
        mount.detach(points.source)


@contextmanager
def _file_in_memory(wanted: FileMount, points: MountPoints) -> Iterator[int]:
    point = points.source
    # A memfd can't be mounted: it lies on a file system of the kernel's own.
    mount.mount("pycontainer", point, "tmpfs", _SMALL, "mode=0700,nr_inodes=8")
    try:
        path = os.path.join(point, "file")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(wanted.content)
        os.chown(path, *points.ids.owner(wanted.uid, wanted.gid))
        os.chmod(path, wanted.mode)
        source = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            yield source
        finally:
            os.close(source)
    finally:
        mount.detach(point)
