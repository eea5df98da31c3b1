"""The host image: this machine's own root file system as an image without layers."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pytest_pycontainer.image.config import DEFAULT_PATH, ImageConfig

_RELEASES = ("etc/os-release", "usr/lib/os-release")
_DATABASE_FILES = ("var/lib/dpkg/status", "lib/apk/db/installed")
_DATABASE_DIRECTORIES = ("var/lib/rpm", "usr/lib/sysimage/rpm", "var/lib/pacman/local", "var/lib/dpkg/status.d")
# SQLite's and Berkeley DB's shared memory and locks change when a database is only read.
_NO_PACKAGES = ("-shm", ".lock", "__db.")


def host_identity(root: Path = Path("/")) -> str:
    """A digest of what is installed below ``root``: architecture, release, and the package managers' databases.

    It changes when packages do. dpkg's and apk's databases count with their content; rpm's and pacman's directories
    with the names, sizes and times in them, for they can be hundreds of megabytes. Raises OSError if one can't be read.
    """
    state = hashlib.sha256(os.uname().machine.encode())
    for path in (*_RELEASES, *_DATABASE_FILES):
        try:
            content = (root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            continue
        state.update(f"\0{path}\0{len(content)}\0".encode())
        state.update(content)
    for path in _DATABASE_DIRECTORIES:
        for name, size, time in _listing(root / path):
            state.update(f"\0{path}/{name}\0{size}\0{time}".encode(errors="surrogateescape"))
    return f"sha256:{state.hexdigest()}"


class HostIdentity:
    """``host_identity``, worked out again only when one of the files it reads has changed."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._known: tuple[object, str] | None = None

    def read(self) -> str:
        """The identity now. Raises OSError if a database can't be read."""
        state = self._state()
        if self._known is None or self._known[0] != state:
            self._known = (state, host_identity(self._root))
        return self._known[1]

    def _state(self) -> list[object]:
        found: list[object] = []
        for path in (*_RELEASES, *_DATABASE_FILES):
            try:
                status = (self._root / path).stat()
            except (FileNotFoundError, NotADirectoryError):
                continue
            found.append((path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
        return [*found, *(_listing(self._root / path) for path in _DATABASE_DIRECTORIES)]


def _listing(directory: Path) -> list[tuple[str, int, int]]:
    try:
        with os.scandir(directory) as entries:
            found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(
        (name, status.st_size, status.st_mtime_ns)
        for name, status in found
        if not any(mark in name for mark in _NO_PACKAGES)
    )


def host_config(identity: str) -> ImageConfig:
    """The config of the host image in the state that ``identity`` names."""
    empty = ImageConfig.scratch()
    return ImageConfig(
        empty.architecture,
        empty.os,
        empty.variant,
        env=(f"PATH={DEFAULT_PATH}",),
        cmd=("/bin/sh",),
        host=identity,
    )
