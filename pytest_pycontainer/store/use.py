"""The use lock: those who use images share it, whoever takes some away holds it alone.

It is a ``flock`` on one file of the store. The kernel frees it when its holder dies. Shared, it is held by all that
makes images or counts on them for the moment: a pull, a build, a load, a push, the creation of a container until its
record names the image. Alone, it is held by ``remove`` and ``prune`` while they rename things away, which takes
milliseconds; what is renamed is deleted after that.

Each holding is an open file of its own, so a thread that shares the lock may share it again: nobody who waits to have
it alone keeps others from sharing it. A thread that shares it can't have it alone: that ends at the time limit.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import StoreError
from pytest_pycontainer.kernel.flock import ALONE, SHARED, try_lock
from pytest_pycontainer.store.files import storing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SECONDS = 60.0
_POLL_SECONDS = 0.005
_USED = "its images have been in use for {:g} s: something pulls, builds, loads or pushes; wait for that, or end it"
_REMOVED = "images have been removed for {:g} s; wait for that, or end it"


class UseLock:
    """The lock on the file ``path``, which is made when it is first needed. Raises StoreError after ``timeout`` s."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def shared(self, timeout: float = _SECONDS) -> Iterator[None]:
        """Nothing is removed in the block."""
        with self._held(SHARED, timeout, _REMOVED):
            yield

    @contextmanager
    def alone(self, timeout: float = _SECONDS) -> Iterator[None]:
        """No other thread or process is in a ``shared`` or ``alone`` block meanwhile."""
        with self._held(ALONE, timeout, _USED):
            yield

    @contextmanager
    def _held(self, kind: int, timeout: float, otherwise: str) -> Iterator[None]:
        deadline = time.monotonic() + timeout
        with storing("lock", self._path):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with storing("lock", self._path):
                while not try_lock(descriptor, kind):
                    if time.monotonic() >= deadline:
                        raise StoreError("lock", str(self._path), otherwise.format(timeout))
                    time.sleep(_POLL_SECONDS)
            try:
                yield
            finally:
                # Closing alone would leave it to a child that was forked meanwhile and has a copy.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)
