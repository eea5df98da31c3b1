"""A volume's first content: what the image has in its place, as Docker has it.

A volume's directory holds ``content``, which containers see. While it is filled there is ``filling`` beside it, and
then ``filled``, from which all moves into ``content``: a filler that is killed leaves nothing that looks whole and is
not, since the next one begins again, or goes on.
"""

from __future__ import annotations

import errno
import fcntl
import os

from pytest_pycontainer.kernel import mount
from pytest_pycontainer.kernel.removal import remove_tree
from pytest_pycontainer.runtime.copying import copy_tree
from pytest_pycontainer.runtime.file_copy import copy_attributes
from pytest_pycontainer.runtime.spec import VolumeMount

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NO_DIRECTORY = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def content_of(volume: str) -> str:
    """The directory that containers see of the volume in the directory ``volume``."""
    return os.path.join(volume, "content")


def fill_volume(root: int, wanted: VolumeMount) -> None:
    """Copies what the root has at the volume's place into the volume, with owners and modes, if that is empty.

    Two containers that begin at once fill it once: a flock on the volume's directory lets one wait for the other, for
    as long as its engine waits for its start. The kernel frees it with its holder. Raises OSError.
    """
    volume = os.open(wanted.directory, _DIRECTORY)
    try:
        fcntl.flock(volume, fcntl.LOCK_EX)
        content, filled = content_of(wanted.directory), os.path.join(wanted.directory, "filled")
        if os.path.isdir(filled) or (not os.listdir(content) and _copy(root, wanted.target, wanted.directory, filled)):
            _move(filled, content)
    finally:
        os.close(volume)


def _copy(root: int, path: str, volume: str, filled: str) -> bool:
    """Copies a directory of the root; False if the root has none there of its own."""
    try:
        source = mount.open_in_root(root, path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno in _NO_DIRECTORY:
            return False
        raise
    try:
        status = os.fstat(source)
        if status.st_dev != os.fstat(root).st_dev:
            return False  # /proc, /dev and the like: the kernel's, not the image's
        unfinished = os.path.join(volume, "filling")
        remove_tree(unfinished)
        copy_tree(source, unfinished)
        os.chown(unfinished, status.st_uid, status.st_gid)
        os.chmod(unfinished, status.st_mode & 0o7777)
        os.rename(unfinished, filled)
    finally:
        os.close(source)
    return True


def _move(filled: str, content: str) -> None:
    # Not the directory itself: a running container may have the empty one.
    status = os.stat(filled)
    os.chown(content, status.st_uid, status.st_gid)
    os.chmod(content, status.st_mode & 0o7777)
    source, target = os.open(filled, _DIRECTORY), os.open(content, _DIRECTORY)
    try:
        copy_attributes(source, target)
        for name in os.listdir(source):
            os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
    finally:
        os.close(source)
        os.close(target)
    os.rmdir(filled)
