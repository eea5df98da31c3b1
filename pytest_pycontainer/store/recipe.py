"""What a layer's archive has beside the contents of its files, kept so that the very same archive can be made again.

Tar has many dialects, and an image's ID covers every byte of its layers' archives. So while a layer streams in, a
*recipe* is kept: its headers, padding and trailer as they are, and for each content the file that it went to. (Docker
does alike, with a format of its own.) The recipe is compressed; without a fitting one, a layer is archived anew, as a
built one always is.

A recipe is a zlib stream of records: ``L`` some bytes; ``C`` a part of a file's content, under the name that the
archive gives it; ``R`` a content that was there until a later entry took the file's place, with the number of ``C``
records before that.
"""

from __future__ import annotations

import importlib
import os
import stat
import struct
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from pytest_pycontainer.errors import LayerInvalidError
from pytest_pycontainer.kernel.mount import open_in_root
from pytest_pycontainer.store.entries import WHITEOUT, parts_of
from pytest_pycontainer.store.files import storing, unfinished_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from pytest_pycontainer.store.tar import Entry, Receiver

_RECORD = struct.Struct("<cQQH")
_BYTES, _CONTENT, _REPLACED = b"L", b"C", b"R"
_LEVEL = 1
"""The fastest: headers are so much alike that they shrink to a twentieth even so."""
_PIECE = 1 << 16
_READ = 1 << 20
_REPLACED_AT_MOST = 16 << 20
_RECORD_BYTES_AT_MOST = 32 << 20
_READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Recorder:
    """Writes a layer's recipe while it is read; a context manager, for one thread at a time.

    It stands between a TarReader and the extraction, which it tells everything: TarReader hands it all that is no
    content through ``structure``, and the extraction has to call ``replacing`` before it removes something.
    Raises StoreError, and what the extraction raises.
    """

    def __init__(self, temporary: Path, top: Path, extraction: Receiver) -> None:
        self._temporary = temporary
        self._top = top
        self._extraction = extraction
        self._owned = ExitStack()
        self._compressor = _compressor()
        self._bytes = bytearray()
        self._records = bytearray()
        self._contents = 0
        self._replaced = 0
        self._is_given_up = False
        # Straight on to the extraction: a layer has many small files.
        self.content = extraction.content
        self.end = extraction.end

    def __enter__(self) -> Recorder:
        with storing("make a file in", self._temporary), ExitStack() as owned:
            self._path = owned.enter_context(unfinished_directory(self._temporary)) / "recipe"
            self._file: BinaryIO = owned.enter_context(self._path.open("wb"))
            self._owned = owned.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with storing("remove", self._temporary):
            self._owned.close()

    def structure(self, piece: memoryview) -> None:
        """Takes bytes of the archive that are not a content."""
        self._bytes += piece
        if len(self._bytes) >= _PIECE:
            self._flush_bytes()

    def replacing(self, path: bytes) -> None:
        """Keeps what is at ``path``, a file or a directory with all below it, as it is about to be removed."""
        if self._is_given_up:
            return
        with storing("read", self._top):
            for file, content in _contents(self._top, path):
                if content is None or self._replaced + len(content) > _REPLACED_AT_MOST:
                    # Who makes the layer anew needs them in memory.
                    self._is_given_up = True
                    return
                self._replaced += len(content)
                self._record(_REPLACED, len(content), self._contents, file, content)

    def commit(self, target: Path) -> None:
        """Makes the recipe be ``target``, whole; durable when its file system is next synchronised.

        Does nothing if there can be no recipe. Raises OSError.
        """
        if self._is_given_up:
            return
        self._flush_bytes()
        self._file.write(self._compressor.compress(self._records) + self._compressor.flush())
        self._file.flush()
        self._path.rename(target)

    # tar.Receiver

    def begin(self, entry: Entry) -> None:
        self._extraction.begin(entry)
        self.content = self._extraction.content
        if not entry.size:
            return
        if WHITEOUT in entry.name and parts_of(entry.name, entry.name)[-1].startswith(WHITEOUT):
            self.content = self._keep_content  # a deletion's goes nowhere
            return
        path = entry.name
        for offset, length in entry.segments or ((0, entry.size),):
            self._record(_CONTENT, length, offset, path)
            path = b""  # as before
            self._contents += 1

    def _keep_content(self, piece: memoryview) -> None:
        self.structure(piece)
        self._extraction.content(piece)

    def _flush_bytes(self) -> None:
        kept, self._bytes = self._bytes, bytearray()
        if kept:
            self._write(_RECORD.pack(_BYTES, len(kept), 0, 0) + kept)

    def _record(self, kind: bytes, length: int, offset: int, path: bytes, content: bytes = b"") -> None:
        self._flush_bytes()
        self._write(_RECORD.pack(kind, length, offset, len(path)) + path + content)

    def _write(self, record: bytes) -> None:
        if self._is_given_up:
            return
        self._records += record
        if len(self._records) >= _PIECE:
            with storing("write", self._path):
                self._file.write(self._compressor.compress(self._records))
            self._records.clear()


def _compressor() -> Any:
    try:
        library = importlib.import_module("isal.isal_zlib")  # five times as fast, and as good here
    except ImportError:
        library = zlib
    return library.compressobj(_LEVEL)


def _contents(top: Path, path: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    """Every regular file at and below ``path``, and its content; None for one that is too long to keep."""
    root = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        waiting = [path]
        while waiting:
            path = waiting.pop()
            found = open_in_root(root, os.fsdecode(path), os.O_PATH | os.O_NOFOLLOW, follow=False)
            try:
                status = os.fstat(found)
                if stat.S_ISDIR(status.st_mode):
                    waiting += [path + b"/" + name for name in os.listdir(b"/proc/self/fd/%d" % found)]  # noqa: PTH208
                elif stat.S_ISREG(status.st_mode):
                    is_small = status.st_size <= _REPLACED_AT_MOST
                    yield path, Path(f"/proc/self/fd/{found}").read_bytes() if is_small else None
            finally:
                os.close(found)
    finally:
        os.close(root)


# Making the archive again


class _Unusable(Exception):  # noqa: N818  (no error: the archive is then made in another way)
    """A recipe that is damaged, or does not fit its layer."""


class _Step(NamedTuple):
    kind: bytes
    length: int
    offset: int
    path: bytes
    content: bytes


def rebuild(recipe: Path, layer: Path, write: Callable[[bytes | memoryview], object]) -> bool:
    """Hands the archive that ``layer`` was extracted from to ``write``; a piece is only good until that returns.

    False if there is no recipe, or one that does not fit: some of the archive may have been written then. What comes
    out is the archive if it has the layer's digest. Raises StoreError if the layer can't be read, and what ``write``
    raises.
    """
    try:
        with storing("read the layer", layer):
            root = os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _rebuild(recipe, root, write)
        finally:
            os.close(root)
    except (_Unusable, LayerInvalidError):  # the latter for a name that is none
        return False
    return True


def _rebuild(recipe: Path, root: int, write: Callable[[bytes | memoryview], object]) -> None:
    replaced: dict[bytes, list[_Step]] = {}
    for step in _steps(recipe):
        if step.kind == _REPLACED:
            replaced.setdefault(step.path, []).append(step)
    buffer = memoryview(bytearray(_READ))
    path, number = b"", 0
    for step in _steps(recipe):
        if step.kind == _BYTES:
            write(step.content)
        elif step.kind == _CONTENT:
            path = b"/".join(parts_of(step.path, step.path)) if step.path else path
            kept = next((old for old in replaced.get(path, ()) if old.offset > number), None)
            if kept is None:
                _write_content(root, path, step, buffer, write)
            else:
                write(kept.content[step.offset : step.offset + step.length])
            number += 1


def _write_content(
    root: int, path: bytes, step: _Step, buffer: memoryview, write: Callable[[bytes | memoryview], object]
) -> None:
    try:
        file = open_in_root(root, os.fsdecode(path), os.O_RDONLY | os.O_NONBLOCK, follow=False)
    except OSError as problem:
        raise _Unusable from problem
    try:
        position, left = step.offset, step.length
        while left:
            try:
                got = os.preadv(file, [buffer[: min(left, _READ)]], position)
            except OSError as problem:
                raise _Unusable from problem
            if not got:
                raise _Unusable
            write(buffer[:got])
            position += got
            left -= got
    finally:
        os.close(file)


def _steps(recipe: Path) -> Iterator[_Step]:
    try:
        with recipe.open("rb") as file:
            stream = _Inflated(file)
            while header := stream.read(_RECORD.size, or_end=True):
                kind, length, offset, path_length = _RECORD.unpack(header)
                path = stream.read(path_length)
                content = b"" if kind == _CONTENT else stream.read(length)
                yield _Step(kind, length, offset, path, content)
    except (OSError, zlib.error) as problem:
        raise _Unusable from problem


class _Inflated:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._stream = zlib.decompressobj()
        self._piece = b""
        self._used = 0

    def read(self, size: int, *, or_end: bool = False) -> bytes:
        """Exactly ``size`` bytes; with ``or_end``, none at the stream's end."""
        if size > _RECORD_BYTES_AT_MOST:
            raise _Unusable
        parts, wanted = [], size
        while wanted:
            if self._used == len(self._piece):
                self._piece, self._used = self._inflate(), 0
                if not self._piece:
                    break
            part = self._piece[self._used : self._used + wanted]
            self._used += len(part)
            wanted -= len(part)
            parts.append(part)
        if wanted and not (or_end and wanted == size and self._stream.eof):
            raise _Unusable
        return b"".join(parts)

    def _inflate(self) -> bytes:
        while not self._stream.eof:
            data = self._stream.unconsumed_tail or self._file.read(_PIECE)
            if found := self._stream.decompress(data, _READ):
                return found
            if not data:
                break
        return b""
