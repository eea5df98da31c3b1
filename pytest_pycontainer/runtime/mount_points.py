"""What lies in a container's upper directory although the container did not write it: the places for mounts.

An image may lack /proc, or the target of a mount; init makes them, and overlayfs copies the directories that they are
in. No layer is to have them. So init notes what is in the upper directory before the command runs, and who makes a
layer of it afterwards removes what is still as it was then.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from pytest_pycontainer.kernel import mount

_FILE_NAME = "mount-points"  # of each the inode, the time of its last change and the name, with a zero byte behind it
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


def record_mount_points(upper: str) -> None:
    """Notes beside ``upper`` what is in it now; nothing if it is empty, as it mostly is. Raises OSError."""
    found = [b"%d %d %b\0" % (inode, changed, os.fsencode(name)) for name, inode, changed in _walk(upper, "")]
    if found:
        with open(_file(upper), "wb") as file:
            file.write(b"".join(found))


def unchanged_mount_points(upper: str | os.PathLike[str]) -> frozenset[str]:
    """The paths in ``upper`` that ``record_mount_points`` has noted and nobody has changed since. Raises OSError."""
    path = os.fspath(upper)
    recorded = _read(path)
    top = os.open(path, _DIRECTORY | os.O_CLOEXEC)
    try:
        return frozenset(name for name, *identity in recorded if _identity(top, name) == tuple(identity))
    finally:
        os.close(top)


def remove_mount_points(upper: str | os.PathLike[str]) -> None:
    """Removes what ``record_mount_points`` has noted and nobody has changed since; directories if they are empty.

    Nothing may be mounted on ``upper`` any more. No link in it is followed. Raises OSError.
    """
    path = os.fspath(upper)
    recorded = _read(path)
    if not recorded:
        return
    top = os.open(path, _DIRECTORY | os.O_CLOEXEC)
    try:
        # All are looked at before the first goes: that changes its directory.
        unchanged = [name for name, *identity in recorded if _identity(top, name) == tuple(identity)]
        for name in reversed(unchanged):
            _remove(top, name)
    finally:
        os.close(top)
    os.unlink(_file(path))


def _read(upper: str) -> list[tuple[str, int, int]]:
    try:
        with open(_file(upper), "rb") as file:
            lines = file.read().split(b"\0")[:-1]
    except FileNotFoundError:
        return []
    fields = (line.split(b" ", 2) for line in lines)
    return [(os.fsdecode(name), int(inode), int(changed)) for inode, changed, name in fields]


def _file(upper: str) -> str:
    return os.path.join(os.path.dirname(upper.rstrip("/")), _FILE_NAME)


def _walk(top: str, directory: str) -> Iterator[tuple[str, int, int]]:
    with os.scandir(os.path.join(top, directory)) as found:
        entries = list(found)
    for entry in entries:
        name = os.path.join(directory, entry.name)
        status = entry.stat(follow_symlinks=False)
        yield name, status.st_ino, status.st_ctime_ns
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(top, name)


def _identity(top: int, name: str) -> tuple[int, int] | None:
    try:
        descriptor = mount.open_in_root(top, name, os.O_PATH | os.O_NOFOLLOW, follow=False)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return status.st_ino, status.st_ctime_ns


def _remove(top: int, path: str) -> None:
    directory, name = os.path.split(path)
    parent = mount.open_in_root(top, directory or ".", _DIRECTORY, follow=False)
    try:
        before = os.fstat(parent)
        if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            try:
                os.rmdir(name, dir_fd=parent)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                return
        else:
            os.unlink(name, dir_fd=parent)
        os.utime(parent, ns=(before.st_atime_ns, before.st_mtime_ns))
    finally:
        os.close(parent)
