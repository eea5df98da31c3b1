"""Steps taken from the cache or carried out, once among all builds of all processes.

Every step, also one that changes only the config, makes an image; the cache holds that image under the step's key, a
digest of the parent image's ID, the instruction with its variables replaced, what it reads (files, other stages), and
the build arguments that reach it. A build that is all cached gives the same image as the one that filled the cache.

The image's config says with which keys it was made (``io.pycontainer.cache``, beside its history), so that another
machine can take steps from it. Those keys form a chain of their own, from the base image's ID on: a parent's ID has
the time in it when the parent was made, and is another one everywhere. That a chain agrees is not enough to take a
layer: the layers below have to be those that it was made on.
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pytest_pycontainer.build.steps import Base
from pytest_pycontainer.errors import ImageError, StoreError
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image.config import History, ImageConfig
from pytest_pycontainer.store.cache import BuildCache
from pytest_pycontainer.store.store import SCRATCH, Store, StoredImage
from pytest_pycontainer.store.timestamps import set_times

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from pytest_pycontainer.build.progress import StageNews
    from pytest_pycontainer.build.request import CacheImage

    Write = Callable[[str, Base, StageNews], AbstractContextManager[Path]]
    """Carries out what writes files: the step's short id, what it stands on, whom to tell; gives what was written."""

EPOCH = "SOURCE_DATE_EPOCH"
"""The build argument, or else the variable, for when all is to have been made (reproducible-builds.org)."""

_KEYS = "io.pycontainer.cache"


@dataclass(frozen=True, slots=True)
class Point:
    """Where a stage stands: the image after its last step, and the key of the chain that leads there."""

    image: StoredImage
    key: str

    @classmethod
    def at(cls, image: StoredImage) -> Point:
        """The beginning of a chain."""
        return cls(image, image.id)

    @property
    def config(self) -> ImageConfig:
        """The image's."""
        return self.image.config


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step worked out, before it is known whether it has to be carried out.

    ``parts`` is all that makes it another step than others on the same parent. It may be more than that, such as when
    and how what it reads was made: then ``by_content`` finds out, at some cost, what counts. ``config`` is what stands
    after it, but for its layer; ``write`` makes that, if there is one. With ``linked`` the layer does not depend on
    what lies below, and is written on nothing. ``created_by`` is for the history. With ``times`` "all", what it writes
    comes from this machine, and its times are as accidental as those of what is written now.
    """

    parts: tuple[str, ...]
    config: ImageConfig
    created_by: str
    write: Write | None = None
    by_content: Callable[[], tuple[str, ...]] | None = None
    linked: bool = False
    times: Literal["later", "all"] = "later"


class StepCache:
    """Brings stages forward, step by step. Safe for several threads, each at most at one step.

    Locks: a thread holds its step's key alone (``BuildCache.lock``), and for a linked step before that the layer's.
    Whoever holds one asks for no other key; what it may wait for meanwhile, a slot to run and the locks of cache
    mounts, is held by steps that run and ask for no key either. So no two builds, and no two stages, wait for each
    other.
    """

    def __init__(
        self,
        store: Store,
        *,
        no_cache: bool,
        epoch: int | None,
        images: Callable[[], Sequence[CacheImage]],
        check: Callable[[], None],
    ) -> None:
        """``images`` opens those to take steps from, when first needed; ``check`` raises if the build is given up."""
        self._store = store
        self._cache = BuildCache(store)
        self._reads = not no_cache
        self._epoch = epoch
        self._images = images
        self._check = check
        self._own: set[str] = set()
        self._foreign: dict[str, tuple[CacheImage, int]] | None = None
        self._foreign_lock = threading.Lock()
        # At least two: a stage that waits for the network, or sleeps, is to leave the machine to another.
        self._slots = threading.BoundedSemaphore(max(2, len(os.sched_getaffinity(0))))

    def after(self, before: Point, step: Step, news: StageNews | None) -> Point:
        """The point behind ``step``, from the cache or carried out. Raises what ``step.write`` raises, StoreError."""
        self._check()
        parts = step.parts if self._epoch is None else (*step.parts, f"{EPOCH}={self._epoch}")
        key = digests.of(json.dumps([before.image.id, *parts]).encode())
        chain = digests.of(json.dumps([before.key, *parts]).encode())
        image = self._cached(key)
        if step.by_content is not None:
            if image is None:
                point = self.after(before, replace(step, parts=step.by_content(), by_content=None), news)
                self._cache.put(key, point.image.id)
                self._own.add(key)
                return point
            # The chain is by content too: as somebody else's would be, who has made the same differently.
            chain = _keys(image.config)[-1]
        if image is None and step.linked:
            layer = self._linked(step, news)
            step, news = replace(step, linked=False, write=None, config=_with_layer(step.config, layer)), None
        if image is None:
            with self._cache.lock(key, check=self._check):
                image = self._cached(key)
                if image is None:
                    image = self._taken(before, step, chain, news) or self._made(before, step, key, chain, news)
                    self._cache.put(key, image.id)
                    self._own.add(key)
                elif news:
                    news.cached()
        elif news:
            news.cached()
        return Point(image, chain)

    def base(self, config: ImageConfig) -> Base:
        """The file system of an image, as steps take it."""
        return Base(self._store.layer_directories(config), config.host is not None)

    def _cached(self, key: str) -> StoredImage | None:
        # Without a cache too, two stages that begin alike are built once.
        image = self._cache.get(key) if self._reads or key in self._own else None
        if image is not None:
            self._store.mark_used(image.id)
        return image

    def _linked(self, step: Step, news: StageNews | None) -> str:
        """The layer of a linked step, which is that of an image with nothing else in it."""
        scratch = self._store.image(SCRATCH)
        alone = replace(step, parts=("link", *step.parts), config=scratch.config, linked=False)
        return self.after(Point.at(scratch), alone, news).config.diff_ids[-1]

    def _made(self, before: Point, step: Step, key: str, chain: str, news: StageNews | None) -> StoredImage:
        config = step.config
        if step.write is not None:
            assert news is not None
            with self._slots:
                self._check()
                with step.write(digests.short(key), self.base(before.config), news) as upper:
                    if self._epoch is not None:
                        set_times(upper, self._epoch, only_later=step.times == "later")
                    config = _with_layer(config, self._store.commit_layer(upper))
        return self._finished(before.config, config, History(self._now(), step.created_by), chain)

    # Steps of other machines

    def _taken(self, before: Point, step: Step, chain: str, news: StageNews | None) -> StoredImage | None:
        """The image after the step if an image of ``cache_from`` has it, on the same layers."""
        if not self._reads:
            return None
        found = self._foreign_steps().get(chain)
        if found is None:
            return None
        source, index = found
        entry = source.config.history[index]
        below = sum(not earlier.empty_layer for earlier in source.config.history[:index])
        if source.config.diff_ids[:below] != before.config.diff_ids:
            return None
        config = step.config
        if step.write is not None:
            if below >= len(source.config.diff_ids):
                return None
            config = _with_layer(config, source.config.diff_ids[below])
            try:
                source.fetch(config.diff_ids[-1])
            except (ImageError, StoreError):
                return None  # it is a cache: what can't be had from it is made
        if news:
            news.cached()
        return self._finished(before.config, config, History(entry.created or self._now(), step.created_by), chain)

    def _foreign_steps(self) -> dict[str, tuple[CacheImage, int]]:
        with self._foreign_lock:
            if self._foreign is None:
                self._foreign = {}
                for image in self._images():
                    for index, key in enumerate(_keys(image.config)):
                        if key:
                            self._foreign.setdefault(key, (image, index))
            return self._foreign

    # Images

    def _finished(self, before: ImageConfig, after: ImageConfig, entry: History, chain: str) -> StoredImage:
        entry = replace(entry, empty_layer=after.diff_ids == before.diff_ids)
        config = replace(
            after,
            created=entry.created,
            history=(*before.history, entry),
            other={**after.other, _KEYS: [*_keys(before), chain]},
        )
        return StoredImage(self._store.put_image(config), config)

    def _now(self) -> str:
        nanoseconds = time.time_ns() if self._epoch is None else self._epoch * 1_000_000_000
        seconds, rest = divmod(nanoseconds, 1_000_000_000)
        fraction = f".{rest:09}" if rest else ""
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}{fraction}Z"


def _with_layer(config: ImageConfig, diff_id: str) -> ImageConfig:
    return replace(config, diff_ids=(*config.diff_ids, diff_id))


def _keys(config: ImageConfig) -> list[str]:
    """The keys of an image's steps, one for each entry of its history; empty for those that were not made here."""
    found = config.other.get(_KEYS)
    if isinstance(found, list) and len(found) == len(config.history) and all(isinstance(key, str) for key in found):
        return found
    return [""] * len(config.history)
