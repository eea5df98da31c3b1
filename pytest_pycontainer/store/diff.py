"""An overlay's upper directory as the tar archive that the OCI image spec calls a layer, and that archive's digest.

The archive has one form for one content, so that equal layers are equal bytes: entries sorted by name, each directory
before what is in it, in the form that ``tar_writer`` gives them. Deletions are ``.wh.`` files and opaque directories
hold a ``.wh..wh..opq`` (OCI image-spec, "Whiteouts").
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import StoreError
from pytest_pycontainer.store.tar_writer import TarWriter, read_attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_OPAQUE_ATTRIBUTES = ("trusted.overlay.opaque", "user.overlay.opaque")


def diff_id(upper: str | os.PathLike[str]) -> str:
    """The digest of the layer that ``upper`` holds (OCI image-spec, "Layer DiffID").

    Nothing may write to ``upper`` meanwhile. Raises StoreError for a file that changes while it is read, or that a
    layer can't hold; OSError if one can't be read.
    """
    archive = hashlib.sha256()
    write_layer(upper, archive.update)
    return f"sha256:{archive.hexdigest()}"


def write_layer(
    upper: str | os.PathLike[str],
    write: Callable[[bytes | memoryview], object],
    omitted: Collection[str] = (),
) -> None:
    """Hands the layer archive of ``upper`` to ``write``, piece by piece; a piece is only good until ``write`` returns.

    The paths ``omitted`` are left out; a directory only if all in it is. Raises as ``diff_id`` does.
    """
    _LayerWriter(os.fsencode(upper), write, frozenset(map(os.fsencode, omitted))).write_all()


def write_directory_layer(
    directory: str | os.PathLike[str],
    target: str,
    write: Callable[[bytes | memoryview], object],
    parents: Mapping[str, os.stat_result],
) -> None:
    """Hands the archive of a layer to ``write`` that has ``directory`` at ``target`` and hides what was there before.

    ``parents`` are the directories that lead to ``target``, outermost first. Raises as ``diff_id`` does.
    """
    _LayerWriter(os.fsencode(directory), write, frozenset(), os.fsencode(target) + b"/").write_all(
        {os.fsencode(name): status for name, status in parents.items()}
    )


class _LayerWriter:
    def __init__(
        self,
        top: bytes,
        write: Callable[[bytes | memoryview], object],
        omitted: frozenset[bytes],
        prefix: bytes = b"",
    ) -> None:
        self._top = top
        self._omitted = omitted
        self._prefix = prefix
        self._archive = TarWriter(write)

    def write_all(self, parents: Mapping[bytes, os.stat_result] | None = None) -> None:
        for name, status in (parents or {}).items():
            self._archive.add_directory(name, status, {})
        if self._prefix:
            status = os.lstat(self._top)
            self._archive.add_directory(self._prefix[:-1], status, read_attributes(self._top))
            self._archive.add_empty_file(self._prefix + _OPAQUE, status)
        # A stack, not recursion: an image decides how deep its directories are.
        waiting = _children(self._top)
        while waiting:
            entry = waiting.pop()
            if self._omitted and self._leaves_out(entry):
                continue
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                self._write_directory(entry, status)
                waiting += _children(entry.path)
            else:
                self._write_file(entry, status)
        self._archive.finish()

    def _leaves_out(self, entry: os.DirEntry[bytes]) -> bool:
        if entry.path[len(self._top) + 1 :] not in self._omitted:
            return False
        waiting = [entry]
        while waiting:
            one = waiting.pop()
            if one.path[len(self._top) + 1 :] not in self._omitted:
                return False
            if one.is_dir(follow_symlinks=False):
                waiting += _children(one.path)
        return True

    def _write_directory(self, entry: os.DirEntry[bytes], status: os.stat_result) -> None:
        name = self._name(entry.path)
        attributes = read_attributes(entry.path)
        self._archive.add_directory(name, status, attributes)
        if any(attributes.get(opaque) == b"y" for opaque in _OPAQUE_ATTRIBUTES):
            self._archive.add_empty_file(name + b"/" + _OPAQUE, status)

    def _write_file(self, entry: os.DirEntry[bytes], status: os.stat_result) -> None:
        name = self._name(entry.path)
        if is_whiteout(status):
            directory, slash, base = name.rpartition(b"/")
            self._archive.add_empty_file(directory + slash + _WHITEOUT + base, status)
        else:
            self._archive.add(name, entry.path, status)

    def _name(self, path: bytes) -> bytes:
        name = path[len(self._top) + 1 :]
        if name.rpartition(b"/")[2].startswith(_WHITEOUT):
            raise StoreError("store", os.fsdecode(path), "in a layer, a name that begins with .wh. means a deletion")
        return self._prefix + name


def is_whiteout(status: os.stat_result) -> bool:
    """Whether a file is overlayfs's mark for one that is not there any more."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(path: bytes) -> bool:
    """Whether a directory hides what lower layers have in its place. Raises OSError."""
    attributes = read_attributes(path, follow=True)
    return any(attributes.get(opaque) == b"y" for opaque in _OPAQUE_ATTRIBUTES)


def _children(directory: bytes) -> list[os.DirEntry[bytes]]:
    with os.scandir(directory) as entries:
        return sorted(entries, key=lambda entry: entry.name, reverse=True)
