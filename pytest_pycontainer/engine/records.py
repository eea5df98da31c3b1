"""Containers on disk: one directory each, made before anything of the container, and what sweeps those left behind.

A container's directory holds its record, log, the monitor's socket and the writable layer. It is locked (``flock``) by
the engine and the monitor for as long as either lives: a directory that is not belongs to nobody. Making and sweeping
happen under one lock for the whole store, for a moment each.

A record is a file of lines that are only added to. The first is there before anything of the container, and says which
cgroup it is to have; the last whole one after that is what is known of it now. Its name is a further link to that file.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from pytest_pycontainer.errors import AmbiguousContainerError, ContainerNotFoundError, NameInUseError, StoreError
from pytest_pycontainer.kernel.file_flags import keep_subdirectories_apart
from pytest_pycontainer.kernel.flock import ALONE, is_held, try_lock
from pytest_pycontainer.kernel.removal import remove_tree
from pytest_pycontainer.runtime import cgroups
from pytest_pycontainer.store.calling import Caller, directly
from pytest_pycontainer.store.files import reason, storing

_LOCK_SECONDS = 60.0
_LOCK_PAUSE_SECONDS = 0.002
_RECORD = "record"


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
        self._threads = threading.Lock()  # who waits for that of other threads is told, who waits for the file asks

    def prepare(self) -> None:
        """Makes the directories and sweeps what a killed run left. Raises StoreError."""
        self._containers.mkdir(parents=True, exist_ok=True)
        keep_subdirectories_apart(self._containers)
        self._names.mkdir(exist_ok=True)
        with self._locked():
            for directory in self._containers.iterdir():
                self._sweep(directory)
            for name in self._names.iterdir():
                if name.lstat().st_nlink == 1:  # the container's own is gone
                    name.unlink()

    def reserve(self, container_id: str, cgroup: tuple[str, ...]) -> Reservation:
        """Makes a container's directory, before anything else of it is made. Raises StoreError, and leaves nothing."""
        directory = self._containers / container_id
        with self._locked(), ExitStack() as undone:
            directory.mkdir(0o700)
            undone.callback(remove_tree, directory)
            lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            undone.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _add_line(directory / _RECORD, {"id": container_id, "cgroup": cgroup})
            undone.pop_all()
        return Reservation(container_id, directory, lock, cgroup)

    def add(self, record: ContainerRecord) -> None:
        """Gives a reserved container its name and its record, once.

        Raises NameInUseError if another container, of any process, has the name; StoreError. It has no name then.
        """
        with self._locked(), ExitStack() as undone:
            self._claim_name(record)
            undone.callback((self._names / record.name).unlink)
            _add_line(self._containers / record.id / _RECORD, asdict(record))
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
            _add_line(self._containers / new.id / _RECORD, asdict(new))
            undone.pop_all()
            (self._names / old.name).unlink(missing_ok=True)

    def free_name(self, name: str, container_id: str) -> None:
        """Gives back a name, if that container has it. Raises StoreError.

        To be called while the container's directory is there: until that is gone, nobody else can take the name.
        """
        link = self._names / name
        with storing("remove the name", link), suppress(FileNotFoundError):
            if _id_of(link) == container_id:
                link.unlink()

    def retire(self, name: str, container_id: str) -> None:
        """As ``free_name``; and nobody finds the container any more, nor takes it for a user of anything.

        Its directory is still whoever's that have it locked. Raises StoreError.
        """
        self.free_name(name, container_id)
        record = self._containers / container_id / _RECORD
        with storing("change the record", record), suppress(FileNotFoundError):
            _add_line(record, {"id": container_id, "removed": True}, os.O_APPEND)

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

    def remove(self, reservation: Reservation) -> None:
        """Removes what there still is of a container that has ended, and closes its lock. Raises StoreError."""
        try:
            if reservation.directory.exists():  # the monitor, which takes it away, does so with the cgroup first
                cgroups.remove(reservation.cgroup)
                self._call(remove_tree, reservation.directory)
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

    def _claim_name(self, record: ContainerRecord) -> None:
        link = self._names / record.name
        while True:
            try:
                link.hardlink_to(self._containers / record.id / _RECORD)
            except FileExistsError:
                owner = _id_of(link)
                if owner and not self._sweep(self._containers / owner):
                    raise NameInUseError(record.name, owner) from None
                link.unlink(missing_ok=True)
            else:
                return

    def _sweep(self, directory: Path) -> bool:
        """Removes a container's directory and cgroups if nobody lives who has it locked; whether it is gone."""
        try:
            lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            if not try_lock(lock, ALONE):
                return False
            # Without a line nothing but the directory has been made; what the machine's own end broke has no cgroups.
            with suppress(FileNotFoundError, ValueError):
                cgroups.remove(_read_cgroup(directory))
            self._call(remove_tree, directory)
            return True
        finally:
            os.close(lock)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not self._threads.acquire(timeout=_LOCK_SECONDS):
            raise StoreError("lock", str(self._lock), f"another thread held it for {_LOCK_SECONDS:g} s")
        try:
            lock = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                self._await_lock(lock)
                yield
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)  # a child that was forked meanwhile has it open too
                os.close(lock)
        except OSError as error:
            raise StoreError("change the containers in", str(self._containers), reason(error)) from error
        finally:
            self._threads.release()

    def _await_lock(self, lock: int) -> None:
        # Not filelock's: that takes a tenth of a millisecond, and each container takes this lock twice.
        deadline = time.monotonic() + _LOCK_SECONDS
        while not try_lock(lock, ALONE):
            if time.monotonic() > deadline:
                raise StoreError("lock", str(self._lock), f"another process held it for {_LOCK_SECONDS:g} s")
            time.sleep(_LOCK_PAUSE_SECONDS)


def _add_line(record: Path, content: Mapping[str, object], flags: int = os.O_APPEND | os.O_CREAT) -> None:
    """Adds a line to a record, which these flags make if it is not there; all of it, or nothing. Raises OSError."""
    descriptor = os.open(record, os.O_WRONLY | os.O_CLOEXEC | flags, 0o600)
    try:
        before = os.fstat(descriptor).st_size
        line = json.dumps(content).encode() + b"\n"
        try:
            while line:
                line = line[os.write(descriptor, line) :]
        except OSError:
            os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)


def _lines(record: Path) -> list[bytes]:
    """Its whole lines. Raises FileNotFoundError, also before there is any."""
    lines = record.read_bytes().split(b"\n")[:-1]
    if not lines:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(record))
    return lines


def _id_of(record: Path) -> str:
    """Whose it is; empty if it is not there, or nobody's."""
    try:
        found: str = json.loads(_lines(record)[0])["id"]
    except (FileNotFoundError, ValueError):
        return ""
    return found


def _read_cgroup(directory: Path) -> tuple[str, ...]:
    return tuple(json.loads(_lines(directory / _RECORD)[0])["cgroup"])


def _is_held(directory: Path) -> bool:
    try:
        return is_held(directory)
    except FileNotFoundError:
        return False


def _read_record(directory: Path) -> ContainerRecord | None:
    """The record; None while there is none, or when the container goes in this moment, or is to be found no more."""
    try:
        lines = _lines(directory / _RECORD)
    except FileNotFoundError:
        return None
    if len(lines) == 1:
        return None
    fields = json.loads(lines[-1])
    if "removed" in fields:
        return None
    lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    return ContainerRecord(**{**fields, **lists})
