"""A tar archive that is no layer, unpacked: what ADD takes, and build contexts."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from pytest_pycontainer.errors import LayerInvalidError
from pytest_pycontainer.store.compression import Sniffer
from pytest_pycontainer.store.extraction import Extraction
from pytest_pycontainer.store.limits import LayerLimits
from pytest_pycontainer.store.tar import BLOCK, TarReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_pycontainer.store.tar import Entry

_PIECE = 1 << 18


def is_archive(file: BinaryIO) -> bool:
    """Whether it begins with an archive's first header, compressed or not; it is at its start again afterwards.

    Raises OSError, and CompressionUnavailableError where a library is missing.
    """
    beginning = b""
    try:
        for piece in _decompressed(file):
            beginning += piece
            if len(beginning) >= BLOCK:
                break
        TarReader(_Nobody()).feed(beginning[:BLOCK])
    except LayerInvalidError:
        return False
    finally:
        file.seek(0)
    return len(beginning) >= BLOCK and any(beginning[:BLOCK])


def unpack(directory: Path, file: BinaryIO) -> None:
    """Unpacks a tar archive, plain or compressed, from where ``file`` stands, into an empty directory.

    Owners, modes, times and attributes are as it says; nothing gets outside ``directory``. Raises LayerInvalidError,
    which names the entry that is wrong, CompressionUnavailableError, StoreError where the disk refuses, and OSError
    where the file does.
    """
    with Extraction(directory, LayerLimits().entries, deletions=False) as extraction:
        reader = TarReader(extraction)
        for piece in _decompressed(file):
            reader.feed(piece)
        reader.finish()
        extraction.finish()


def _decompressed(file: BinaryIO) -> Iterator[bytes]:
    sniffer = Sniffer()
    while data := file.read(_PIECE):
        yield from sniffer.pieces(data)
    yield from sniffer.finish()


class _Nobody:
    """Is told what an archive holds, for the sake of whether it is one."""

    def begin(self, entry: Entry) -> None:
        pass

    def content(self, piece: memoryview) -> None:
        pass

    def end(self) -> None:
        pass
