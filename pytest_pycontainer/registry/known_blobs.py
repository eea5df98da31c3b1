"""Which blob a layer travels as, and in which repositories it has been seen.

A layer can be compressed in many ways, so its diff ID does not tell the digest of the blob. What was seen spares
compressing it again, and is where a blob is mounted from. Hints only: each is checked before it is relied on, and of
two that write at the same time one may be lost.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pytest_pycontainer.image.manifest import Descriptor
from pytest_pycontainer.store.files import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_pycontainer.store.store import Store

_PLACES_AT_MOST: Final = 20


@dataclass(frozen=True, slots=True)
class KnownBlob:
    """``blob`` has been in the repository ``name`` (``localhost:5000/a``)."""

    name: str
    blob: Descriptor


class KnownBlobs:
    """The blobs of each layer, latest first; kept in the store, where they go with the layer."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of(self, diff_id: str) -> list[KnownBlob]:
        """Where the layer has been seen, latest first."""
        try:
            found = json.loads(self._file(diff_id).read_bytes())
            return [
                KnownBlob(place["name"], Descriptor(place["mediaType"], place["digest"], place["size"]))
                for place in found
            ]
        except (OSError, ValueError, KeyError, TypeError):
            return []  # it is worked out again

    def add(self, diff_id: str, name: str, blob: Descriptor) -> None:
        """Notes that the layer is ``blob`` in the repository ``name``. Raises StoreError."""
        new = KnownBlob(name, Descriptor(blob.media_type, blob.digest, blob.size))
        before = self.of(diff_id)
        if new in before:
            return
        places = [new, *(place for place in before if place.name != name)][:_PLACES_AT_MOST]
        record = [{"name": place.name, **place.blob.as_object()} for place in places]
        write_whole(self._file(diff_id), json.dumps(record).encode(), self._store.temporary)

    def _file(self, diff_id: str) -> Path:
        return self._store.layer_note(diff_id, "blobs")
