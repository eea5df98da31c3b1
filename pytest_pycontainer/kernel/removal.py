"""Removing a directory through descriptors, however deep it is."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from itertools import count

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST)


def remove_tree(path: str | os.PathLike[str]) -> None:
    """Removes a directory and all below it, following no link (CVE-2024-23652). What is gone already is no error.

    A directory that is not empty is first moved up to the top, so that neither descriptors nor the stack run out,
    whatever depth somebody has dug to. Raises OSError.
    """
    try:
        top = os.open(path, _DIRECTORY)
    except FileNotFoundError:
        return
    try:
        numbers = count()
        waiting = _empty(top, top, numbers)
        while waiting:
            name = waiting.pop()
            directory = _open(name, top)
            try:
                waiting += _empty(directory, top, numbers)
            finally:
                os.close(directory)
            os.rmdir(name, dir_fd=top)
        with suppress(FileNotFoundError):
            os.rmdir(path)
    finally:
        os.close(top)


def _open(name: str, parent: int) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except PermissionError:
        # An ordinary user is kept out of a directory of their own without permissions, such as overlayfs's work.
        os.chmod(name, stat.S_IRWXU, dir_fd=parent)
        return os.open(name, _DIRECTORY, dir_fd=parent)


def _empty(directory: int, top: int, numbers: count[int]) -> list[str]:
    """Removes the files and empty directories of one directory; returns the others, which are in ``top`` then."""
    left = []
    with os.scandir(directory) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        if not is_directory:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)
            continue
        try:
            os.rmdir(name, dir_fd=directory)
        except OSError as error:
            if error.errno not in _OCCUPIED:
                raise
            left.append(name if directory == top else _move_up(name, directory, top, numbers))
    return left


def _move_up(name: str, directory: int, top: int, numbers: count[int]) -> str:
    while True:
        new = f"removed-{next(numbers)}"
        try:
            os.rename(name, new, src_dir_fd=directory, dst_dir_fd=top)
        except OSError as error:
            if error.errno not in (*_OCCUPIED, errno.ENOTDIR):
                raise
        else:
            return new
