"""The images of a store at one moment, and which of them stands on which.

An image stands on another if it begins with the same layers and the same history, and goes on: so it was made of that
one by further steps. The images between, which no one named, are *intermediate*: a build's cached steps.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import InvalidImageConfigError
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image.config import ImageConfig
from pytest_pycontainer.image.platform import Platform
from pytest_pycontainer.store.files import storing
from pytest_pycontainer.store.host import host_config

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator
    from pathlib import Path

    from pytest_pycontainer.store.store import Store


@dataclass(frozen=True, slots=True)
class ListedImage:
    """An image with all that the store knows of it.

    ``names`` are canonical; ``stored_at`` and ``used_at`` are in seconds since the epoch, the second not earlier than
    the first.
    """

    id: str
    config: ImageConfig
    names: tuple[str, ...]
    stored_at: float
    used_at: float

    @property
    def tags(self) -> tuple[str, ...]:
        """Its names that have a tag."""
        return tuple(name for name in self.names if "@" not in name)


class Catalog:
    """Images, and which stands on which. What is taken out of it stands on nothing any more; nothing on disk changes.

    ``bare`` holds the IDs of what ``host`` and ``scratch`` stood for at some time, if nobody named that: no images to
    anybody, and made again whenever they are asked for.
    """

    def __init__(self, images: Iterable[ListedImage], bare: frozenset[str] = frozenset()) -> None:
        self.bare = bare
        self._paths: dict[str, tuple[int, ...]] = {}
        self._images: dict[str, ListedImage] = {}
        self._at_or_above: Counter[int] = Counter()
        self._at: dict[int, list[str]] = {}
        places: dict[Hashable, int] = {}
        for image in images:
            path = _path(image.config, places)
            self._images[image.id] = image
            self._paths[image.id] = path
            self._at_or_above.update(path)
            self._at.setdefault(path[-1], []).append(image.id)

    @classmethod
    def read(cls, store: Store) -> Catalog:
        """The images that are in ``store`` now. A damaged config is left out: it is no image. Raises StoreError."""
        names: dict[str, list[str]] = {}
        for name, image_id in store.all_names().items():
            names.setdefault(image_id, []).append(name)
        with storing("read", store.blobs):
            files = sorted(store.blobs.iterdir())
        found = [image for file in files if (image := _read(store, file, names)) is not None]
        bare = frozenset(image.id for image in found if not image.names and _is_bare(image.config))
        return cls((image for image in found if image.id not in bare), bare)

    def __iter__(self) -> Iterator[ListedImage]:
        return iter(tuple(self._images.values()))

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._images

    def __getitem__(self, image_id: str) -> ListedImage:
        return self._images[image_id]

    def take_out(self, image: ListedImage) -> None:
        """Leaves ``image`` out from now on."""
        path = self._paths.pop(image.id)
        del self._images[image.id]
        self._at_or_above.subtract(path)
        self._at[path[-1]].remove(image.id)

    def carries(self, image: ListedImage) -> bool:
        """Whether another image stands on ``image``."""
        place = self._paths[image.id][-1]
        return self._at_or_above[place] > len(self._at[place])

    def is_intermediate(self, image: ListedImage) -> bool:
        """Whether nobody named it and another stands on it: a step of that one."""
        return not image.names and self.carries(image)

    def standing_on(self, image: ListedImage) -> list[ListedImage]:
        """The images that stand on ``image``."""
        place = self._paths[image.id][-1]
        return [other for other in self if place in self._paths[other.id][:-1]]

    def below(self, image: ListedImage) -> list[ListedImage]:
        """The images on which ``image`` stands, nearest first."""
        places = reversed(self._paths[image.id][:-1])
        return [self._images[image_id] for place in places for image_id in self._at.get(place, ())]


def _path(config: ImageConfig, places: dict[Hashable, int]) -> tuple[int, ...]:
    """An image's way through the tree of all histories: the number of the place after each of its steps."""

    def place(*step: Hashable) -> int:
        return places.setdefault(step, len(places))

    steps = config.history
    unexplained = len(config.diff_ids) - sum(not step.empty_layer for step in steps)
    if unexplained < 0:
        return (place(config.diff_ids, steps),)  # it makes no sense, and so stands on nothing
    # Layers that the history does not tell of come first, as in an import that others built on.
    layers = iter(config.diff_ids[unexplained:])
    platform = Platform(config.os, config.architecture, config.variant)
    path = [place(config.host, platform, config.diff_ids[:unexplained])]
    for step in steps:
        path.append(place(path[-1], step, None if step.empty_layer else next(layers)))
    return tuple(path)


def _read(store: Store, file: Path, names: dict[str, list[str]]) -> ListedImage | None:
    image_id = f"sha256:{file.name}"
    with storing("read", file):
        try:
            content, stored_at = file.read_bytes(), file.stat().st_mtime
        except FileNotFoundError:
            return None
        try:
            used_at = (store.used / file.name).stat().st_mtime
        except FileNotFoundError:
            used_at = 0
    if digests.of(content) != image_id:
        return None
    try:
        config = ImageConfig.from_json(content)
    except InvalidImageConfigError:
        return None
    return ListedImage(image_id, config, tuple(names.get(image_id, ())), stored_at, max(stored_at, used_at))


def _is_bare(config: ImageConfig) -> bool:
    if config.host is not None:
        return config == host_config(config.host)
    return config == ImageConfig.scratch(Platform(config.os, config.architecture, config.variant))
