"""``Container``: the handle on one container."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

from pytest_pycontainer.engine import arguments
from pytest_pycontainer.engine.attachment import Attachment
from pytest_pycontainer.engine.connection import Connection
from pytest_pycontainer.engine.defaults import STOP_SECONDS
from pytest_pycontainer.engine.execution import ExecResult, execute_in
from pytest_pycontainer.engine.files import ContainerFiles, open_left_root, open_running_root
from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.log import follow_log, read_last_lines, read_log
from pytest_pycontainer.engine.records import ContainerRecord, Reservation
from pytest_pycontainer.engine.resources import Resources
from pytest_pycontainer.errors import (
    ContainerNotFoundError,
    ContainerNotRunningError,
    ContainerRunningError,
    ContainerStartError,
    InvalidSpecError,
    PortNotPublishedError,
    WaitTimeoutError,
)
from pytest_pycontainer.runtime import logs
from pytest_pycontainer.runtime.logs import LogEntry
from pytest_pycontainer.runtime.messages import Exited
from pytest_pycontainer.runtime.spec import ContainerSpec

if TYPE_CHECKING:
    from pytest_pycontainer.store.changes import Change

_REMOVAL_SECONDS = 30.0
_TAIL_LINES = 30


class Container(ContainerFiles):
    """One container, from its making to its removal.

    A context manager: leaving it removes the container, running or not. Safe to use from several threads. Calls on a
    removed container raise ContainerNotFoundError.
    """

    def __init__(
        self,
        record: ContainerRecord,
        image: Image,
        spec: ContainerSpec,
        stop_signal: int,
        *,
        resources: Resources,
        reservation: Reservation,
        connection: Connection,
        attachment: Attachment | None,
        forget: Callable[[Container], None],
    ) -> None:
        self._record = record
        self._spec = spec
        self._process = spec.process
        self._stop_signal = stop_signal
        self._reservation = reservation
        self._directory = reservation.directory
        self._resources = resources
        self._connection = connection
        self._attachment = attachment
        self._forget = forget
        self._lock = threading.RLock()
        self._process_of_owner = os.getpid()
        self._started = False
        self._removed = False
        self.image: Image = image

    def __repr__(self) -> str:
        return f"<Container {self.name} ({self.short_id}), {self.image.name}, {self.status}>"

    def __enter__(self) -> Container:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not self._removed:
            # Once it is removed, nobody can look into its log any more.
            error.add_note(f"{self!r} had printed last:\n{self.log_tail() or '(nothing)'}")
        self.remove(force=True)

    # What it is

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
        return self._record.name

    @property
    def command(self) -> tuple[str, ...]:
        """What PID 1 executes."""
        return self._record.command

    @property
    def status(self) -> str:
        """``created``, ``running``, ``exited`` or ``removed``."""
        if self._removed:
            return "removed"
        if self._started:
            return "running" if self._exited(0) is None else "exited"
        return "created"

    @property
    def exit_code(self) -> int | None:
        """The exit code, 128 + n where signal n ended it; None as long as it has not exited."""
        exited = self._exited(0) if self._started and not self._removed else None
        return None if exited is None else exited.code

    @property
    def out_of_memory(self) -> bool:
        """Whether the kernel ended a process of it for want of memory; known once it has exited."""
        exited = self._exited(0) if self._started and not self._removed else None
        return exited is not None and exited.out_of_memory

    @property
    def pid(self) -> int:
        """PID 1's number on this machine, 0 unless it runs."""
        return self._connection.pid() if self.status == "running" else 0

    @property
    def ip_address(self) -> str:
        """The address in its network, reachable from this machine; empty without a network."""
        return "" if self._attachment is None else str(self._attachment.address)

    @property
    def upper(self) -> Path:
        """The directory on this machine that holds what it wrote, in overlayfs's form."""
        return self._directory / "upper"

    # Life and death

    def start(self) -> None:
        """Publishes the ports and executes the command; returns when it runs.

        Raises CommandNotFoundError, CommandNotExecutableError, ContainerStartError (the step), PortInUseError.
        """
        with self._lock:
            self._require_present()
            if self._started:
                if self.status == "running":
                    raise ContainerRunningError(self.name, "start")
                raise ContainerStartError(self.name, "start it again", "a container runs once here; run another")
            if self._attachment is not None:
                self._attachment.publish()
            try:
                self._connection.start()
            except BaseException:
                if self._attachment is not None:
                    self._attachment.unpublish()
                raise
            self._started = True

    def wait(self, timeout: float | None = None) -> int:
        """Waits until it exits; returns the exit code. Raises WaitTimeoutError after ``timeout`` seconds."""
        self._require_started("wait for")
        exited = self._exited(timeout)
        if exited is None:
            raise WaitTimeoutError(self.name, "waiting for", timeout or 0.0)
        return exited.code

    def kill(self, signal: int | str = "SIGKILL") -> None:
        """Sends PID 1 a signal. Raises ContainerNotRunningError if there is none to send it to."""
        number = arguments.parse_signal(signal)
        self._require_started("kill")
        if self._exited(0) is not None or not self._connection.send_signal(number):
            raise ContainerNotRunningError(self.name, "kill", "exited")

    def stop(self, timeout: float = STOP_SECONDS) -> int:
        """Sends the image's stop signal, and SIGKILL after ``timeout`` seconds; returns the exit code.

        Stopping what has exited is no error.
        """
        self._require_started("stop")
        if self._exited(0) is None:
            self._connection.send_signal(self._stop_signal)
            if self._exited(timeout) is None:
                self._connection.send_signal(arguments.parse_signal("SIGKILL"))
        return self.wait(_REMOVAL_SECONDS)

    def remove(self, force: bool = False) -> None:
        """Removes it with all it wrote. A running one only with ``force``: it is killed, without grace.

        Removing it again is no error. Raises ContainerRunningError, and WaitTimeoutError if it can't be ended.
        """
        if os.getpid() != self._process_of_owner:
            return  # a child that the owner has forked holds a copy of the handle, not the container
        with self._lock:
            if self._removed:
                return
            if self.status == "running" and not force:
                raise ContainerRunningError(self.name, "remove")
            self._connection.send_signal(arguments.parse_signal("SIGKILL"))
            exited = self._exited(_REMOVAL_SECONDS)
            if exited is None:
                raise WaitTimeoutError(self.name, "ending", _REMOVAL_SECONDS)
            self._removed = True
            try:
                if self._attachment is not None:
                    self._attachment.close()
            finally:
                self._connection.close()
                self._forget(self)
                self._resources.records.remove(self._reservation, self.name)

    # What it does

    def exec(
        self,
        command: arguments.Command,
        *,
        env: arguments.Environment | None = None,
        user: str | int | None = None,
        workdir: str | None = None,
        stdin: str | bytes | None = None,
        timeout: float | None = None,
    ) -> ExecResult:
        """Runs a further command in the container to its end, by default as the container's user, in its directory.

        ``env`` adds to the container's environment. Raises ContainerNotRunningError, CommandNotFoundError,
        CommandNotExecutableError, and WaitTimeoutError after ``timeout`` seconds, having killed the command.
        """
        self._require_started("exec in")
        if self._exited(0) is not None:
            raise ContainerNotRunningError(self.name, "exec in", "exited")
        parsed = arguments.parse_command(command)
        if not parsed:
            raise InvalidSpecError("command", str(command), "at least the name of a program")
        process = replace(
            self._process,
            command=parsed,
            environment=(
                *self._process.environment,
                *(f"{k}={v}" for k, v in arguments.parse_environment(env).items()),
            ),
            user=self._process.user if user is None else arguments.parse_user(user) or "",
            working_directory=arguments.parse_text("workdir", workdir) or self._process.working_directory,
        )
        data = stdin.encode() if isinstance(stdin, str) else stdin or b""
        return execute_in(self._connection, self.name, process, data, timeout)

    def export(self, file: str | os.PathLike[str] | BinaryIO) -> None:
        """Writes its whole root file system, as it is now, as one plain tar archive, as ``docker export`` does.

        Running, exited or not yet started; ``file`` is a path, or anything to write bytes to. What is mounted in it is
        left out: /proc, /sys and /dev are empty directories, /etc/hosts, /etc/hostname and /etc/resolv.conf empty
        files. A file that is written to meanwhile is as long as it was when its turn came. Raises ImageNotPortableError
        for the host image and what stands on it, and StoreError.
        """
        from pytest_pycontainer.engine.exporting import export_root

        with self._lock:  # its files must not be removed meanwhile
            self._require_present()
            export_root(self.image, self.upper, file)

    def diff(self) -> list[Change]:
        """What it has added (``A``), changed (``C``) or deleted (``D``), sorted by path, as ``docker diff`` tells.

        What is mounted in it is left out, with the places that were made for it. Raises StoreError.
        """
        from pytest_pycontainer.engine.committing import changes_of

        with self._lock:
            self._require_present()
            return changes_of(self._spec, self.upper)

    def commit(
        self, tag: str | None = None, *, changes: Sequence[str] = (), message: str = "", author: str = ""
    ) -> Image:
        """Makes an image of what it has written, with the command, environment, user and directory that it has.

        ``changes`` are Dockerfile instructions for the config, as ``docker commit -c`` takes them. What is in volumes
        is no part of it. A running container has to be stopped first: half of what it writes would be in the image.
        Raises ContainerRunningError, DockerfileError, InvalidReferenceError, and StoreError.
        """
        from pytest_pycontainer.engine.committing import commit

        if isinstance(changes, str):
            raise InvalidSpecError("changes", changes, "a list of Dockerfile instructions")
        with self._lock:
            self._require_present()
            if self.status == "running":
                raise ContainerRunningError(self.name, "commit")
            if not self._started:
                self._connection.await_root()
            return commit(
                self._resources.store,
                self.image,
                self._spec,
                self.upper,
                tag=tag,
                changes=changes,
                message=message,
                author=author,
            )

    def logs(self, *, stdout: bool = True, stderr: bool = True, tail: int | None = None) -> str:
        """What it wrote until now, as text (UTF-8); ``tail``: the last lines only.

        Standard output and error come in the order in which they were read, which for what was written to both at the
        same moment may be another than that of writing.
        """
        return self.logs_bytes(stdout=stdout, stderr=stderr, tail=tail).decode(errors="replace")

    def logs_bytes(self, *, stdout: bool = True, stderr: bool = True, tail: int | None = None) -> bytes:
        """What it wrote until now, as it wrote it."""
        self._require_present()
        streams = [stream for stream, wanted in ((logs.STDOUT, stdout), (logs.STDERR, stderr)) if wanted]
        if tail is None:
            return read_log(self._directory, streams)
        return read_last_lines(self._directory, streams, tail)

    def log_tail(self) -> str:
        """The last lines of its log, for an error's message."""
        return self.logs(tail=_TAIL_LINES)

    def follow(self, timeout: float | None = None) -> Iterator[list[LogEntry]]:
        """What it writes, from the start, as it comes, until it exits; an empty list says that ``timeout`` s passed."""
        self._require_started("follow the log of")
        return follow_log(self._directory, self._connection.exit_descriptor, timeout)

    def exited_within(self, seconds: float) -> bool:
        """Waits for ``seconds`` at most; whether it has exited."""
        return self._exited(seconds) is not None

    # Where it is reached

    def port(self, port: arguments.Port) -> int:
        """The host port of a published container port (``6379``, ``"53/udp"``). Raises PortNotPublishedError."""
        return self.address(port)[1]

    def address(self, port: arguments.Port) -> tuple[str, int]:
        """Where a container port is reached from this machine: host and port. Raises PortNotPublishedError."""
        self._require_present()
        (wanted,) = arguments.parse_ports([port])
        published = () if self._attachment is None else self._attachment.published
        for candidate in published:
            if (candidate.container_port, candidate.protocol) == (wanted.container_port, wanted.protocol):
                host = "127.0.0.1" if candidate.host_address == "0.0.0.0" else candidate.host_address  # noqa: S104
                return host, candidate.host_port
        raise PortNotPublishedError(
            self.name, str(port), tuple(f"{have.container_port}/{have.protocol}" for have in published)
        )

    @contextmanager
    def _open_root(self) -> Iterator[int]:
        with self._lock:  # its files must not be removed meanwhile, nor two mount what it has left
            self._require_present()
            if not self._started:
                self._connection.await_root()
            root = open_running_root(self._connection)
            if root is None:
                root = open_left_root(self._connection, self._resources.spawner, self._spec, self._directory, self.name)
            try:
                yield root
            finally:
                os.close(root)

    def _exited(self, timeout: float | None) -> Exited | None:
        """How it ended, waiting for that for ``timeout`` seconds; its ports are taken back as soon as that is known.

        Until then a connection to them would wait for an address that nobody answers for.
        """
        exited = self._connection.exited(timeout)
        if exited is not None and self._attachment is not None:
            self._attachment.unpublish()
        return exited

    def _require_present(self) -> None:
        if self._removed:
            raise ContainerNotFoundError(self.name)

    def _require_started(self, doing: str) -> None:
        self._require_present()
        if not self._started:
            raise ContainerNotRunningError(self.name, doing, "created")
