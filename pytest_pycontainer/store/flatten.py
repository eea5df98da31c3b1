"""Layers, one on the other, as one plain tar archive: what ``docker export`` writes.

Overlayfs's rules (Documentation/filesystems/overlayfs) are followed here, so that no mount and no running container is
needed. Of each name the topmost layer's is taken; a whiteout or a file ends the search, an opaque directory hides what
is below it. The entries of a directory follow it at once: first all that are not directories, sorted by name, then the
directories, each with its own; so the same layers are the same bytes.

The topmost layer may be a container's upper directory that is being written to. All is reached through descriptors, by
no link, so that whatever a container puts in another thing's place, nothing outside its root is read
(CVE-2018-15664); a file that becomes shorter meanwhile is filled up with zeros, and what is gone is left out.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import StoreError
from pytest_pycontainer.kernel.mount import open_in_root
from pytest_pycontainer.store.diff import is_opaque, is_whiteout
from pytest_pycontainer.store.entries import WHITEOUT
from pytest_pycontainer.store.tar_writer import TarWriter, read_attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)


def write_flat(layers: Sequence[Path], write: Callable[[bytes | memoryview], object]) -> None:
    """Hands the archive of ``layers``, topmost first, to ``write``; a piece is only good until that returns.

    Raises OSError if one can't be read, and what ``write`` raises.
    """
    with ExitStack() as opened:
        _Flattening(_open_all(layers, opened), write, are_layers=True).write_all()


def write_directory(directory: Path, write: Callable[[bytes | memoryview], object]) -> None:
    """The same of an ordinary directory, in which overlayfs's marks mean nothing.

    It stays on the directory's file system: what is mounted below is an empty directory, such as /proc in a chroot.
    Raises StoreError for a name that would mean a deletion.
    """
    with ExitStack() as opened:
        _Flattening(_open_all([directory], opened), write, are_layers=False).write_all()


def _open_all(layers: Sequence[Path], opened: ExitStack) -> list[int]:
    tops = []
    for layer in layers:
        tops.append(os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        opened.callback(os.close, tops[-1])
    return tops


class _Flattening:
    """``tops`` are the layers' directories; elsewhere a layer is its number among them."""

    def __init__(self, tops: list[int], write: Callable[[bytes | memoryview], object], *, are_layers: bool) -> None:
        self._tops = tops
        self._archive = TarWriter(write, in_use=True)
        self._are_layers = are_layers
        self._device = None if are_layers else os.fstat(tops[0]).st_dev

    def write_all(self) -> None:
        # A stack, not recursion: an image decides how deep its directories are.
        waiting = [(b"", list(range(len(self._tops))))]
        while waiting:
            path, layers = waiting.pop()
            waiting += reversed(self._write_directory(path, layers))
        self._archive.finish()

    def _write_directory(self, path: bytes, layers: list[int]) -> list[tuple[bytes, list[int]]]:
        """Writes a directory that ``layers`` have, and all in it but the directories, which are returned."""
        with ExitStack() as opened:
            directories = self._open_directories(path, layers, opened)
            if not directories:
                return []
            topmost = directories[0][1]
            status = os.fstat(topmost)
            if path:
                self._archive.add_directory(path, status, read_attributes(_magic(topmost), follow=True))
            if self._device not in (None, status.st_dev):
                return []
            names: dict[bytes, list[tuple[int, int]]] = {}
            for layer, directory in directories:
                for found in os.listdir(directory):  # noqa: PTH208  (Path knows no descriptors)
                    names.setdefault(os.fsencode(found), []).append((layer, directory))
            inner = []
            for name in sorted(names):
                whole = path + b"/" + name if path else name
                if name.startswith(WHITEOUT) and not self._are_layers:
                    detail = "in a layer, a name that begins with .wh. means a deletion"
                    raise StoreError("store", os.fsdecode(whole), detail)
                if having := self._write_other(whole, name, names[name]):
                    inner.append((whole, having))
            return inner

    def _open_directories(self, path: bytes, layers: list[int], opened: ExitStack) -> list[tuple[int, int]]:
        found = []
        for layer in layers:
            try:
                directory = open_in_root(self._tops[layer], os.fsdecode(path) or ".", _READ_DIRECTORY, follow=False)
            except OSError as problem:
                if problem.errno in _GONE:
                    continue
                raise
            opened.callback(os.close, directory)
            found.append((layer, directory))
            if self._are_layers and is_opaque(_magic(directory)):
                break
        return found

    def _write_other(self, path: bytes, name: bytes, places: list[tuple[int, int]]) -> list[int]:
        """Writes what is visible under a name, unless it is a directory: then the layers that have it are returned."""
        having: list[int] = []
        for layer, directory in places:
            try:
                found = os.open(name, _PATH, dir_fd=directory)
            except FileNotFoundError:
                continue
            try:
                status = os.fstat(found)
                if stat.S_ISDIR(status.st_mode):
                    having.append(layer)
                    continue
                if not having and not (self._are_layers and is_whiteout(status)):
                    self._archive.add(path, _magic(found), status, follow=True)
                break
            finally:
                os.close(found)
        return having


def _magic(descriptor: int) -> bytes:
    return b"/proc/self/fd/%d" % descriptor
