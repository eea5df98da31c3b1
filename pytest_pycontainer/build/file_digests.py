"""Digests of files' contents, remembered from build to build: what has not changed is not read again."""

from __future__ import annotations

import hashlib
import os
import struct
import threading
import time
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import StoreError
from pytest_pycontainer.store.files import write_whole

if TYPE_CHECKING:
    from pathlib import Path

_MAGIC = b"pycontainer files 1\n"
_RECORD = struct.Struct("<QQqqq32s")
_ATTRIBUTES = ("user.", "security.capability")
# CLOCK_REALTIME_COARSE (linux/time.h), which Python has no name for.
_FILE_CLOCK = 5
_SECOND = 1_000_000_000
_TICK = 20_000_000
"""Nanoseconds within which two changes of a file may get the same time."""

_SPARE = 4096
"""Records of files that this build did not look at, of which that many stay in any case."""

_Identity = tuple[int, int, int, int, int]


class FileDigests:
    """The digests of files below one directory, kept in the file ``memory``, if any; safe for several threads.

    A file is known by its device, inode, size and times, of which nobody can set that of the last change (``ctime``).
    One that was changed so recently that another change could have the same time is read again next time ("racily
    clean", as git calls it). Two builds that remember at the same time leave the memory of one of them, which is no
    loss but of time. Nothing here fails because of the memory: what is wrong with it, files can be read.
    """

    def __init__(self, memory: Path | None, temporary: Path) -> None:
        self._memory = memory
        self._temporary = temporary
        self._lock = threading.Lock()
        self._known: dict[_Identity, bytes] = {}
        self._used: set[_Identity] = set()
        self._has_new = False
        try:
            data = memory.read_bytes() if memory else b""
        except OSError:
            return
        records = memoryview(data)[len(_MAGIC) :]
        if data.startswith(_MAGIC) and len(records) % _RECORD.size == 0:
            self._known = {record[:5]: record[5] for record in _RECORD.iter_unpack(records)}

    def of(self, path: str, status: os.stat_result) -> bytes:
        """The digest of a regular file's content and extended attributes. ``status`` is as ``lstat`` has it now.

        Raises OSError.
        """
        identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        digest = self._known.get(identity)
        self._used.add(identity)
        if digest is None:
            # The kernel's own clock for the times of files, taken before the first byte is read.
            now = time.clock_gettime_ns(_FILE_CLOCK)
            digest = digest_of(path)
            if not _is_racy(status, now):
                with self._lock:
                    self._known[identity] = digest
                    self._has_new = True
        return digest

    def remember(self) -> None:
        """Writes down what is new."""
        with self._lock:
            if self._memory is None or not self._has_new:
                return
            used = self._used.copy()
            known = self._known.copy()
            self._has_new = False
        if len(known) > 2 * len(used) + _SPARE:
            known = {identity: digest for identity, digest in known.items() if identity in used}
        content = _MAGIC + b"".join(_RECORD.pack(*identity, digest) for identity, digest in known.items())
        try:
            write_whole(self._memory, content, self._temporary)
        except StoreError:
            return  # the disk is full, or read-only: the build will tell if that matters


def memory_of(directory: Path, cache: Path) -> Path:
    """The file in ``cache`` for the digests of files below ``directory``."""
    return cache / f"{hashlib.sha256(os.fsencode(directory)).hexdigest()}.files"


def _is_racy(status: os.stat_result, now: int) -> bool:
    changed = max(status.st_mtime_ns, status.st_ctime_ns)
    # Whole seconds are what file systems have that know no finer times.
    tick = _TICK if status.st_ctime_ns % _SECOND else 2 * _SECOND
    return changed >= now - tick


def digest_of(path: str) -> bytes:
    """The digest of a regular file as it is now. Raises OSError."""
    # What was a regular file a moment ago may be a link, or a pipe that nobody writes to, by now.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123  (there is no path to it)
        digest = hashlib.file_digest(file, "sha256").digest()
        attributes = [name for name in sorted(os.listxattr(descriptor)) if name.startswith(_ATTRIBUTES)]
        values = [(os.fsencode(name), os.getxattr(descriptor, name)) for name in attributes]
    if not values:
        return digest
    return hashlib.sha256(digest + b"".join(b"%b=%d:%b" % (name, len(value), value) for name, value in values)).digest()
