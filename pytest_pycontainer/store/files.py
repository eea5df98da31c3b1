"""Writing files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

_ABANDONED_SECONDS = 3600.0


@contextmanager
def storing(doing: str, path: Path) -> Iterator[None]:
    """Turns an OSError of its block into a StoreError that says what was being done, and to what."""
    try:
        yield
    except OSError as problem:
        raise StoreError(doing, str(path), problem.strerror or str(problem)) from problem


def write_whole(path: Path, content: bytes, temporary: Path) -> None:
    """Makes or replaces the file ``path`` so that no reader, and no crash, ever meets a part of it.

    ``temporary`` is a directory on the same file system. Raises StoreError.
    """
    with storing("write", path):
        descriptor, name = tempfile.mkstemp(dir=temporary)
        unfinished = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            unfinished.rename(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


def sweep_abandoned(temporary: Path) -> None:
    """Removes what writers that were killed have left in ``temporary``: a write takes far less than an hour."""
    abandoned_before = time.time() - _ABANDONED_SECONDS
    for path in temporary.iterdir():
        try:
            if path.lstat().st_mtime < abandoned_before:
                path.unlink()
        except FileNotFoundError:
            continue  # its writer, or another sweeper, was quicker
