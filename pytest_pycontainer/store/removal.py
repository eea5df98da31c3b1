"""Taking images out of a store: what is to go is decided first, then goes, names first, layers last.

All of that happens with the store held alone (see ``use``), so that nobody counts on what goes. An image is there when
its config is: a crash between leaves names without an image, which is none, or layers that no image needs, which the
next pull or build of them uses and ``prune`` clears. Layers are moved aside by renames, which takes no time, and
deleted when the store is free again; what a crash leaves of that is swept as any writer's remains.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image.reference import Reference
from pytest_pycontainer.store.catalog import Catalog
from pytest_pycontainer.store.files import is_being_written, storing, unfinished_directory
from pytest_pycontainer.store.sizes import size_on_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from pytest_pycontainer.store.catalog import ListedImage
    from pytest_pycontainer.store.store import Store

    Users = Callable[[], Mapping[str, tuple[str, ...]]]
    """Gives the IDs of the images that containers use now, and the names of those containers."""

WAIT_SECONDS = 60.0


@dataclass
class Removal:
    """What is to go: the caller of ``removal`` says it in the block, and it goes at the block's end.

    ``users`` holds the IDs of images in use, which stay, and the names of their containers. ``untagged`` and
    ``deleted`` collect names (as docker shows them) and IDs; ``caches`` are directories and files of builds. With
    ``sweeping`` goes also what belongs to no image; ``reclaimed_bytes`` is known then, after the block.
    """

    store: Store
    catalog: Catalog
    users: Mapping[str, tuple[str, ...]]
    sweeping: bool = False
    untagged: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    caches: list[Path] = field(default_factory=list)
    reclaimed_bytes: int = 0
    _names: set[str] = field(default_factory=set)
    _needed: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        for image in self.catalog:
            self._needed.update(set(image.config.diff_ids))

    def untag(self, names: tuple[str, ...]) -> None:
        """Takes (canonical) names from whatever image has them."""
        self.untagged += [Reference.parse(name).familiar for name in names if name not in self._names]
        self._names.update(names)

    def delete_unneeded(self, image: ListedImage) -> set[str]:
        """Deletes an image that has lost its names, with the steps below it that are nobody else's.

        What a container uses, or another image stands on, stays. Returns the layers that no image needs any more.
        """
        before = self.needed_layers()
        for one in (image, *self.catalog.below(image)):
            if not (self.catalog.carries(one) or one.id in self.users or set(one.names) - self._names):
                self.catalog.take_out(one)
                self.deleted.append(one.id)
                self._needed.subtract(set(one.config.diff_ids))
        return before - self.needed_layers()

    def needed_layers(self) -> set[str]:
        """The layers of the images that stay."""
        return {diff_id for diff_id, images in self._needed.items() if images}

    def carry_out(self, aside: Path) -> None:
        """Removes all but the layers and remains, which are in the directory ``aside`` then. Raises OSError."""
        for name in self._names:
            self.store.name_file(Reference.parse(name)).unlink(missing_ok=True)
        self._drop_records()
        for image_id in self.deleted:
            self.store.config_file(image_id).unlink(missing_ok=True)
            (self.store.used / digests.hexadecimal(image_id)).unlink(missing_ok=True)
        for cache in self.caches:
            self._move(cache, aside / f"cache-{cache.name}")
        if self.sweeping:
            self._sweep(aside)
        needed = self.needed_layers()
        self._drop_layers(aside, [diff_id for diff_id in self._needed if diff_id not in needed])

    def _move(self, path: Path, target: Path) -> None:
        self.store.call(os.rename, path, target)  # of a directory of another user's its owner alone has the right to

    def _drop_records(self) -> None:
        """Removes what the cache has of images that are gone."""
        for path in self.store.cache.glob("*.json"):
            if "." not in path.stem:  # the others are notes about layers
                image_id = _recorded_image(path)
                if image_id in self.deleted or (self.sweeping and image_id not in self.catalog):
                    path.unlink(missing_ok=True)

    def _drop_layers(self, aside: Path, diff_ids: list[str]) -> None:
        for diff_id in diff_ids:
            name = digests.hexadecimal(diff_id)
            with suppress(FileNotFoundError):
                self._move(self.store.layers / name, aside / name)
            (self.store.recipes / name).unlink(missing_ok=True)
            for note in self.store.cache.glob(f"{name}.*.json"):
                note.unlink(missing_ok=True)

    def _sweep(self, aside: Path) -> None:
        """Removes what belongs to no image, or to nobody: whoever writes or holds something here has it in use."""
        store, catalog = self.store, self.catalog
        for path in store.names.iterdir():
            record = store.name_record(path)
            if record is None or record[1] not in catalog:
                path.unlink()
                self.untagged += [Reference.parse(record[0]).familiar] if record else []
        staying = {*self.users, *(image.id for image in catalog)}
        for path in (*store.blobs.iterdir(), *store.used.iterdir()):
            if f"sha256:{path.name}" not in staying:
                path.unlink()
        for path in store.locks.iterdir():
            path.unlink()
        numbers = count()
        for path in store.temporary.iterdir():
            with suppress(FileNotFoundError):  # another removal, which has let go of the store, is deleting its own
                if path != aside and not is_being_written(path):
                    self._move(path, aside / f"abandoned-{next(numbers)}")
        # If a container runs on an image that is damaged, nobody knows which layers it needs.
        if all(image_id in catalog or image_id in catalog.bare for image_id in self.users):
            self._sweep_layers(aside)

    def _sweep_layers(self, aside: Path) -> None:
        here = {path.name for path in self.store.layers.iterdir()}
        known = {path.name for path in self.store.recipes.iterdir()}
        known |= {path.name.partition(".")[0] for path in self.store.cache.glob("*.*.json")}
        needed = {digests.hexadecimal(diff_id) for diff_id in self.needed_layers()}
        self._drop_layers(aside, [f"sha256:{name}" for name in sorted((here - needed) | (known - here))])


@contextmanager
def removal(store: Store, users: Users, timeout: float, *, sweeping: bool = False) -> Iterator[Removal]:
    """Has the store alone, and removes at the block's end what the block has told the Removal; nothing if it raises.

    Raises StoreError if the store was still in use after ``timeout`` seconds, or does not let itself be changed.
    """
    with storing("remove images from", store.root), ExitStack() as owned:
        with store.in_use():  # or another removal could take the directory for abandoned before it is locked
            aside = owned.enter_context(unfinished_directory(store.temporary, store.call))
        with store.alone(timeout):
            removing = Removal(store, Catalog.read(store), users(), sweeping)
            yield removing
            removing.carry_out(aside)
        if sweeping:
            removing.reclaimed_bytes = sum(store.call(_size, path) for path in aside.iterdir())


def _recorded_image(path: Path) -> str:
    try:
        image_id = json.loads(path.read_bytes())["image"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return image_id if isinstance(image_id, str) else ""


def _size(path: Path) -> int:
    return size_on_disk(path) if path.is_dir() and not path.is_symlink() else os.lstat(path).st_size
