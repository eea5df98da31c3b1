"""Files of a root out to a tar archive, and in from one, as docker's archive interface has them.

As in ``file_transfer``, a container may change its root meanwhile: every path is resolved inside it.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from pytest_pycontainer.engine.file_transfer import (
    make_room,
    open_thing,
    opened,
    parent_of,
    replace_file,
    write_all,
)
from pytest_pycontainer.kernel.mount import open_in_root
from pytest_pycontainer.kernel.own_ids import OwnIds
from pytest_pycontainer.runtime.spec import IdMap
from pytest_pycontainer.store.calling import Write

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH = os.O_PATH | os.O_NOFOLLOW
_PIECE = 1 << 20


def write_archive(path: str, ids: IdMap | None, write: Write, root: int) -> None:
    """Hands the thing at ``path``, with all below it under its own name, to ``write``. Raises OSError.

    A file that becomes shorter meanwhile is filled up with zeros; what is gone is left out. With
    ``ids`` the files' owners have the numbers that this machine knows these users by.
    """
    name = posixpath.basename(path.rstrip("/")) or "."
    with (
        opened(open_thing(root, path)) as thing,
        tarfile.open(fileobj=cast("BinaryIO", _Writing(write)), mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        status = os.fstat(thing)
        if stat.S_ISDIR(status.st_mode):
            with opened(os.open(f"/proc/self/fd/{thing}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as top:
                tar.addfile(_member(name, status, ids))
                _write_tree(tar, name, top, ids)
        else:
            directory, base = posixpath.split(path)
            with opened(open_in_root(root, directory or "/", os.O_PATH | os.O_DIRECTORY)) as parent:
                _write_entry(tar, name, base, parent, ids)


def _write_tree(tar: tarfile.TarFile, prefix: str, top: int, ids: IdMap | None) -> None:
    waiting = [""]
    while waiting:
        path = waiting.pop()
        with (
            suppress(FileNotFoundError),
            opened(open_in_root(top, path or ".", _READ_DIRECTORY, follow=False)) as directory,
        ):
            for name in sorted(os.listdir(directory)):  # noqa: PTH208  (Path knows no descriptors)
                whole = posixpath.join(path, name)
                with suppress(FileNotFoundError):
                    if _write_entry(tar, f"{prefix}/{whole}", name, directory, ids):
                        waiting.append(whole)


def _write_entry(tar: tarfile.TarFile, shown: str, name: str, parent: int, ids: IdMap | None) -> bool:
    """Writes one entry; whether it is a directory."""
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if stat.S_ISREG(status.st_mode):
        with opened(os.open(name, _READ, dir_fd=parent)) as source:
            status = os.fstat(source)
            if stat.S_ISREG(status.st_mode):
                tar.addfile(_member(shown, status, ids), _Padded(source))
    elif stat.S_ISLNK(status.st_mode):
        member = _member(shown, status, ids)
        member.type, member.linkname = tarfile.SYMTYPE, os.readlink(name, dir_fd=parent)
        tar.addfile(member)
    elif stat.S_ISDIR(status.st_mode):
        tar.addfile(_member(shown, status, ids))
        return True
    return False


def _member(name: str, status: os.stat_result, ids: IdMap | None) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mode = stat.S_IMODE(status.st_mode)
    owner = status.st_uid, status.st_gid
    member.uid, member.gid = owner if ids is None else ids.of_container(*owner)
    member.mtime = status.st_mtime_ns // 1_000_000_000
    if stat.S_ISDIR(status.st_mode):
        member.type = tarfile.DIRTYPE
    elif stat.S_ISREG(status.st_mode):
        member.size = status.st_size
    return member


class _Writing:
    """A file of which nothing is asked but to take what is written."""

    def __init__(self, write: Write) -> None:
        self.write = write


class _Padded:
    """Reads a file as long as its header says, whatever has become of it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, size: int = 0, /) -> bytes:
        data = bytearray()
        while len(data) < size and (piece := os.read(self._descriptor, size - len(data))):
            data += piece
        return bytes(data) + bytes(size - len(data))


def extract_archive(path: str, ids: IdMap | None, file: BinaryIO, root: int) -> None:
    """Extracts an archive, plain or compressed, into the directory ``path``, with the owners and modes that it says.

    What is in the way of a file makes room; directories that are there stay as they are. Devices and FIFOs are left
    out. Raises OSError, ValueError for a name that leads out of the directory, and tarfile.TarError.
    """
    with opened(open_in_root(root, path, os.O_PATH | os.O_DIRECTORY)):
        pass
    own = OwnIds.read()
    made: list[tuple[str, tarfile.TarInfo]] = []
    with tarfile.open(fileobj=file, mode="r|*") as tar:
        for member in tar:
            if ids is not None:
                member.uid, member.gid = ids.of_machine(member.uid, member.gid)
            member.uid, member.gid = own.owner(member.uid, member.gid)
            name = posixpath.normpath(member.name.lstrip("/"))
            if name == ".." or name.startswith("../"):
                raise ValueError(f"its entry {member.name!r} leads out of the directory")
            if name == ".":
                continue
            whole = posixpath.join(path, name)
            _make_parents(root, path, posixpath.dirname(name))
            with parent_of(root, whole) if member.isdir() else _place(root, whole) as (parent, base):
                if member.isdir():
                    with suppress(FileExistsError):
                        os.mkdir(base, 0o700, dir_fd=parent)
                        made.append((whole, member))
                elif member.issym():
                    make_room(parent, base)
                    os.symlink(member.linkname, base, dir_fd=parent)
                    os.chown(base, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
                elif member.islnk():
                    _link(root, posixpath.join(path, member.linkname.lstrip("/")), parent, base)
                elif member.isfile():
                    with opened(replace_file(parent, base)) as copy:
                        source = tar.extractfile(member)
                        while source is not None and (piece := source.read(_PIECE)):
                            write_all(copy, piece)
                        _finish(copy, member)
    for whole, member in reversed(made):
        with suppress(FileNotFoundError), opened(open_in_root(root, whole, os.O_PATH | os.O_DIRECTORY)) as directory:
            _finish(directory, member)


@contextmanager
def _place(root: int, path: str) -> Iterator[tuple[int, str]]:
    """The directory and the name of an entry that takes the place of a link, and does not go where that leads."""
    directory, name = posixpath.split(path)
    with opened(open_in_root(root, directory, os.O_PATH | os.O_DIRECTORY)) as parent:
        yield parent, name


def _make_parents(root: int, top: str, directories: str) -> None:
    """Makes the directories that an archive does not name."""
    path = top
    for part in directories.split("/") if directories else ():
        path = posixpath.join(path, part)
        try:
            with opened(open_in_root(root, path, os.O_PATH | os.O_DIRECTORY)):
                continue
        except FileNotFoundError:
            with parent_of(root, path) as (parent, base):
                os.mkdir(base, 0o755, dir_fd=parent)


def _link(root: int, target: str, parent: int, name: str) -> None:
    with opened(open_in_root(root, posixpath.dirname(target), os.O_PATH | os.O_DIRECTORY)) as directory:
        base = posixpath.basename(target)
        if base in ("", ".", ".."):
            raise OSError(errno.EPERM, "a hard link to a directory")
        make_room(parent, name)
        os.link(base, name, src_dir_fd=directory, dst_dir_fd=parent, follow_symlinks=False)


def _finish(copy: int, member: tarfile.TarInfo) -> None:
    place = f"/proc/self/fd/{copy}"
    os.chown(place, member.uid, member.gid)
    Path(place).chmod(member.mode & 0o7777)
    os.utime(place, (member.mtime, member.mtime))
