"""Removals that nobody waits for: what a container had on this machine goes while its owner does the next thing."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from pytest_pycontainer.engine.connection import MonitorConnection
from pytest_pycontainer.engine.records import ContainerRecords, Reservation
from pytest_pycontainer.errors import WaitTimeoutError

REMOVAL_SECONDS: Final = 30.0
"""What a container's end may take, and then the removal of what it had."""


@dataclass(frozen=True, slots=True)
class _Removal:
    name: str
    connection: MonitorConnection
    reservation: Reservation
    records: ContainerRecords

    def is_done(self) -> bool:
        return self.connection.gone and not self.reservation.directory.exists()

    def finish(self, deadline: float) -> None:
        gone = self.connection.await_gone(max(0.0, deadline - time.monotonic()))
        self.connection.close()
        if not gone:
            raise WaitTimeoutError(self.name, "removing", REMOVAL_SECONDS)
        self.records.remove(self.reservation)


class Removals:
    """Containers that have ended, and that nobody finds any more: their monitors remove cgroup and directory, and end.

    They do it also if this process is gone. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: list[_Removal] = []

    def add(
        self, name: str, connection: MonitorConnection, reservation: Reservation, records: ContainerRecords
    ) -> None:
        """Takes over a container's connection and reservation, and lets go of those that are done with; does not wait.

        What a monitor has left is for ``finish``.
        """
        with self._lock:
            done = [removal for removal in self._under_way if removal.is_done()]
            self._under_way.append(_Removal(name, connection, reservation, records))
            for removal in done:
                self._under_way.remove(removal)
                removal.finish(time.monotonic())

    def finish(self) -> None:
        """Waits until all are gone, and removes what their monitors have left.

        Raises WaitTimeoutError and StoreError, when all others are gone.
        """
        deadline = time.monotonic() + REMOVAL_SECONDS
        with self._lock, ExitStack() as finishing:
            while self._under_way:
                finishing.callback(self._under_way.pop().finish, deadline)
