"""Volumes: directories that outlive the containers that see them.

    volumes/HEX/volume.json    the name; HEX is its digest, as a name is nobody's path
    volumes/HEX/content/       what containers see (``runtime/volumes`` says what else lies here for a moment)
    volumes/HEX/lock           of one that was not given a name: its owner holds a flock on it for as long as it lives

Making, removing and taking a volume for a container happen under one lock for the whole store, ``volumes.lock``, for a
moment each. Who dies holding it leaves ``new`` or ``old``, which the next holder removes. A volume that was not given a
name and whose owner is dead goes with the next look at all of them.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from pytest_pycontainer.errors import InvalidSpecError, StoreError, VolumeInUseError, VolumeNotFoundError
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.kernel.flock import is_held
from pytest_pycontainer.kernel.removal import remove_tree
from pytest_pycontainer.store.files import storing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from pytest_pycontainer.store.store import Store

    Users = Callable[[], Mapping[str, tuple[str, ...]]]
    """Gives the names of the volumes that containers have now, and the names of those containers."""

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_LOCK_SECONDS = 60.0
_RECORD = "volume.json"
_OWNER = "lock"


@dataclass(frozen=True, slots=True)
class StoredVolume:
    """A volume: its name, its directory, and whether the name was made up."""

    name: str
    directory: Path
    anonymous: bool

    @property
    def content(self) -> Path:
        """What containers see."""
        return self.directory / "content"


class Volumes:
    """The volumes of one store, of all processes that use it. Safe to use from several threads."""

    def __init__(self, store: Store, users: Users) -> None:
        self._users = users
        self._call = store.call
        self._directory = store.root / "volumes"
        self._lock = store.root / "volumes.lock"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """While its block runs nobody else makes or removes a volume. Raises StoreError, also after a minute."""
        with storing("change the volumes in", self._directory):
            try:
                with FileLock(self._lock, timeout=_LOCK_SECONDS, poll_interval=0.002):
                    self._directory.mkdir(0o700, exist_ok=True)
                    for unfinished in ("new", "old"):
                        if (self._directory / unfinished).exists():
                            self._call(remove_tree, self._directory / unfinished)
                    yield
            except Timeout as error:
                detail = f"another process held it for {_LOCK_SECONDS:g} s"
                raise StoreError("lock", str(self._lock), detail) from error

    def ensure(self, name: str, *, may_make: bool = True) -> StoredVolume:
        """The volume of that name, made if it is not there; the caller has it ``locked``.

        Raises InvalidSpecError for a name that docker would not take; VolumeNotFoundError if it may not be made.
        """
        directory = self._place(name)
        found = _read(directory)
        if found is None:
            if not may_make:
                raise VolumeNotFoundError(name)
            self._make(name, directory, anonymous=False)
        return found or StoredVolume(name, directory, anonymous=False)

    def make_anonymous(self) -> tuple[StoredVolume, int]:
        """A new volume with a name made up, and the descriptor for which it lives. Raises StoreError."""
        name = secrets.token_hex(32)
        with self.locked():
            self._sweep()
            directory = self._place(name)
            return StoredVolume(name, directory, anonymous=True), self._make(name, directory, anonymous=True)

    def listed(self) -> list[StoredVolume]:
        """All volumes, sorted by name. Raises StoreError."""
        if not self._directory.exists():
            return []
        with self.locked():
            self._sweep()
            found = [volume for path in self._directory.iterdir() if (volume := _read(path)) is not None]
        return sorted(found, key=lambda volume: volume.name)

    def remove(self, name: str) -> None:
        """Removes a volume with all in it; one that is not there is no error.

        Raises VolumeInUseError if containers have it, of whatever process, and StoreError.
        """
        with self.locked():
            if containers := self._users().get(name):
                raise VolumeInUseError(name, containers)
            self._remove(self._place(name))

    def _place(self, name: str) -> Path:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            wanted = (
                "letters, digits, '_', '.' and '-', two or more, a letter or digit first; or a path with '/' or './'"
            )
            raise InvalidSpecError("volume", str(name), wanted)
        return self._directory / digests.hexadecimal(digests.of(name.encode()))

    def _make(self, name: str, directory: Path, *, anonymous: bool) -> int:
        """Makes a volume's directory; a descriptor of its owner's lock, -1 if it has none."""
        new = self._directory / "new"
        new.mkdir(0o700)
        (new / "content").mkdir()
        (new / "content").chmod(0o755)
        (new / _RECORD).write_text(json.dumps({"name": name, "anonymous": anonymous}))
        lock = -1
        if anonymous:
            lock = os.open(new / _OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        new.rename(directory)
        return lock

    def _remove(self, directory: Path) -> None:
        old = self._directory / "old"
        if directory.exists():
            directory.rename(old)
            self._call(remove_tree, old)

    def _sweep(self) -> None:
        found = [volume for path in self._directory.iterdir() if (volume := _read(path)) is not None]
        abandoned = [one for one in found if one.anonymous and not is_held(one.directory / _OWNER)]
        used = self._users() if abandoned else {}
        for volume in abandoned:
            if volume.name not in used:
                self._remove(volume.directory)


def _read(directory: Path) -> StoredVolume | None:
    try:
        fields = json.loads((directory / _RECORD).read_text())
        return StoredVolume(fields["name"], directory, fields["anonymous"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as problem:
        detail = "its content is damaged; what is in the volume is beside it, in 'content'"
        raise StoreError("read", str(directory / _RECORD), detail) from problem
