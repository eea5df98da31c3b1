"""Containers on disk: one directory each, made before anything of the container, and what sweeps those left behind.

A container's directory holds its lock, its cgroup's name, its record, log, state and writable layer. Its lock is held
(``flock``) by the engine and the monitor for as long as either lives: a directory whose lock is free belongs to
nobody. Making and sweeping happen under one lock for the whole store, for a moment each.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from pytest_pycontainer.errors import AmbiguousContainerError, ContainerNotFoundError, NameInUseError, StoreError
from pytest_pycontainer.kernel.file_flags import keep_subdirectories_apart
from pytest_pycontainer.kernel.flock import ALONE, is_held, try_lock
from pytest_pycontainer.kernel.removal import remove_tree
from pytest_pycontainer.runtime import cgroups
from pytest_pycontainer.runtime.state import LOCK_NAME
from pytest_pycontainer.store.calling import Caller, directly
from pytest_pycontainer.store.files import reason, storing

_LOCK_SECONDS = 60.0
_RECORD = "container.json"
_CGROUP = "cgroup.json"


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """What any process may know of a container; ``created_at`` is in seconds since the epoch.

    For as long as the container's lock is held, nobody removes the image ``image_id``, nor the named ``volumes``.
    """

    id: str
    name: str
    image: str
    command: tuple[str, ...]
    created_at: float
    image_id: str = ""
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reservation:
    """A container's directory, the descriptor that holds its lock, and the cgroup directories that go with it."""

    id: str
    directory: Path
    lock: int
    cgroup: tuple[str, ...]


class ContainerRecords:
    """The containers of one store, of all processes that use it."""

    def __init__(self, root: Path, call: Caller = directly) -> None:
        """``call`` does what takes rights over files of whatever users."""
        self._call = call
        self._containers = root / "containers"
        self._names = root / "names"
        self._lock = root / "containers.lock"

    def prepare(self) -> None:
        """Makes the directories and sweeps what a killed run left. Raises StoreError."""
        self._containers.mkdir(parents=True, exist_ok=True)
        keep_subdirectories_apart(self._containers)
        self._names.mkdir(exist_ok=True)
        with self._locked():
            for directory in self._containers.iterdir():
                self._sweep(directory)
            for name in self._names.iterdir():
                if not name.exists():
                    name.unlink()

    def reserve(self, container_id: str, cgroup: tuple[str, ...]) -> Reservation:
        """Makes a container's directory, before anything else of it is made. Raises StoreError, and leaves nothing."""
        directory = self._containers / container_id
        with self._locked(), ExitStack() as undone:
            directory.mkdir(0o700)
            undone.callback(remove_tree, directory)
            lock = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            undone.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (directory / _CGROUP).write_text(json.dumps(cgroup))
            undone.pop_all()
        return Reservation(container_id, directory, lock, cgroup)

    def add(self, record: ContainerRecord) -> None:
        """Gives a reserved container its name and its record, once.

        Raises NameInUseError if another container, of any process, has the name; StoreError. It has no name then.
        """
        with self._locked(), ExitStack() as undone:
            self._claim_name(record)
            undone.callback((self._names / record.name).unlink)
            self._write(record)
            undone.pop_all()

    def rename(self, old: ContainerRecord, name: str) -> None:
        """Gives a container that has a record another name.

        Raises NameInUseError and StoreError; it is as before then.
        """
        new = replace(old, name=name)
        if old.name == name:
            raise NameInUseError(name, old.id)
        with self._locked(), ExitStack() as undone:
            self._claim_name(new)
            undone.callback((self._names / new.name).unlink)
            self._write(new)
            undone.pop_all()
            (self._names / old.name).unlink(missing_ok=True)

    def free_name(self, name: str, container_id: str) -> None:
        """Gives back a name, if that container has it. Raises StoreError.

        To be called while the container's directory is there: until that is gone, nobody else can take the name.
        """
        link = self._names / name
        with storing("remove the name", link), suppress(FileNotFoundError):
            if link.readlink().name == container_id:
                link.unlink()

    def find(self, name: str) -> tuple[ContainerRecord, Path, tuple[str, ...]]:
        """The container of that name, or whose id begins so, of any process: record, directory, cgroup directories.

        Raises ContainerNotFoundError and AmbiguousContainerError.
        """
        live = self.live()
        found = [entry for entry in live if name in (entry[0].name, entry[0].id)]
        found = found or [entry for entry in live if name and entry[0].id.startswith(name)]
        if len(found) > 1:
            raise AmbiguousContainerError(name, tuple(record.id for record, _ in found))
        for record, directory in found:
            with suppress(FileNotFoundError):
                return record, directory, _read_cgroup(directory)
        raise ContainerNotFoundError(name)

    def _write(self, record: ContainerRecord) -> None:
        path = self._containers / record.id / _RECORD
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(record)))
        temporary.rename(path)

    def remove(self, reservation: Reservation) -> None:
        """Removes what there still is of a container that has ended, and closes its lock. Raises StoreError."""
        try:
            cgroups.remove(reservation.cgroup)
            if reservation.directory.exists():
                self._remove(reservation.directory, LOCK_NAME)
        except OSError as error:
            raise StoreError("remove the container in", str(reservation.directory), str(error)) from error
        finally:
            if reservation.lock >= 0:
                os.close(reservation.lock)

    def read(self) -> list[tuple[ContainerRecord, Path]]:
        """The containers that any process has now, with their directories."""
        found = []
        for directory in sorted(self._containers.iterdir()) if self._containers.exists() else ():
            record = _read_record(directory)
            if record is not None:
                found.append((record, directory))
        return found

    def live(self) -> list[tuple[ContainerRecord, Path]]:
        """As ``read``, without those whose engine and monitor were killed: they are only waiting to be swept."""
        # Under the lock: to look whether somebody holds a container's, it is taken for a moment.
        with self._locked():
            return [(record, directory) for record, directory in self.read() if _is_held(directory)]

    def users_of_images(self) -> dict[str, tuple[str, ...]]:
        """The IDs of the images that containers use, of all processes, and the names of the containers."""
        return self._users(lambda record: (record.image_id,))

    def users_of_volumes(self) -> dict[str, tuple[str, ...]]:
        """The volumes with names that containers have, of all processes, and the names of the containers."""
        return self._users(lambda record: record.volumes)

    def _users(self, used_by: Callable[[ContainerRecord], tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for record, _ in self.live():
            for thing in used_by(record):
                found[thing] = (*found.get(thing, ()), record.name)
        return found

    def _remove(self, directory: Path, last: str = "") -> None:
        self._call(partial(remove_tree, last=last), directory)

    def _claim_name(self, record: ContainerRecord) -> None:
        link = self._names / record.name
        while True:
            try:
                link.symlink_to(Path("..", "containers", record.id))
            except FileExistsError:
                owner = link.resolve()
                if owner.exists() and not self._sweep(owner):
                    raise NameInUseError(record.name, owner.name) from None
                link.unlink(missing_ok=True)
            else:
                return

    def _sweep(self, directory: Path) -> bool:
        """Removes a container's directory and cgroups if nobody lives who holds its lock; whether that was so."""
        try:
            lock = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            self._remove(directory)  # its maker was killed in between, or who removes it is about to be done
            return True
        try:
            if not try_lock(lock, ALONE):
                return False
            # Where that is not written yet, nothing but the directory has been made.
            with suppress(FileNotFoundError, json.JSONDecodeError):
                cgroups.remove(_read_cgroup(directory))
            self._remove(directory, LOCK_NAME)
            return True
        finally:
            os.close(lock)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with FileLock(self._lock, timeout=_LOCK_SECONDS, poll_interval=0.002):
                yield
        except Timeout as error:
            raise StoreError("lock", str(self._lock), f"another process held it for {_LOCK_SECONDS:g} s") from error
        except OSError as error:
            raise StoreError("change the containers in", str(self._containers), reason(error)) from error


def _read_cgroup(directory: Path) -> tuple[str, ...]:
    return tuple(json.loads((directory / _CGROUP).read_text()))


def _is_held(directory: Path) -> bool:
    try:
        return is_held(directory / LOCK_NAME)
    except FileNotFoundError:
        return False


def _read_record(directory: Path) -> ContainerRecord | None:
    """The record; None while there is none, or when the container goes in this moment."""
    try:
        fields = json.loads((directory / _RECORD).read_text())
    except FileNotFoundError:
        return None
    lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    return ContainerRecord(**{**fields, **lists})
