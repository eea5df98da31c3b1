"""Pruning: making room, by what is no one's, by age, by use, and to a size."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.store.cache_mounts import CacheMounts
from pytest_pycontainer.store.catalog import Catalog
from pytest_pycontainer.store.downloads import Downloads
from pytest_pycontainer.store.removal import WAIT_SECONDS, removal
from pytest_pycontainer.store.sizes import LayerSizes, size_on_disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_pycontainer.store.catalog import ListedImage
    from pytest_pycontainer.store.removal import Removal, Users
    from pytest_pycontainer.store.store import Store


@dataclass(frozen=True, slots=True)
class Pruned:
    """The names that were taken away, the IDs of the images that are gone, and the bytes that the disk got back."""

    untagged: tuple[str, ...]
    deleted: tuple[str, ...]
    reclaimed_bytes: int


def prune(
    store: Store,
    *,
    users: Users,
    tagged: bool = False,
    older_than: float | None = None,
    unused_for: float | None = None,
    keep_bytes: int | None = None,
    timeout: float = WAIT_SECONDS,
) -> Pruned:
    """Removes images without a tag on which no other stands; with ``tagged`` all that no container uses.

    ``older_than`` and ``unused_for``, in seconds, spare what was stored, or last used, more recently. With
    ``keep_bytes`` the least recently used go first, until the layers in the store take no more than that. The steps
    below a removed image go with it unless another image has them too. An image on which one stands that stays is kept,
    without its names. Removed is also what belongs to no image: remains of killed processes, layers, records, locks;
    with ``tagged``, unless there is a ``keep_bytes``, also the caches of RUN's mounts, what ADD has downloaded, and
    the digests of files in build contexts.

    Raises StoreError, also if the store was still in use after ``timeout`` seconds.
    """
    sizes = _Sizes(store) if keep_bytes is not None else None
    now = time.time()
    with removal(store, users, timeout, sweeping=True) as removing:

        def may_go(image: ListedImage) -> bool:
            return (
                (tagged or not image.tags)
                and image.id not in removing.users
                and (older_than is None or now - image.stored_at > older_than)
                and (unused_for is None or now - image.used_at > unused_for)
            )

        candidates = sorted(filter(may_go, removing.catalog), key=lambda image: image.used_at)
        if sizes is None or keep_bytes is None:
            _remove(removing, candidates)
            longest = max(older_than or 0, unused_for or 0)
            if tagged:
                removing.caches += [path for path, used_at in _caches(store) if now - used_at >= longest]
        else:
            _remove_down_to(keep_bytes, removing, candidates, sizes)
    return Pruned(tuple(removing.untagged), tuple(removing.deleted), removing.reclaimed_bytes)


def _caches(store: Store) -> Iterator[tuple[Path, float]]:
    """What belongs to no image and can be had again, and when it was last used."""
    for cache in CacheMounts(store).listed():
        yield cache.directory, cache.used_at
    for download in Downloads(store).listed():
        yield from ((path, download.used_at) for path in download.files)
    for memory in store.cache.glob("*.files"):
        yield memory, memory.stat().st_mtime


def _remove(removing: Removal, candidates: list[ListedImage]) -> None:
    for image in candidates:
        if image.tags:  # the others have nothing to lose before what stands on them is gone
            removing.untag(image.names)
    while head := _next(removing.catalog, candidates):
        removing.untag(head.names)
        removing.delete_unneeded(head)


def _remove_down_to(keep_bytes: int, removing: Removal, candidates: list[ListedImage], sizes: _Sizes) -> None:
    left = sum(map(sizes.of, removing.needed_layers()))
    while left > keep_bytes and (head := _next(removing.catalog, candidates)):
        removing.untag(head.names)
        left -= sum(map(sizes.of, removing.delete_unneeded(head)))


def _next(catalog: Catalog, candidates: list[ListedImage]) -> ListedImage | None:
    """The first of ``candidates`` on which no other stands; taken from them, with those that are gone."""
    for image in candidates:
        if image.id in catalog and not catalog.carries(image):
            candidates.remove(image)
            return image
    return None


class _Sizes:
    """The sizes of layers, most of which are counted before others have to wait for us to be done with the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        counted = LayerSizes(store)
        layers = {diff_id for image in Catalog.read(store) for diff_id in image.config.diff_ids}
        self._known = {diff_id: counted.of(diff_id) for diff_id in layers}

    def of(self, diff_id: str) -> int:
        """Of one layer, in bytes; 0 if it is not here."""
        if diff_id not in self._known:
            layer = self._store.layers / digests.hexadecimal(diff_id)
            self._known[diff_id] = self._store.call(size_on_disk, layer) if layer.is_dir() else 0
        return self._known[diff_id]
