"""Directories that a RUN's ``--mount=type=cache`` shows: they outlive builds, and are in no image.

    mounts/HEX/content      the cache of a key
    mounts/HEX.N/content    another one, of a private cache that several wanted at once

Each has a ``flock`` on its own directory, HEX: who uses a cache holds it, shared or alone; who fills a new one holds it
alone. The kernel frees it with its holder; a container of a killed engine ends in the same moment. All of that happens
with the store in use, so that who has the store alone may take any of them away.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import StoreError
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.kernel.flock import ALONE, SHARED, try_lock
from pytest_pycontainer.kernel.removal import remove_tree
from pytest_pycontainer.store.files import storing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Literal

    from pytest_pycontainer.store.store import Store

    Fill = Callable[[Path], None]
    """Makes what a new cache holds at first, a directory at that path."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK_SECONDS = 3600.0
_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class ListedCache:
    """One cache: its directory, and when it was last used, in seconds since the epoch."""

    directory: Path
    used_at: float


class CacheMounts:
    """The caches of a store. Safe to use from any number of threads and processes; raises StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._directory = store.root / "mounts"

    @contextmanager
    def hold(
        self,
        key: str,
        fill: Fill,
        *,
        sharing: Literal["shared", "private", "locked"] = "shared",
        timeout: float = _LOCK_SECONDS,
        check: Callable[[], None] | None = None,
    ) -> Iterator[Path]:
        """The directory of the cache ``key`` (a digest), for the block; ``fill`` makes its content if it is new.

        ``locked`` waits until nobody else has it, ``timeout`` seconds at most; ``private`` takes one that nobody has.
        Who holds several takes them in the keys' order, so that no two wait for each other. While it waits it calls
        ``check`` again and again, and gives up when that raises.
        """
        wait = _Wait(timeout, check)
        with self._store.in_use():
            with storing("open the cache mount", self._directory):
                descriptor, directory = self._open(key, sharing, wait)
            try:
                content = directory / "content"
                with storing("make the cache mount", directory):
                    # Who waits to fill it may find that another has, who goes on sharing it.
                    wait.until(lambda: content.exists() or try_lock(descriptor, ALONE), directory)
                    if not content.exists():
                        self._fill(content, fill)
                    os.utime(descriptor)
                if sharing == "shared":
                    wait.for_lock(descriptor, directory, SHARED)
                yield content
            finally:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
                os.close(descriptor)

    def _fill(self, content: Path, fill: Fill) -> None:
        unfinished = content.with_name("unfinished")
        if unfinished.exists():
            self._store.call(remove_tree, unfinished)  # of a filler that was killed
        fill(unfinished)
        unfinished.rename(content)

    def listed(self) -> list[ListedCache]:
        """All caches, the least recently used first."""
        with storing("read", self._directory):
            if not self._directory.exists():
                return []
            found = [ListedCache(path, path.stat().st_mtime) for path in self._directory.iterdir()]
        return sorted(found, key=lambda cache: cache.used_at)

    def _open(self, key: str, sharing: str, wait: _Wait) -> tuple[int, Path]:
        """A descriptor that holds the lock, and the cache's directory."""
        self._directory.mkdir(0o700, exist_ok=True)
        for number in count():
            directory = self._directory / (digests.hexadecimal(key) + (f".{number}" if number else ""))
            directory.mkdir(0o700, exist_ok=True)
            descriptor = os.open(directory, _DIRECTORY)
            try:
                if sharing == "private":
                    if try_lock(descriptor, ALONE):
                        return descriptor, directory
                else:
                    kind = SHARED if sharing == "shared" else ALONE
                    wait.for_lock(descriptor, directory, kind)
                    return descriptor, directory
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
        raise AssertionError("count() has no end")


class _Wait:
    """For locks, ``timeout`` seconds at most for all of them."""

    def __init__(self, timeout: float, check: Callable[[], None] | None) -> None:
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._check = check

    def for_lock(self, descriptor: int, directory: Path, kind: int) -> None:
        self.until(lambda: try_lock(descriptor, kind), directory)

    def until(self, is_so: Callable[[], bool], directory: Path) -> None:
        while not is_so():
            if self._check is not None:
                self._check()
            if time.monotonic() >= self._deadline:
                detail = f"another build has held this cache mount for {self._timeout:g} s; wait for that, or end it"
                raise StoreError("lock", str(directory), detail)
            time.sleep(_POLL_SECONDS)
