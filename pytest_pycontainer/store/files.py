"""Writing files and directories that are there whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import StoreError
from pytest_pycontainer.kernel import libc
from pytest_pycontainer.kernel.flock import ALONE, is_held, try_lock
from pytest_pycontainer.kernel.removal import remove_tree
from pytest_pycontainer.store.calling import Caller, directly

if TYPE_CHECKING:
    from collections.abc import Iterator

_ABANDONED_SECONDS = 3600.0
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


_ELSEWHERE = "use another place (for the store: --pycontainer-root, or PYCONTAINER_ROOT)"
_REMEDIES = {
    errno.ENOSPC: f"free some (in the store Engine.prune() does), or {_ELSEWHERE}",
    errno.EDQUOT: f"free some (in the store Engine.prune() does), or {_ELSEWHERE}",
    errno.EROFS: _ELSEWHERE,
    errno.EACCES: f"get the right to, or {_ELSEWHERE}",
    errno.EEXIST: f"what is there is no directory; take it away, or {_ELSEWHERE}",
}


def reason(problem: OSError) -> str:
    """What a StoreError tells of ``problem``: the system's words, and what can be done where that is known."""
    words = problem.strerror or str(problem)
    remedy = _REMEDIES.get(problem.errno or 0)
    return f"{words}; {remedy}" if remedy else words


@contextmanager
def storing(doing: str, path: Path) -> Iterator[None]:
    """Turns an OSError of its block into a StoreError that says what was being done, and to what."""
    try:
        yield
    except OSError as problem:
        raise StoreError(doing, str(path), reason(problem)) from problem


def write_whole(path: Path, content: bytes, temporary: Path) -> None:
    """Makes or replaces the file ``path`` so that no reader, and no crash, ever meets a part of it.

    ``temporary`` is a directory on the same file system. Raises StoreError.
    """
    with storing("write", path):
        descriptor, name = tempfile.mkstemp(dir=temporary)
        unfinished = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            unfinished.rename(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


def move_whole(directory: Path, target: Path) -> None:
    """Makes ``directory`` be ``target`` by a rename, so that it is there whole, and durable, or not at all.

    If somebody has made ``target`` already, ``directory`` is removed: under one name there is one content. Raises
    OSError; ``directory`` then stays.
    """
    if target.exists():
        remove_tree(directory)
        return
    _make_durable(directory)
    try:
        directory.rename(target)
    except OSError as problem:
        if problem.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        remove_tree(directory)  # another process has just stored the same


@contextmanager
def unfinished_directory(temporary: Path, call: Caller = directly) -> Iterator[Path]:
    """A new directory in ``temporary``, removed at the end if it is still there; with ``call``, whoever's it has.

    A flock on it says that its maker lives, however long it takes. Raises OSError.
    """
    path = Path(tempfile.mkdtemp(dir=temporary))
    descriptor = os.open(path, _DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield path
        finally:
            call(remove_tree, path)  # still locked: nobody takes it for abandoned and removes it at the same time
    finally:
        os.close(descriptor)


def sweep_abandoned(temporary: Path, call: Caller = directly) -> None:
    """Removes what writers that were killed have left in ``temporary``.

    A file is abandoned after an hour, which is far more than a write takes; a directory if nobody holds its lock then.
    """
    abandoned_before = time.time() - _ABANDONED_SECONDS
    for path in temporary.iterdir():
        try:
            status = path.lstat()
            if status.st_mtime >= abandoned_before:
                continue
            if stat.S_ISDIR(status.st_mode):
                _sweep_directory(path, call)
            else:
                path.unlink()
        except FileNotFoundError:
            continue  # its writer, or another sweeper, was quicker


def is_being_written(path: Path) -> bool:
    """Whether it is an ``unfinished_directory`` whose maker lives. Raises OSError."""
    if not path.is_dir() or path.is_symlink():
        return False
    return is_held(path)


def _sweep_directory(path: Path, call: Caller) -> None:
    descriptor = os.open(path, _DIRECTORY)
    try:
        if try_lock(descriptor, ALONE):  # else it is being written
            call(remove_tree, path)
    finally:
        os.close(descriptor)


def _make_durable(directory: Path) -> None:
    """Returns when all that was written to the directory's file system is on disk: one call for thousands of files."""
    descriptor = os.open(directory, _DIRECTORY)
    try:
        libc.call("syncfs", descriptor)
    finally:
        os.close(descriptor)
