"""The build cache: which image a build step made, so that the next build with the same step takes it from here."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import ImageError, StoreError
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.store.files import storing, write_whole
from pytest_pycontainer.store.store import StoredImage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from filelock import BaseFileLock

    from pytest_pycontainer.store.store import Store

_LOCK_SECONDS = 3600.0
_CHECK_SECONDS = 0.2


class BuildCache:
    """Records of build steps under their keys, which are digests. Any number of processes may share one."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, key: str) -> StoredImage | None:
        """The image that ``key`` has made; None if there is no record, or if the image or one of its layers is gone."""
        path = self._store.cache / f"{digests.hexadecimal(key)}.json"
        try:
            with storing("read", path):
                image_id = json.loads(path.read_bytes())["image"]
            config = self._store.config(image_id)
        except (StoreError, ImageError, ValueError, KeyError, TypeError):
            return None  # whatever is wrong with a record, the step can be run again
        return StoredImage(image_id, config) if self._store.has_layers(config) else None

    def put(self, key: str, image_id: str) -> None:
        """Keeps under ``key``, in place of any other, the image that it has made. Raises StoreError."""
        path = self._store.cache / f"{digests.hexadecimal(key)}.json"
        write_whole(path, json.dumps({"image": image_id}).encode(), self._store.temporary)

    def count(self) -> int:
        """How many records there are. Raises StoreError."""
        with storing("read", self._store.cache):
            return sum("." not in path.stem for path in self._store.cache.glob("*.json"))

    @contextmanager
    def lock(
        self,
        key: str,
        *,
        timeout: float = _LOCK_SECONDS,
        check: Callable[[], None] | None = None,
        held: str = "another build has held this step",
    ) -> Iterator[None]:
        """Holds ``key`` alone among all processes and threads, so that what it stands for is made once.

        It is a flock: the kernel frees it when its holder dies. Deleting its file would let two in: that is done only
        by who has the store alone, and so the store is in use from before the file is opened. Whoever holds one asks
        for no other, so that no two can wait for each other. While it waits it calls ``check`` again and again, and
        gives up when that raises. Raises StoreError, with ``held`` in it, if the lock was not to be had within
        ``timeout`` seconds.
        """
        # Imported here: only a step that has to be built pays for it.
        from filelock import FileLock

        path = self._store.locks / f"{digests.hexadecimal(key)}.lock"
        lock = FileLock(path)
        with self._store.in_use():
            with storing("lock", path):
                deadline = time.monotonic() + timeout
                while not _acquired(lock, min(timeout, _CHECK_SECONDS)):
                    if check is not None:
                        check()
                    if time.monotonic() < deadline:
                        continue
                    detail = f"{held} for {timeout:g} s; wait for it, or end it"
                    raise StoreError("lock", str(path), detail)
            try:
                yield
            finally:
                lock.release()


def _acquired(lock: BaseFileLock, timeout: float) -> bool:
    from filelock import Timeout

    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        return False
    return True
