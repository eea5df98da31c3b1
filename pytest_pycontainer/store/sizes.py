"""How much the store's directories take on disk."""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.store.files import storing, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pytest_pycontainer.image.config import ImageConfig
    from pytest_pycontainer.store.store import Store

BLOCK = 512
"""The bytes of st_blocks, whatever the file system's own blocks are."""

_NOTE = "size"


class LayerSizes:
    """The sizes of layers, in bytes on disk. Each is counted once and then remembered: a layer never changes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of_image(self, config: ImageConfig) -> int:
        """Of an image's layers together, each counted once. Raises StoreError if one is missing."""
        with self._store.in_use():
            self._store.layer_directories(config)
            return self.total(config.diff_ids)

    def total(self, diff_ids: Iterable[str]) -> int:
        """Of all these layers together, each counted once; one that is not here counts nothing. Raises StoreError."""
        return sum(map(self.of, dict.fromkeys(diff_ids)))

    def of(self, diff_id: str) -> int:
        """Of one layer; 0 if it is not here. Raises StoreError."""
        if diff_id == digests.EMPTY_LAYER:
            return 0
        note = self._store.layer_note(diff_id, _NOTE)
        with suppress(OSError, ValueError, KeyError, TypeError):  # whatever is wrong with a note, it can be made again
            return int(json.loads(note.read_bytes())["bytes"])
        with self._store.in_use():
            layer = self._store.layers / digests.hexadecimal(diff_id)
            if not layer.is_dir():
                return 0
            size = self._store.call(size_on_disk, layer)
            write_whole(note, json.dumps({"bytes": size}).encode(), self._store.temporary)
        return size


def size_on_disk(directory: Path) -> int:
    """The bytes of the disk's blocks that a directory and all below it take; a file with several names counts once.

    What goes while it is being counted is left out. Raises StoreError.
    """
    total = 0
    linked: set[tuple[int, int]] = set()
    waiting = [os.fspath(directory)]
    with storing("count the size of", directory):
        with suppress(FileNotFoundError):
            total += directory.lstat().st_blocks
        while waiting:
            for entry in _entries(waiting.pop()):
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        waiting.append(entry.path)
                    elif status.st_nlink > 1:
                        if (status.st_dev, status.st_ino) in linked:
                            continue
                        linked.add((status.st_dev, status.st_ino))
                    total += status.st_blocks
    return total * BLOCK


def _entries(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
