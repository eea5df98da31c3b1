"""Copying between two roots, of which a container may own one and change it meanwhile.

A root is a descriptor of a directory. Every path is resolved by the kernel inside its root, and what is found is used
through descriptors: whatever a container puts in another thing's place, nothing outside its root is read or written
(CVE-2018-15664). Below what was named no link is followed. Sockets and devices are left out.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pytest_pycontainer.kernel.mount import open_in_root
from pytest_pycontainer.runtime.file_copy import copy_content

_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LINKS_AT_MOST = 40
_PIECE = 1 << 20

Owner = tuple[int, int]


@contextmanager
def opened(descriptor: int) -> Iterator[int]:
    """Closes it at the end of the block."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def parent_of(root: int, path: str) -> Iterator[tuple[int, str]]:
    """The directory that the thing at ``path`` is in or would be in, and its name there, which is no link's.

    Raises OSError.
    """
    for _ in range(_LINKS_AT_MOST):
        directory, name = posixpath.split(path.rstrip("/"))
        if name in ("", ".", ".."):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        with opened(open_in_root(root, directory or "/", _PATH_DIRECTORY)) as parent:
            try:
                path = posixpath.join(directory, os.readlink(name, dir_fd=parent))
            except OSError as problem:
                if problem.errno not in (errno.EINVAL, errno.ENOENT):
                    raise
                yield parent, name
                return
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def open_thing(root: int, path: str) -> int:
    """A descriptor (O_PATH) of what is at ``path``: a link itself, unless the path ends with ``/`` or ``/.``."""
    directory, name = posixpath.split(path)
    if name in ("", ".", ".."):
        return open_in_root(root, path, os.O_PATH)
    with opened(open_in_root(root, directory or "/", _PATH_DIRECTORY)) as parent:
        return os.open(name, _PATH, dir_fd=parent)


def is_directory(root: int, path: str) -> bool | None:
    """Whether a directory is at ``path``, behind links too; None if nothing is there."""
    try:
        with opened(open_in_root(root, path, os.O_PATH)) as found:
            return stat.S_ISDIR(os.fstat(found).st_mode)
    except FileNotFoundError:
        return None


def replace_file(parent: int, name: str) -> int:
    """A descriptor to write the file ``name`` with, new in its place; a mounted one is written as it is."""
    if _is_mounted(parent, name):
        return os.open(name, _OLD, dir_fd=parent)
    make_room(parent, name)
    return os.open(name, _NEW, 0o600, dir_fd=parent)


def make_room(parent: int, name: str) -> None:
    """Removes what is no directory. Raises OSError, also for what is mounted."""
    if _is_mounted(parent, name):
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), name)
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=parent)


def _is_mounted(parent: int, name: str) -> bool:
    # The kernel keeps only those from removing a mount's place who see the mount in their own namespace.
    try:
        found = os.open(name, _PATH, dir_fd=parent)
    except FileNotFoundError:
        return False
    with opened(found):
        return _mount_number(found) != _mount_number(parent)


def _mount_number(descriptor: int) -> str:
    lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    return next(line for line in lines if line.startswith("mnt_id:"))


def read_all(source: int) -> Iterator[bytes]:
    """What is left to read, in pieces."""
    while piece := os.read(source, _PIECE):
        yield piece


@dataclass(slots=True)
class Copier:
    """Copies between two roots by docker cp's rules; what is copied belongs to ``owner``.

    Set-uid and set-gid bits are kept with ``keeps_set_ids`` only. Directories that are there already stay as they are.
    """

    source_root: int
    target_root: int
    owner: Owner
    keeps_set_ids: bool
    _linked: dict[tuple[int, int], str] = field(default_factory=dict)

    def copy(self, source: str, target: str) -> None:
        """Copies the thing at ``source`` to ``target``, or into it if that is a directory.

        A source that ends with ``/.`` stands for what is in the directory. Links in ``target`` are followed, as it was
        named by whoever asked; one that lies in it under the source's name makes room. Raises OSError.
        """
        with opened(open_thing(self.source_root, source)) as thing:
            status = os.fstat(thing)
            with self._target(source, target, stat.S_ISDIR(status.st_mode)) as (parent, name):
                if stat.S_ISDIR(status.st_mode):
                    with opened(os.open(f"/proc/self/fd/{thing}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as top:
                        self._copy_directory(top, status, parent, name)
                    return
            directory, source_name = posixpath.split(source)
            with (
                opened(open_in_root(self.source_root, directory or "/", _PATH_DIRECTORY)) as source_parent,
                self._target(source, target, False) as (parent, name),
            ):
                self._copy_entry(source_name, source_parent, name, parent)

    @contextmanager
    def _target(self, source: str, target: str, copies_directory: bool) -> Iterator[tuple[int, str]]:
        """The directory that the copy is made in, and its name there: ``.`` for the directory itself."""
        name = posixpath.basename(source.rstrip("/"))
        there = is_directory(self.target_root, target)
        if there:
            with opened(open_in_root(self.target_root, target, _PATH_DIRECTORY)) as parent:
                yield parent, "." if name in ("", ".", "..") else name
        elif target.endswith("/") and not (copies_directory and there is None):
            raise OSError(errno.ENOENT if there is None else errno.ENOTDIR, "there is no such directory")
        else:
            with parent_of(self.target_root, target) as (parent, name):
                yield parent, name

    def _copy_directory(self, top: int, status: os.stat_result, parent: int, name: str) -> None:
        made = name != "." and _make_directory(name, parent)
        with opened(open_in_root(parent, name, _PATH_DIRECTORY, follow=False)) as target_top:
            self._copy_tree(top, target_top)
            if made:
                self._finish(target_top, status)

    def _copy_tree(self, top: int, target_top: int) -> None:
        made: list[tuple[str, os.stat_result]] = []
        waiting = ["."]
        while waiting:
            path = waiting.pop()
            with (
                opened(open_in_root(top, path, _READ_DIRECTORY, follow=False)) as source,
                opened(open_in_root(target_top, path, _PATH_DIRECTORY, follow=False)) as target,
            ):
                for name in sorted(os.listdir(source)):  # noqa: PTH208  (Path knows no descriptors)
                    whole = posixpath.join(path, name)
                    with suppress(FileNotFoundError):  # it went meanwhile
                        status = os.stat(name, dir_fd=source, follow_symlinks=False)
                        if stat.S_ISDIR(status.st_mode):
                            waiting.append(whole)
                            if _make_directory(name, target):
                                made.append((whole, status))
                        elif not self._link(status, name, target_top, target):
                            self._copy_entry(name, source, name, target)
                            if status.st_nlink > 1:
                                self._linked[status.st_dev, status.st_ino] = whole
        for path, status in reversed(made):
            with opened(open_in_root(target_top, path, _PATH_DIRECTORY, follow=False)) as directory:
                self._finish(directory, status)

    def _link(self, status: os.stat_result, name: str, target_top: int, target: int) -> bool:
        """Makes a further name of a file that has been copied; False if it has not."""
        first = self._linked.get((status.st_dev, status.st_ino))
        if first is None:
            return False
        with opened(open_in_root(target_top, first, _PATH, follow=False)) as copied:
            make_room(target, name)
            os.link(f"/proc/self/fd/{copied}", name, dst_dir_fd=target, follow_symlinks=True)
        return True

    def _copy_entry(self, name: str, source: int, target_name: str, target: int) -> None:
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            text = os.readlink(name, dir_fd=source)
            make_room(target, target_name)
            os.symlink(text, target_name, dir_fd=target)
            os.chown(target_name, *self.owner, dir_fd=target, follow_symlinks=False)
        elif stat.S_ISREG(status.st_mode):
            with opened(os.open(name, _READ, dir_fd=source)) as file:
                status = os.fstat(file)
                if stat.S_ISREG(status.st_mode):
                    with opened(replace_file(target, target_name)) as copy:
                        _copy_content(file, copy, status.st_size)
                        self._finish(copy, status)

    def _finish(self, copy: int, status: os.stat_result) -> None:
        place = f"/proc/self/fd/{copy}"
        os.chown(place, *self.owner)
        Path(place).chmod(status.st_mode & (0o7777 if self.keeps_set_ids else 0o1777))
        os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))


def _copy_content(source: int, target: int, size: int) -> None:
    if size:
        copy_content(source, target, size)
    else:  # a file of /proc has content, and no size
        for piece in read_all(source):
            write_all(target, piece)


def write_all(target: int, data: bytes) -> None:
    """Writes all of it."""
    left = memoryview(data)
    while left:
        left = left[os.write(target, left) :]


def _make_directory(name: str, parent: int) -> bool:
    """Makes a directory; False if one is there."""
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise OSError(errno.ENOTDIR, f"{name} is there and is no directory") from None
        return False
    return True
