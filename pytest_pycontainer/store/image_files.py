"""The files that images are kept in, beside the store: those in a tar archive, or those in a directory."""

from __future__ import annotations

import os
import posixpath
import tarfile
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from pytest_pycontainer.errors import DigestMismatchError, InvalidArchiveError, LayerInvalidError
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image import manifest as manifests
from pytest_pycontainer.kernel.mount import open_in_root
from pytest_pycontainer.store.compression import MAGIC_BYTES, Sniffer, is_compressed
from pytest_pycontainer.store.files import storing
from pytest_pycontainer.store.layout import blob_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_pycontainer.image.manifest import Descriptor

_PIECE = 1 << 20
_LINKS_AT_MOST = 8


class ImageFiles(Protocol):
    """Files, read by their names in any order."""

    def __contains__(self, name: str) -> bool: ...

    def pieces(self, name: str) -> Iterator[bytes]:
        """A file's content. Raises InvalidArchiveError if there is no such file."""
        ...


def read_json(files: ImageFiles, name: str) -> bytes:
    """A JSON file's content, which is small. Raises InvalidArchiveError if there is none, or if it is too long."""
    content = bytearray()
    for piece in files.pieces(name):
        content += piece
        if len(content) > manifests.MANIFEST_BYTES_AT_MOST:
            most = manifests.MANIFEST_BYTES_AT_MOST
            raise InvalidArchiveError(f"its {name} is longer than {most} bytes; wanted at most that")
    return bytes(content)


def read_blob(files: ImageFiles, described: Descriptor) -> bytes:
    """A small blob's content. Raises DigestMismatchError, and as ``read_json`` does."""
    content = read_json(files, blob_name(described.digest))
    if digests.of(content) != described.digest:
        raise DigestMismatchError("blob of an archive", digests.of(content), described.digest)
    return content


@contextmanager
def files_of_archive(file: BinaryIO, temporary: Path) -> Iterator[ImageFiles]:
    """The files in an archive, plain or compressed; ``file`` need not be seekable.

    Raises InvalidArchiveError if it is none, CompressionUnavailableError, and StoreError if it can't be decompressed in
    ``temporary``; so may reading it.
    """
    with ExitStack() as owned:
        if not file.seekable() or is_compressed(_first_bytes(file)):
            # In a file that has no name and so goes with us.
            plain = owned.enter_context(tempfile.TemporaryFile(dir=temporary))
            _decompress(file, plain, temporary)
            file = plain
        try:
            yield _Archive(owned.enter_context(tarfile.open(fileobj=file, mode="r:")))
        except (tarfile.TarError, EOFError) as problem:
            raise InvalidArchiveError(f"it is no tar archive, or damaged: {problem}") from problem


@contextmanager
def files_of_directory(path: Path) -> Iterator[ImageFiles]:
    """The files in a directory and below it; links lead nowhere else. Raises InvalidArchiveError if it is none."""
    try:
        top = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as problem:
        raise InvalidArchiveError(problem.strerror or str(problem), str(path)) from problem
    try:
        yield _Directory(top)
    finally:
        os.close(top)


class _Archive:
    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._members = {posixpath.normpath(member.name): member for member in archive}

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def pieces(self, name: str) -> Iterator[bytes]:
        file = self._archive.extractfile(self._member(name))
        assert file is not None
        while piece := file.read(_PIECE):
            yield piece

    def _member(self, name: str) -> tarfile.TarInfo:
        # Docker used to write a layer that several images share once, and links to it.
        place = posixpath.normpath(name)
        for _ in range(_LINKS_AT_MOST):
            member = self._members.get(place)
            if member is None or not (member.issym() or member.islnk()):
                break
            start = posixpath.dirname(place) if member.issym() else ""
            place = posixpath.normpath(posixpath.join(start, member.linkname))
        if member is None or not member.isfile():
            raise _missing(name)
        return member


class _Directory:
    def __init__(self, top: int) -> None:
        self._top = top

    def __contains__(self, name: str) -> bool:
        try:
            os.close(open_in_root(self._top, name, os.O_PATH))
        except OSError:
            return False
        return True

    def pieces(self, name: str) -> Iterator[bytes]:
        try:
            file = open(open_in_root(self._top, name, os.O_RDONLY | os.O_NONBLOCK), "rb")  # noqa: SIM115, PTH123
        except OSError:
            raise _missing(name) from None
        with file, storing("read", Path(name)):
            while piece := file.read(_PIECE):
                yield piece


def _missing(name: str) -> InvalidArchiveError:
    return InvalidArchiveError(f"it names {name!r:.200}, which it does not hold")


def _first_bytes(file: BinaryIO) -> bytes:
    position = file.tell()
    first = file.read(MAGIC_BYTES)
    file.seek(position)
    return first


def _decompress(file: BinaryIO, plain: BinaryIO, temporary: Path) -> None:
    sniffer = Sniffer()
    with storing("decompress an archive into", temporary):
        try:
            while data := file.read(_PIECE):
                plain.writelines(sniffer.pieces(data))
            plain.writelines(sniffer.finish())
        except LayerInvalidError as problem:
            raise InvalidArchiveError(problem.reason) from None
        plain.seek(0)
