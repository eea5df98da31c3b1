"""A digest of what a copy would read from another root: names, kinds, modes, owners, contents and links; no times."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from pytest_pycontainer.kernel import mount, namespaces
from pytest_pycontainer.runtime.copy_sources import Filter, SourceRoot, walk
from pytest_pycontainer.runtime.failure import step
from pytest_pycontainer.runtime.file_copy import attributes
from pytest_pycontainer.runtime.rootfs import MountPoints, mount_root
from pytest_pycontainer.runtime.spec import CopySource, DigestSpec

_PATH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK = 1 << 20

Update = Callable[[bytes], object]


def run_digest(spec: DigestSpec, points: MountPoints) -> str:
    """The digest (hexadecimal), read in a process that is there for nothing else. Raises StepFailed."""
    with step("prepare to read what is to be copied"):
        namespaces.unshare(namespaces.MOUNT)
        root = SourceRoot(mount_root(spec.root, points, points.source))
    return _digest(spec, root)


def _digest(spec: DigestSpec, root: SourceRoot) -> str:
    import hashlib  # the spawner starts without it

    digest = hashlib.sha256()

    def content(descriptor: int) -> bytes:
        whole = hashlib.sha256()
        while piece := os.read(descriptor, _CHUNK):
            whole.update(piece)
        return whole.digest()

    for source in spec.sources:
        with step(f"read {source.path or '.'}"):
            for thing, status in root.find(source):
                _add_thing(digest.update, content, root, thing, status)
    return digest.hexdigest()


def _add_thing(
    update: Update, content: Callable[[int], bytes], root: SourceRoot, source: CopySource, status: os.stat_result
) -> None:
    if not stat.S_ISDIR(status.st_mode):
        _add(update, os.path.basename(source.path), status, b"")
        if stat.S_ISREG(status.st_mode):
            _add_content(update, content, root.open(source.path, _READ))
        return
    top = root.open(source.path, _PATH)
    try:
        _add(update, "", status, b"")
        for entry in walk(top, Filter.of(source)):
            directory, name = os.path.split(entry.path)
            parent = mount.open_in_root(top, directory or ".", _PATH, follow=False)
            try:
                found = os.stat(name, dir_fd=parent, follow_symlinks=False)
                is_link = stat.S_ISLNK(found.st_mode)
                _add(update, entry.path, found, os.fsencode(os.readlink(name, dir_fd=parent)) if is_link else b"")
                if stat.S_ISREG(found.st_mode):
                    _add_content(update, content, os.open(name, _READ | os.O_NOFOLLOW, dir_fd=parent))
            finally:
                os.close(parent)
    finally:
        os.close(top)


def _add(update: Update, path: str, status: os.stat_result, target: bytes) -> None:
    name = os.fsencode(path)
    numbers = (len(name), status.st_mode, status.st_uid, status.st_gid, status.st_rdev, len(target))
    update(b"%d %o %d %d %d %d:" % numbers + name + target)


def _add_content(update: Update, content: Callable[[int], bytes], descriptor: int) -> None:
    """Adds what is open as ``descriptor``, and closes it."""
    try:
        update(content(descriptor))
        for name, value in attributes(descriptor):
            update(b"%d %d:" % (len(name), len(value)) + os.fsencode(name) + value)
    finally:
        os.close(descriptor)
