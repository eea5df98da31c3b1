"""A layer on its way in: decompressed, hashed and checked while it streams, extracted aside, then shown by a rename.

With threads, whoever feeds it waits for the network alone, a second thread decompresses and hashes, a third makes
files: all of them calls that let go of Python's lock. That makes one layer faster where cores are idle otherwise, and
many at once slower where there are none.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import ExitStack
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import DigestMismatchError, LayerInvalidError, LayerLimitError
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.store.compression import Sniffer
from pytest_pycontainer.store.extraction import Extraction
from pytest_pycontainer.store.files import move_whole, storing, unfinished_directory
from pytest_pycontainer.store.limits import LayerLimits
from pytest_pycontainer.store.recipe import Recorder
from pytest_pycontainer.store.tar import TarReader
from pytest_pycontainer.store.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

_LAYER_TYPE = re.compile(
    r"application/vnd\.(?:oci\.image\.layer\.(?:nondistributable\.)?v1\.tar(?:\+gzip|\+zstd)?"
    r"|docker\.image\.rootfs\.(?:diff|foreign\.diff)\.tar(?:\.gzip|\.zstd)?)"
)

_WAITING = 4
"""Pieces, of a quarter of a megabyte as a rule, that may wait for each of the threads: this bounds the memory."""


def check_media_type(media_type: str) -> None:
    """Raises LayerInvalidError if it is no layer's."""
    if not _LAYER_TYPE.fullmatch(media_type):
        raise LayerInvalidError(
            "", f"its media type is {media_type!r:.200}; wanted a tar archive's, or gzip's or zstd's"
        )


class LayerWriter:
    """Writes one layer; a context manager, for one thread, made by ``Store.layer_writer``.

    Everything is written in a directory of its own, aside; leaving without ``commit`` removes it, and after SIGKILL the
    next store that is opened does. Any number of writers may store one layer at once: the kernel lets one of them win.
    Raises LayerInvalidError for what can't or must not be extracted, CompressionUnavailableError, and StoreError where
    the disk is full or refuses otherwise, perhaps not before a later call than the one that brought the bytes, and then
    at every one: what was refused is not forgotten although the digest may be right. ``threads`` says whether it may
    have two of its own; they have ended when it is left.
    """

    def __init__(
        self,
        layers: Path,
        recipes: Path,
        temporary: Path,
        media_type: str,
        limits: LayerLimits | None = None,
        *,
        threads: bool = True,
    ) -> None:
        check_media_type(media_type)
        self._layers = layers
        self._recipes = recipes
        self._temporary = temporary
        self._limits = limits or LayerLimits()
        self._waiting = _WAITING if threads else 0
        self._owned = ExitStack()
        self._decompressor = Sniffer()
        self._digest = hashlib.sha256()
        self._taken = 0
        self._given = 0

    def __enter__(self) -> LayerWriter:
        with storing("make a directory in", self._temporary), ExitStack() as owned:
            self._directory = owned.enter_context(unfinished_directory(self._temporary))
            self._extraction = owned.enter_context(Extraction(self._directory, self._limits.entries))
            self._recorder = owned.enter_context(Recorder(self._temporary, self._directory, self._extraction))
            self._extraction.replacing = self._recorder.replacing
            self._reader = TarReader(self._recorder, self._recorder.structure)
            self._decompressing = owned.enter_context(Worker("decompress", self._decompress, self._waiting))
            # Left before the one that feeds it, which may be in the middle of a piece that stands for gigabytes.
            self._extracting = owned.enter_context(Worker("extract", self._reader.feed, self._waiting))
            self._owned = owned.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with storing("remove", self._temporary):
            self._owned.close()

    def write(self, data: bytes) -> None:
        """Takes the next bytes of the layer, as they come over the wire."""
        self._extracting.check()
        self._decompressing.put(data)

    def commit(self, expected_diff_id: str | None = None) -> str:
        """Stores the layer, all of which has been written, under its diff ID, which is returned; and its recipe.

        Success means that it is stored and durable, not that this call stored it. Raises DigestMismatchError if the
        layer is another one than is expected, and LayerInvalidError if it is not complete; nothing is stored then.
        """
        self._decompressing.finish()
        self._pass_on(self._decompressor.finish())
        self._extracting.finish()
        self._reader.finish()
        diff_id = f"sha256:{self._digest.hexdigest()}"
        if expected_diff_id not in (None, diff_id):
            raise DigestMismatchError("layer", diff_id, expected_diff_id)
        if diff_id == digests.EMPTY_LAYER:
            return diff_id
        self._extraction.finish()
        name = digests.hexadecimal(diff_id)
        with storing("store the layer", self._directory):
            # Before the layer: who finds it finds its recipe, which is on disk when the layer is.
            self._recorder.commit(self._recipes / name)
            move_whole(self._directory, self._layers / name)
        return diff_id

    def _decompress(self, data: bytes) -> None:
        self._taken += len(data)
        self._pass_on(self._decompressor.pieces(data))

    def _pass_on(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self._given += len(piece)
            self._check_size()
            self._digest.update(piece)
            self._extracting.put(piece)

    def _check_size(self) -> None:
        limits = self._limits
        if self._given > limits.size:
            raise LayerLimitError(f"it is larger than {limits.size} bytes", "layer_size")
        if self._given > limits.free and self._given > limits.ratio * self._taken:
            raise LayerLimitError(f"it is more than {limits.ratio} times as large as it is compressed", "layer_ratio")
