"""A layer on its way in: decompressed, hashed and checked while it streams, extracted aside, then shown by a rename."""

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

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

_LAYER_TYPE = re.compile(
    r"application/vnd\.(?:oci\.image\.layer\.(?:nondistributable\.)?v1\.tar(?:\+gzip|\+zstd)?"
    r"|docker\.image\.rootfs\.(?:diff|foreign\.diff)\.tar(?:\.gzip|\.zstd)?)"
)


class LayerWriter:
    """Writes one layer; a context manager, for one thread, made by ``Store.layer_writer``.

    Everything is written in a directory of its own, aside; leaving without ``commit`` removes it, and after SIGKILL the
    next store that is opened does. Any number of writers may store one layer at once: the kernel lets one of them win.
    Raises LayerInvalidError for what can't or must not be extracted, CompressionUnavailableError, and StoreError where
    the disk is full or refuses otherwise; the writer is of no use then.
    """

    def __init__(
        self, layers: Path, recipes: Path, temporary: Path, media_type: str, limits: LayerLimits | None = None
    ) -> None:
        if not _LAYER_TYPE.fullmatch(media_type):
            raise LayerInvalidError(
                "", f"its media type is {media_type!r:.200}; wanted a tar archive's, or gzip's or zstd's"
            )
        self._layers = layers
        self._recipes = recipes
        self._temporary = temporary
        self._limits = limits or LayerLimits()
        self._owned = ExitStack()
        self._decompressor = Sniffer()
        self._digest = hashlib.sha256()
        self._is_sound = True
        self._taken = 0
        self._given = 0

    def __enter__(self) -> LayerWriter:
        with storing("make a directory in", self._temporary), ExitStack() as owned:
            self._directory = owned.enter_context(unfinished_directory(self._temporary))
            self._extraction = owned.enter_context(Extraction(self._directory, self._limits.entries))
            self._recorder = owned.enter_context(Recorder(self._temporary, self._directory, self._extraction))
            self._extraction.replacing = self._recorder.replacing
            self._reader = TarReader(self._recorder, self._recorder.structure)
            self._owned = owned.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with storing("remove", self._temporary):
            self._owned.close()

    def write(self, data: bytes) -> None:
        """Takes the next bytes of the layer, as they come over the wire."""
        self._taken += len(data)
        self._extract(self._decompressor.pieces(data))

    def commit(self, expected_diff_id: str | None = None) -> str:
        """Stores the layer, all of which has been written, under its diff ID, which is returned; and its recipe.

        Success means that it is stored and durable, not that this call stored it. Raises DigestMismatchError if the
        layer is another one than is expected, and LayerInvalidError if it is not complete; nothing is stored then.
        """
        self._extract(self._decompressor.finish())
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

    def _extract(self, pieces: Iterator[bytes]) -> None:
        # The digest may be right although an entry was refused: then nothing must be stored.
        if not self._is_sound:
            raise LayerInvalidError("", "an earlier part of it could not be extracted")
        self._is_sound = False
        for piece in pieces:
            self._given += len(piece)
            self._check_size()
            self._digest.update(piece)
            self._reader.feed(piece)
        self._is_sound = True

    def _check_size(self) -> None:
        limits = self._limits
        if self._given > limits.size:
            raise LayerLimitError(f"it is larger than {limits.size} bytes", "layer_size")
        if self._given > limits.free and self._given > limits.ratio * self._taken:
            raise LayerLimitError(f"it is more than {limits.ratio} times as large as it is compressed", "layer_ratio")
