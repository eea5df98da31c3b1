"""A plain root file system, in an archive or a directory, as a layer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pytest_pycontainer.errors import InvalidArchiveError, LayerInvalidError, LayerLimitError
from pytest_pycontainer.image.manifest import OCI_LAYER
from pytest_pycontainer.store.files import storing
from pytest_pycontainer.store.flatten import write_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_pycontainer.store.store import Store

_PIECE = 1 << 20


def import_layer(store: Store, source: str | os.PathLike[str] | BinaryIO) -> str:
    """Stores the root file system that ``source`` holds as a layer, and returns the diff ID.

    ``source`` is a directory, a tar archive's path, or a binary stream of one, plain or compressed. A directory is
    taken as ``write_directory`` does, and may change meanwhile; sockets are left out. Raises InvalidArchiveError with
    the path, LayerLimitError, CompressionUnavailableError, and StoreError.
    """
    if not isinstance(source, str | os.PathLike):
        return _import_stream(store, source, "")
    if not os.fspath(source):
        raise InvalidArchiveError("no file or directory is named")  # and not the one that we happen to be in
    path = Path(source)
    if path.is_dir():
        return _import_directory(store, path)
    try:
        file = path.open("rb")
    except OSError as problem:
        raise InvalidArchiveError(problem.strerror or str(problem), str(path)) from problem
    with file:
        return _import_stream(store, file, str(path))


def _import_directory(store: Store, directory: Path) -> str:
    if store.root.resolve().is_relative_to(directory.resolve()):
        raise InvalidArchiveError(
            "the store of images lies in it; this machine's own root is the image 'host'", str(directory)
        )
    with store.layer_writer(OCI_LAYER) as layer, storing("read", directory):
        write_directory(directory, lambda piece: layer.write(bytes(piece)))
        return layer.commit()


def _import_stream(store: Store, file: BinaryIO, path: str) -> str:
    try:
        with store.layer_writer(OCI_LAYER) as layer:
            size = 0
            for piece in _pieces(file, path):
                size += len(piece)
                layer.write(piece)
            if not size:
                raise InvalidArchiveError("it is empty", path)
            return layer.commit()
    except LayerLimitError:
        raise
    except LayerInvalidError as problem:
        raise InvalidArchiveError(problem.detail, path) from problem


def _pieces(file: BinaryIO, path: str) -> Iterator[bytes]:
    while True:
        try:
            piece = file.read(_PIECE)
        except OSError as problem:
            raise InvalidArchiveError(problem.strerror or str(problem), path) from problem
        if not piece:
            return
        yield piece
