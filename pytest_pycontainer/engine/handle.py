"""What a handle on a container holds, and tells of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pytest_pycontainer.engine.connection import Connection, MonitorConnection
from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.port_arguments import Port, parse_port
from pytest_pycontainer.engine.records import ContainerRecord
from pytest_pycontainer.engine.resources import Resources
from pytest_pycontainer.errors import (
    ContainerHasNoCgroupError,
    ContainerNotFoundError,
    ContainerNotRunningError,
    ContainerPausedError,
    PortNotPublishedError,
    UnsupportedLimitError,
    WaitTimeoutError,
)
from pytest_pycontainer.network.ports import PublishedPort
from pytest_pycontainer.runtime import cgroups
from pytest_pycontainer.runtime.spec import ContainerDescription, ContainerSpec
from pytest_pycontainer.runtime.state import ContainerState

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class ContainerHandle:
    """What all parts of ``Container`` stand on: who it is and how it is, as its monitor tells.

    Its files are safe for as long as ``_lock`` is held: this process neither removes nor starts it meanwhile.
    """

    def __init__(
        self,
        record: ContainerRecord,
        image: Image,
        description: ContainerDescription,
        *,
        resources: Resources,
        directory: Path,
        cgroup: tuple[str, ...],
        connection: MonitorConnection,
    ) -> None:
        self._record = record
        self._description = description
        self._directory = directory
        self._cgroup = cgroup
        self._resources = resources
        self._own_connection = connection
        self._heard_by = os.getpid()
        self._lock = threading.RLock()
        self._removed = False
        self.image: Image = image

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} ({self.short_id}), {self.image.name}, {self.status}>"

    # Who it is

    @property
    def id(self) -> str:
        """64 hexadecimal digits."""
        return self._record.id

    @property
    def short_id(self) -> str:
        """The first twelve digits, which are also the container's host name unless it was given one."""
        return self.id[:12]

    @property
    def name(self) -> str:
        """The name, given or made up."""
        return self._connection.state.name or self._record.name

    @property
    def command(self) -> tuple[str, ...]:
        """What PID 1 executes."""
        return self._record.command

    @property
    def labels(self) -> Mapping[str, str]:
        """Its own, and its image's."""
        return self._record.labels

    @property
    def created_at(self) -> datetime:
        """When it was made."""
        return datetime.fromtimestamp(self._record.created_at, UTC)

    @property
    def upper(self) -> Path:
        """The directory on this machine that holds what it wrote, in overlayfs's form."""
        return self._directory / "upper"

    # How it is

    @property
    def status(self) -> str:
        """``created``, ``running``, ``paused``, ``restarting``, ``exited`` or ``removed``."""
        return "removed" if self._is_removed() else self._status_of(self._state)

    @property
    def exit_code(self) -> int | None:
        """The last exit code, 128 + n where signal n ended it; None as long as it has not exited, or if it runs.

        One that could not be started has the code 127 if its command is missing, 126 if that can't be executed, or 125.
        """
        state = self._state
        ended = state.status in ("exited", "restarting") or (state.status == "created" and state.error)
        return state.exit_code if ended and not self._removed else None

    @property
    def out_of_memory(self) -> bool:
        """Whether the kernel ended a process of it for want of memory; known once it has exited."""
        return self._state.out_of_memory and not self._removed

    @property
    def error(self) -> str:
        """Why it could not be started, the last time that was tried; empty if it could."""
        return self._state.error

    @property
    def restart_count(self) -> int:
        """How often its restart policy has started it since somebody did so last."""
        return self._state.restarts

    @property
    def started_at(self) -> datetime | None:
        """When its command was executed last; None if it never was."""
        return _moment(self._state.started_at)

    @property
    def finished_at(self) -> datetime | None:
        """When it exited last; None if it never has."""
        return _moment(self._state.finished_at)

    @property
    def pid(self) -> int:
        """PID 1's number on this machine, 0 unless it runs."""
        return self._connection.pid() if self._state.status == "running" and not self._removed else 0

    @property
    def _connection(self) -> MonitorConnection:
        """Leads to its monitor. Raises ContainerNotFoundError in a forked child, if the monitor has ended."""
        if self._heard_by != os.getpid():
            self._become_a_childs()
        return self._own_connection

    def _become_a_childs(self) -> None:
        """Makes this copy in a forked child a handle as any other process has: what it heard on its parent's
        connection, the parent would wait for in vain.
        """
        try:
            self._own_connection = MonitorConnection.connect(self._directory)
        except OSError as error:
            raise ContainerNotFoundError(self._record.name) from error
        self._heard_by = os.getpid()

    @property
    def _state(self) -> ContainerState:
        """As its monitor has it now: what another process did, or heard of, is seen here too."""
        self._connection.refresh()
        return self._connection.state

    def _status_of(self, state: ContainerState) -> str:
        return "paused" if state.status == "running" and cgroups.is_frozen(self._cgroup) else state.status

    def exited_within(self, seconds: float) -> bool:
        """Waits for ``seconds`` at most; whether it has exited."""
        return self._exited(seconds) is not None

    # Where it is reached

    def port(self, port: Port) -> int:
        """The host port of a published container port (``6379``, ``"53/udp"``). Raises PortNotPublishedError."""
        return self.address(port)[1]

    def address(self, port: Port) -> tuple[str, int]:
        """Where a container port is reached from this machine: host and port. Raises PortNotPublishedError."""
        self._require_present()
        wanted = parse_port("port", port)
        published = self._published()
        for host_address, host_port, container_port, protocol in published:
            if (container_port, protocol) == (wanted.container_port, wanted.protocol):
                return _ANYWHERE.get(host_address, host_address), host_port
        raise PortNotPublishedError(
            self.name, str(port), tuple(f"{container_port}/{protocol}" for _, _, container_port, protocol in published)
        )

    @property
    def ports(self) -> tuple[PublishedPort, ...]:
        """The ports that lead into it now, by their numbers in it."""
        published = () if self._is_removed() else self._published()
        found = (PublishedPort(port, protocol, address, number) for address, number, port, protocol in published)
        return tuple(sorted(found, key=lambda port: (port.container_port, port.protocol)))

    def _published(self) -> tuple[tuple[str, int, int, str], ...]:
        """The ports that lead into it now: host address, host port, container port, protocol."""
        return self._connection.describe(self.name).ports

    # For its parts

    @property
    def _spec(self) -> ContainerSpec:
        return self._description.spec

    def _exited(self, timeout: float | None) -> ContainerState | None:
        """How it ended, waiting for that for ``timeout`` seconds; None if it has not."""
        return self._connection.exited(timeout)

    def _is_removed(self) -> bool:
        return self._removed

    def _require_present(self) -> None:
        if self._is_removed():
            raise ContainerNotFoundError(self.name)

    def _require_started(self, doing: str) -> None:
        self._require_present()
        # What was heard before says mostly that it runs; only what would be an error is asked for anew.
        if self._connection.state.runs == 0 and self._state.runs == 0:
            raise ContainerNotRunningError(self.name, doing, "created")

    def _require_running(self, doing: str) -> None:
        self._require_present()
        if (status := self._status_of(self._connection.state)) == "running":
            return
        if (status := self.status) == "paused":
            raise ContainerPausedError(self.name, doing)
        if status != "running":
            raise ContainerNotRunningError(self.name, doing, status)

    def _require_cgroup(self, doing: str) -> None:
        if not self._cgroup:
            raise ContainerHasNoCgroupError(self.name, doing)

    def _freeze(self) -> None:
        self._require_cgroup("pause")
        try:
            cgroups.freeze(self._cgroup)
        except TimeoutError as error:
            raise WaitTimeoutError(self.name, "pausing", cgroups.FREEZE_SECONDS) from error
        except OSError as error:
            raise UnsupportedLimitError("pause", "frozen", "freezer", ()) from error

    def _thaw(self) -> None:
        """Lets what is frozen, or about to be, go on, if anything is."""
        with suppress(FileNotFoundError):
            cgroups.thaw(self._cgroup)

    def _await_root_if_waiting(self) -> None:
        if isinstance(self._connection, Connection) and self._connection.is_waiting():
            self._connection.await_root()


def _moment(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
