"""Images that lie on this machine outside the store: an archive file, a directory.

Each is stored once, without a name, and remembered for as long as it does not change; the memory is the build cache's,
which forgets an image that has been removed.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import InvalidArchiveError
from pytest_pycontainer.image.config import History, ImageConfig
from pytest_pycontainer.store.cache import BuildCache
from pytest_pycontainer.store.import_layer import import_layer
from pytest_pycontainer.store.layout import OCI_LAYOUT
from pytest_pycontainer.store.load import load_only_image
from pytest_pycontainer.store.store import Store, StoredImage

if TYPE_CHECKING:
    from collections.abc import Iterator

_TICK = 50_000_000
"""Nanoseconds. What the kernel writes as a file's time may be that old: two changes within them can look like one."""


def image_of_path(store: Store, path: str | os.PathLike[str]) -> StoredImage:
    """The image of the archive or directory at ``path``. Raises as the two below do."""
    return image_of_directory(store, path) if Path(path).is_dir() else image_of_archive(store, path)


def image_of_archive(store: Store, path: str | os.PathLike[str]) -> StoredImage:
    """The one image of an archive that ``load`` reads, stored if it is not.

    The archive is known by its device, inode, size and times; it is not read again while these stay. Raises
    InvalidArchiveError, also for an archive of several images, and what ``load`` raises.
    """
    return _remembered(store, Path(path), _file_signature, lambda: load_only_image(store, Path(path)))


def image_of_directory(store: Store, path: str | os.PathLike[str]) -> StoredImage:
    """The image of a directory: of an OCI layout, or else of the plain root file system in it.

    A root file system becomes a layer, without a command; whatever is changed in it, deleted or added gives another
    image. What is the same costs a look at each file. Raises InvalidArchiveError, what ``load`` raises, and StoreError.
    """
    directory = Path(path)
    if (directory / OCI_LAYOUT).is_file():
        return _remembered(store, directory, _layout_signature, lambda: load_only_image(store, directory))
    return _remembered(store, directory, _tree_signature, lambda: _import(store, directory))


def _remembered(
    store: Store, path: Path, sign: Callable[[Path], tuple[bytes, int]], make: Callable[[], str]
) -> StoredImage:
    """The image that stands under the signature of ``path``, made if there is none.

    A signature comes with the time of the last change. It is only remembered if that is no matter of this moment, and
    if it is the same afterwards: what has been read must be what was signed. The key's lock makes one process do the
    work; the kernel frees it if that dies.
    """
    now = time.time_ns()
    signature, changed = _signed(sign, path)
    key = f"sha256:{hashlib.sha256(signature).hexdigest()}"
    cache = BuildCache(store)
    with store.in_use():
        if image := cache.get(key):
            return image
        with cache.lock(key):
            if image := cache.get(key):
                return image
            image_id = make()
            if changed < now - _TICK and _signed(sign, path)[0] == signature:
                cache.put(key, image_id)
            return StoredImage(image_id, store.config(image_id))


def _signed(sign: Callable[[Path], tuple[bytes, int]], path: Path) -> tuple[bytes, int]:
    try:
        return sign(path)
    except OSError as problem:
        raise InvalidArchiveError(problem.strerror or str(problem), str(path)) from problem


def _file_signature(path: Path) -> tuple[bytes, int]:
    status = path.stat()
    return f"archive {_identity(status)}".encode(), status.st_ctime_ns


def _layout_signature(directory: Path) -> tuple[bytes, int]:
    # All else in a layout is named by its digest, from there on.
    status = (directory / "index.json").stat()
    return f"layout {_identity(status)}".encode(), status.st_ctime_ns


def _tree_signature(directory: Path) -> tuple[bytes, int]:
    tree = hashlib.sha256()
    changed = 0
    for path, status in _walk(directory):
        tree.update(f"{_identity(status)} {status.st_mode} {len(path)} ".encode() + path)
        changed = max(changed, status.st_ctime_ns)
    return b"tree " + tree.digest(), changed


def _identity(status: os.stat_result) -> str:
    return f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _walk(directory: Path) -> Iterator[tuple[bytes, os.stat_result]]:
    """Everything below a directory, and itself, in an order of its own, not beyond its file system."""
    top = os.fsencode(directory)
    status = directory.stat()
    yield b"", status
    device = status.st_dev
    waiting = [top]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                status = entry.stat(follow_symlinks=False)
                yield entry.path[len(top) :], status
                if entry.is_dir(follow_symlinks=False) and status.st_dev == device:
                    waiting.append(entry.path)


def _import(store: Store, directory: Path) -> str:
    layer = import_layer(store, directory)
    config = replace(ImageConfig.scratch(), diff_ids=(layer,), history=(History(comment="a directory's content"),))
    return store.put_image(config)
