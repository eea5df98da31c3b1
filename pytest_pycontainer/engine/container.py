"""``Container``: the handle on one container."""

from __future__ import annotations

import os
import signal as signals
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self

from pytest_pycontainer.engine import arguments
from pytest_pycontainer.engine.attachment import Attachment
from pytest_pycontainer.engine.connection import Connection, MonitorConnection
from pytest_pycontainer.engine.container_changes import ContainerChanges
from pytest_pycontainer.engine.container_health import ContainerHealth
from pytest_pycontainer.engine.container_networks import ContainerNetworks
from pytest_pycontainer.engine.container_output import ContainerOutput
from pytest_pycontainer.engine.container_processes import ContainerProcesses
from pytest_pycontainer.engine.container_sockets import ContainerSockets
from pytest_pycontainer.engine.container_streams import ContainerStreams
from pytest_pycontainer.engine.files import ContainerFiles, alone_with_what_is_left, open_left_root, open_running_root
from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.isolation import ContainerIsolation
from pytest_pycontainer.engine.measurements import ContainerMeasurements
from pytest_pycontainer.engine.readiness import READY_SECONDS, Wait, parse_wait
from pytest_pycontainer.engine.records import ContainerRecord, Reservation
from pytest_pycontainer.engine.removals import REMOVAL_SECONDS
from pytest_pycontainer.engine.resources import Resources
from pytest_pycontainer.errors import (
    ContainerNotPausedError,
    ContainerNotRunningError,
    ContainerRunningError,
    InvalidSpecError,
    WaitTimeoutError,
)
from pytest_pycontainer.kernel.namespaces import PID
from pytest_pycontainer.runtime import messages
from pytest_pycontainer.runtime.spec import ContainerDescription, IdMap
from pytest_pycontainer.runtime.state import ContainerState
from pytest_pycontainer.store.calling import Caller

_ACTIVE: Final = ("running", "paused", "restarting")


class Container(
    ContainerProcesses,
    ContainerStreams,
    ContainerOutput,
    ContainerChanges,
    ContainerMeasurements,
    ContainerIsolation,
    ContainerHealth,
    ContainerNetworks,
    ContainerSockets,
    ContainerFiles,
):
    """One container, from its making to its removal.

    A context manager: leaving it removes the container, running or not (see ``end``). Safe to use from several threads.
    Calls on a removed container raise ContainerNotFoundError. What any process of the machine does to the container is
    seen by all handles on it; those of other processes than its owner's are made by ``Engine.find``. In a child that
    the owner has forked, its copy is such a handle, and removes nothing.
    """

    def __init__(
        self,
        record: ContainerRecord,
        image: Image,
        description: ContainerDescription,
        *,
        resources: Resources,
        reservation: Reservation,
        connection: MonitorConnection,
        attachment: Attachment | None = None,
        forget: Callable[[Container], None] | None = None,
    ) -> None:
        super().__init__(
            record,
            image,
            description,
            resources=resources,
            directory=reservation.directory,
            cgroup=reservation.cgroup,
            connection=connection,
        )
        self._reservation = reservation
        self._attachment = attachment
        self._forget = forget
        self._process_of_owner = os.getpid()
        self.is_kept = False
        """Whether it stays, though its block, scope or engine has ended."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        is_told = getattr(error, "container", None) == self.name and hasattr(error, "log_tail")
        if isinstance(error, Exception) and not is_told and not self._is_removed():
            # Once it is removed, nobody can look into its log any more.
            error.add_note(f"{self!r} had printed last:\n{self.log_tail() or '(nothing)'}")
        self.end(error)

    def end(self, error: BaseException | None = None) -> None:
        """Removes it, running or not, unless the engine's extensions want it to stay; ``error`` is why it ends.

        Then its processes have ended, and nobody finds it; its directory and cgroup may be there for some milliseconds.
        """
        keeps = self._resources.extensions.keeps
        if keeps is not None and not self.is_kept and not self._is_removed():
            self.is_kept = keeps(self, error)
        if not self.is_kept:
            self._remove_as_told(force=True, at_once=False)

    # Life and death

    def start(self) -> None:
        """Publishes the ports and executes the command; returns when it runs.

        One that has exited starts again, with the same command and address, and with what it has written. Raises
        ContainerRunningError, CommandNotFoundError, CommandNotExecutableError, ContainerStartError (the step), and
        PortInUseError.
        """
        with self._lock:
            self._require_present()
            first = isinstance(self._connection, Connection) and self._connection.is_waiting()
            if (self._connection.state.status if first else self.status) in _ACTIVE:
                raise ContainerRunningError(self.name, "start")
            attachment = self._attachment
            if attachment is not None:
                attachment.unpublish()  # of a run whose end nobody has asked for
                attachment.publish()
            try:
                if isinstance(self._connection, Connection) and self._connection.is_waiting():
                    self._connection.start_first()
                else:
                    self._connection.start(self.name, self.command[0])
            except BaseException:
                if attachment is not None:
                    attachment.unpublish()
                raise
            if attachment is not None and attachment.published:
                self._tell_of_ports(attachment)
            for observer in self._resources.extensions.observers:
                observer.after_start(self)

    def wait(self, timeout: float | None = None) -> int:
        """Waits until it exits; returns the exit code. Raises WaitTimeoutError after ``timeout`` seconds.

        One with a restart policy has exited when it is not started again any more.
        """
        self._require_started("wait for")
        exited = self._exited(arguments.parse_timeout(timeout))
        if exited is None:
            raise WaitTimeoutError(self.name, "waiting for", timeout or 0.0)
        return exited.exit_code

    def wait_for(self, wait: Wait | str, timeout: float = READY_SECONDS) -> None:
        """Returns when it is what ``wait`` is for: something of ``pytest_pycontainer.wait``, or the name of one.

        Raises ContainerExitedError if it exits before, and ContainerNotReadyError after ``timeout`` seconds, unless
        ``wait`` was given a time of its own.
        """
        wanted, seconds = parse_wait(wait), arguments.parse_seconds(timeout)
        if wanted is None:
            raise InvalidSpecError("wait", "None", "something such as wait.port(80)")
        wanted.until_ready(self, seconds)

    def kill(self, signal: int | str = "SIGKILL") -> None:
        """Sends PID 1 a signal. Raises ContainerNotRunningError if there is none to send it to.

        After SIGKILL, or the image's stop signal, no restart policy starts it again. One that is paused goes on.
        """
        number = arguments.parse_signal(signal)
        self._require_present()
        self._signal("kill", number, ends=number in (signals.SIGKILL, self._description.stop_signal))

    def stop(self, timeout: float | None = None) -> int:
        """Sends its stop signal, and SIGKILL after ``timeout`` seconds; returns the exit code.

        Without ``timeout`` it is the container's ``stop_timeout``. Stopping what has exited is no error, nor what was
        never started: that has the code 0.
        """
        grace = arguments.parse_timeout(self._description.stop_seconds if timeout is None else timeout)
        if self._connection.state.runs == 0 and self.status == "created":
            return 0
        self._require_started("stop")
        for number, seconds in ((self._description.stop_signal, grace), (signals.SIGKILL, REMOVAL_SECONDS)):
            try:
                self._signal("stop", number, ends=True)
            except ContainerNotRunningError:
                break
            if self._exited(seconds) is not None:
                break
        return self.wait(REMOVAL_SECONDS)

    def restart(self, timeout: float | None = None) -> None:
        """Stops it, as ``stop`` does, if it runs, and starts it. Raises what these raise."""
        with self._lock:
            self._require_present()
            if self.status in _ACTIVE:
                self.stop(timeout)
            self.start()

    def pause(self) -> None:
        """Freezes all its processes. Raises ContainerNotRunningError, and ContainerPausedError if it is paused."""
        with self._lock:
            self._require_running("pause")
            self._freeze()

    def unpause(self) -> None:
        """Lets its processes go on. Raises ContainerNotPausedError if it is not paused."""
        with self._lock:
            self._require_present()
            if (status := self.status) != "paused":
                raise ContainerNotPausedError(self.name, status)
            self._thaw()

    def inspect(self) -> dict[str, Any]:
        """All that is known of it, in the fields that ``docker inspect`` has for that. Raises StoreError."""
        from pytest_pycontainer.engine.inspection import inspect_container

        self._require_present()
        return inspect_container(self, self._described())

    def rename(self, name: str) -> None:
        """Gives it another name. Raises InvalidSpecError, and NameInUseError if another container has it."""
        wanted = arguments.parse_name(name)
        if wanted is None:
            raise InvalidSpecError("name", repr(name), "the container's new name")
        with self._lock:
            self._require_present()
            self._resources.records.rename(replace(self._record, name=self.name), wanted)
            self._connection.tell_name(self.name, wanted)
            if self._attachment is not None:
                self._attachment.rename(wanted)

    def remove(self, force: bool = False) -> None:
        """Removes it with all it wrote, anonymous volumes too.

        A running one only with ``force``: it is killed, without grace. Removing it again is no error. Raises
        ContainerRunningError, and WaitTimeoutError if it can't be ended.
        """
        self._remove_as_told(force, at_once=True)

    def _remove_as_told(self, force: bool, *, at_once: bool) -> None:
        if os.getpid() != self._process_of_owner:
            return  # a child that the owner has forked holds a copy of the handle, not the container
        with self._lock:
            if self._removed:
                return
            if not force and self.status in _ACTIVE:
                raise ContainerRunningError(self.name, "remove")
            with ExitStack() as removing:
                removing.callback(self._remove, at_once)  # whatever observers do
                for observer in self._resources.extensions.observers:
                    observer.before_remove(self)

    def _remove(self, at_once: bool) -> None:
        """With ``at_once`` all that it had is gone then."""
        if self._removed:
            return
        # Whose processes do not end with PID 1, or whose owner this is not, is waited for.
        at_once = at_once or self._shares_processes() or not isinstance(self._connection, Connection)
        self._thaw()
        # The name first: once the directory is gone, anybody may take it.
        records = self._resources.records
        (records.free_name if at_once else records.retire)(self.name, self.id)
        self._connection.send(messages.Remove())
        ended = self._connection.await_state(lambda state: not at_once and state.status == "exited", REMOVAL_SECONDS)
        if ended is None:
            raise WaitTimeoutError(self.name, "ending", REMOVAL_SECONDS)
        self._let_go(at_once or self._connection.gone)  # a monitor that was killed removes nothing

    def _shares_processes(self) -> bool:
        namespaces = self._description.namespaces
        return bool(namespaces.machine & PID) or PID in namespaces.joined

    def await_removal(self) -> None:
        """Waits until it is gone, removed by anybody or ended with its monitor."""
        self._connection.await_gone(None)

    def release(self) -> None:
        """Lets go of another engine's container, which goes on without this handle."""
        self._removed = True
        self._connection.close()

    def _become_a_childs(self) -> None:
        super()._become_a_childs()
        self._attachment = None  # to be used by the owner alone

    def _let_go(self, at_once: bool = True) -> None:
        """It is gone: closes what this handle has of it, and removes what its monitor may have left.

        Unless that is to be ``at_once``, its monitor is still at it.
        """
        self._removed = True
        self.is_kept = False
        if os.getpid() != self._process_of_owner:
            return
        with ExitStack() as closing:
            records, connection, reservation = self._resources.records, self._connection, self._reservation
            if at_once:
                closing.callback(records.remove, reservation)
                closing.callback(connection.close)
            else:
                closing.callback(self._resources.removals.add, self.name, connection, reservation, records)
            if self._forget is not None:
                closing.callback(self._forget, self)
            if self._attachment is not None:
                closing.callback(self._attachment.close)

    def _signal(self, doing: str, number: int, *, ends: bool) -> None:
        try:
            self._connection.signal(self.name, number, ends=ends)
        except ContainerNotRunningError as error:
            raise ContainerNotRunningError(self.name, doing, error.status) from None
        if number in (signals.SIGKILL, self._description.stop_signal):
            self._thaw()  # it is to be heard

    # For its parts

    def _published(self) -> tuple[tuple[str, int, int, str], ...]:
        if self._attachment is None:
            return super()._published()
        return tuple(
            (have.host_address, have.host_port, have.container_port, have.protocol)
            for have in self._attachment.published
        )

    @property
    def _call(self) -> Caller:
        return self._resources.call

    @contextmanager
    def _open_root(self) -> Iterator[tuple[int, IdMap | None]]:
        with ExitStack() as held:
            held.enter_context(self._lock)  # its files must not be removed meanwhile
            self._require_present()
            self._await_root_if_waiting()
            root, ids = open_running_root(self._connection), self.id_map()
            if root is None:
                ids = None  # what is on disk has the container's own numbers
                held.enter_context(alone_with_what_is_left(self._directory, self.name))
                resources = self._resources
                root = open_left_root(
                    self._connection, resources.spawner, self._spec, self._directory, self.name, resources.call
                )
            held.callback(os.close, root)
            yield root, ids

    def _exited(self, timeout: float | None) -> ContainerState | None:
        """As its base's. Its host ports are given back as soon as that is known: others may want them."""
        exited = super()._exited(timeout)
        if exited is not None and self._attachment is not None:
            with self._lock:  # another thread may start it again, and publish them for that
                if self._state.status == "exited":
                    self._attachment.unpublish()
        return exited

    def _is_removed(self) -> bool:
        """Whether it is gone, by this handle or by another process."""
        if not self._removed and not self._directory.exists():
            with self._lock:
                if not self._removed:
                    self._let_go()
        return self._removed
