"""What Docker's init layer adds to every image: the files by which programs know that they are in a container."""

from __future__ import annotations

import os
from contextlib import suppress

from pytest_pycontainer.runtime.rootfs import open_mount_target

_MARK = ".dockerenv"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def add_init_layer(root: int) -> None:
    """Makes /.dockerenv, and /etc/mtab as a link to /proc/mounts, where the image has none. Raises OSError.

    ``root`` is the writable root, with nothing of the caller's mounted in it yet: that is not ours to write to.
    """
    with suppress(FileExistsError):
        os.close(os.open(_MARK, _NEW, 0o755, dir_fd=root))
    etc = open_mount_target(root, "etc", directory=True)
    try:
        with suppress(FileExistsError):
            os.symlink("/proc/mounts", "mtab", dir_fd=etc)
    finally:
        os.close(etc)
