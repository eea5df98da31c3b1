"""Containers without content: everything that takes long and needs to know nothing, made ahead."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_pycontainer.engine.connection import Connection
from pytest_pycontainer.engine.records import ContainerRecords, Reservation
from pytest_pycontainer.runtime.cgroup_hierarchies import Cgroups
from pytest_pycontainer.runtime.messages import Prepare
from pytest_pycontainer.runtime.spawner import Spawner
from pytest_pycontainer.runtime.spec import OWN_NAMESPACES, Namespaces, Place, Rootfs, SystemDirectories

_ID_BYTES = 32
_HOST_NAME_DIGITS = 12


def new_id() -> str:
    """A container's id: 64 hexadecimal digits.

    Its beginning is the host name, and a name of decimal digits alone is taken for an address (``man 3 inet_aton``).
    """
    while (made := secrets.token_hex(_ID_BYTES))[:_HOST_NAME_DIGITS].isdecimal():
        pass
    return made


@dataclass(frozen=True, slots=True)
class PreparedContainer:
    """A container that has a place, a cgroup, processes and namespaces, and waits to be told what it is."""

    reservation: Reservation
    connection: Connection

    @classmethod
    def make(
        cls,
        spawner: Spawner,
        records: ContainerRecords,
        cgroups: Cgroups,
        system: SystemDirectories,
        namespaces: Namespaces = OWN_NAMESPACES,
        held: Sequence[int] = (),
    ) -> PreparedContainer:
        """Has one made, without waiting for it; its monitor holds ``held``. Raises StoreError and SpawnerError."""
        container_id = new_id()
        reservation = records.reserve(container_id, cgroups.directories(container_id))
        try:
            place = Place(str(reservation.directory), reservation.cgroup)
            connection = Connection(spawner, Prepare(place, system, namespaces), (reservation.lock, *held))
            make_upper(reservation.directory)
        except BaseException:
            records.remove(reservation)
            raise
        return cls(reservation, connection)

    def discard(self, records: ContainerRecords, name: str | None = None) -> None:
        """Ends it, and removes what it has, and the name that it was given."""
        if name is not None:
            records.free_name(name, self.reservation.id)
        self.connection.abandon()
        records.remove(self.reservation)


def make_upper(directory: Path) -> None:
    """Makes the two directories in which an overlay keeps what is written."""
    (directory / "upper").mkdir(0o755)
    (directory / "work").mkdir(0o700)


def read_only_root(layers: tuple[Path, ...], host: bool) -> Rootfs:
    """A root over ``layers``, topmost first."""
    return Rootfs(tuple(map(str, layers)), host, None, None)


def writable_root(layers: tuple[Path, ...], host: bool, directory: Path) -> Rootfs:
    """A root over ``layers``, topmost first, that is written to in a container's directory."""
    return Rootfs(tuple(map(str, layers)), host, str(directory / "upper"), str(directory / "work"))
