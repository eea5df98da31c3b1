"""``Image``: the handle on one image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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

    def _names(self) -> list[str]:
        if self._store is None:
            return []
        return [Reference.parse(name).familiar for name, owner in self._store.all_names().items() if owner == self.id]

    def __str__(self) -> str:
        return self.name
