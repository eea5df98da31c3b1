"""``Image``: the handle on one image."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pytest_pycontainer.image.reference import Reference

if TYPE_CHECKING:
    from pytest_pycontainer.image.config import ImageConfig
    from pytest_pycontainer.store.store import Store

_SHORT = 12


@dataclass(frozen=True, slots=True)
class Image:
    """An image in the store.

    ``id`` is the digest of its config, ``name`` what it was asked for by. ``tags``, ``digests`` and ``size`` are looked
    up in the store when they are asked for, and raise StoreError.
    """

    id: str
    name: str
    config: ImageConfig
    _store: Store | None = field(default=None, repr=False, compare=False)

    @property
    def short_id(self) -> str:
        """The first twelve digits of the id."""
        return self.id.removeprefix("sha256:")[:_SHORT]

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that it has now, by any process, as docker shows them: ``redis:7``."""
        return tuple(name for name in self._names() if "@" not in name)

    @property
    def digests(self) -> tuple[str, ...]:
        """What registries know it by: ``redis@sha256:…``, the digest of its manifest or of an index that names it."""
        return tuple(name for name in self._names() if "@" in name)

    @property
    def size(self) -> int:
        """Bytes that its layers take on disk, those that it shares with other images among them.

        Counted at the first time, and remembered. Raises StoreError if a layer is gone.
        """
        from pytest_pycontainer.store.sizes import LayerSizes

        return 0 if self._store is None else LayerSizes(self._store).of_image(self.config)

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Bytes that each of its layers takes on disk, the lowest first; counted, and raises, as ``size``."""
        from pytest_pycontainer.store.sizes import LayerSizes

        return () if self._store is None else tuple(map(LayerSizes(self._store).of, self.config.diff_ids))

    @property
    def canonical_name(self) -> str:
        """Its name with registry and tag or digest (``docker.io/library/redis:7``), or its id."""
        return self.id if self.name == self.id else str(Reference.parse(self.name))

    @property
    def layers(self) -> tuple[Path, ...]:
        """The directories of its layers on this machine, topmost first, as overlayfs takes them; only to be read.

        Raises StoreError if one is gone.
        """
        return () if self._store is None else self._store.layer_directories(self.config)

    def inspect(self) -> dict[str, Any]:
        """All that is known of it, in the fields that ``docker inspect`` has for that. Raises StoreError."""
        from pytest_pycontainer.engine.inspection import inspect_image

        return inspect_image(self)

    def export(self, file: str | os.PathLike[str] | BinaryIO) -> None:
        """Writes its root file system as one plain tar archive, which ``Engine.import_image`` and tar read.

        Raises ImageNotPortableError for the host image and what stands on it, and StoreError.
        """
        from pytest_pycontainer.engine.exporting import export_root
        from pytest_pycontainer.store.calling import directly

        with self._store.in_use() if self._store is not None else nullcontext():
            export_root(self, None, file, directly if self._store is None else self._store.call)

    def _names(self) -> list[str]:
        if self._store is None:
            return []
        return [Reference.parse(name).familiar for name, owner in self._store.all_names().items() if owner == self.id]

    def __str__(self) -> str:
        return self.name
