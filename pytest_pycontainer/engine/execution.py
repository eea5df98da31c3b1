"""Starting a further process in a running container: what is asked of the monitor, and what it answers."""

from __future__ import annotations

import errno
import io
import os
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO, Final, TypeAlias

from pytest_pycontainer.engine.connection import MonitorConnection
from pytest_pycontainer.engine.container_process import ContainerProcess
from pytest_pycontainer.engine.process_streams import Output, ProcessStreams
from pytest_pycontainer.errors import (
    CommandNotExecutableError,
    CommandNotFoundError,
    ContainerError,
    ContainerNotRunningError,
    ExecStartError,
    InvalidSpecError,
    WaitTimeoutError,
)
from pytest_pycontainer.runtime import messages
from pytest_pycontainer.runtime.process import DIRECTORY_STEP, EXECUTE_STEP, kill_group
from pytest_pycontainer.runtime.spec import ProcessSpec, TerminalSize

_DOING = "exec in"
_START_SECONDS = 60.0
_END_SECONDS = 5.0

# subprocess's own values: who runs commands with it gives the same here.
PIPE: Final = -1
STDOUT: Final = -2
DEVNULL: Final = -3

Destination: TypeAlias = BinaryIO | int | None
"""Where an output goes: None to be read, a binary file, ``subprocess.DEVNULL``, for errors ``subprocess.STDOUT``."""


@dataclass(frozen=True, slots=True)
class Streams:
    """What a process is given to read from and to write to.

    Without ``stdin`` it reads nothing. With a ``terminal`` all is that, and what it shows goes to ``stdout``.
    A ``detached`` one goes on when its handle is left.
    """

    stdin: bool = False
    stdout: Destination = None
    stderr: Destination = None
    terminal: TerminalSize | None = None
    detached: bool = False

    def __post_init__(self) -> None:
        _check_destination("stdout", self.stdout, (PIPE, DEVNULL))
        _check_destination("stderr", self.stderr, (PIPE, DEVNULL, STDOUT))


def start_process(
    connection: MonitorConnection, container: str, process: ProcessSpec, streams: Streams, timeout: float | None = None
) -> ContainerProcess:
    """Starts ``process``; returns when it executes its command.

    Raises ContainerNotRunningError, CommandNotFoundError, CommandNotExecutableError, ExecStartError, and
    WaitTimeoutError after ``timeout`` seconds.
    """
    with ExitStack() as undone:
        with _Ends(undone) as ends:
            answers, report = ends.socket(), ends.socket()
            output, errors, input_ = Output(), Output(), -1
            if streams.terminal is None:
                input_ = ends.input() if streams.stdin else ends.nothing(os.O_RDONLY)
                output.descriptor = ends.output(streams.stdout)
                errors.descriptor = ends.output(streams.stderr)
            asked = connection.send(messages.Execute(process, streams.terminal), ends.theirs)
        hear = _Hearing(connection, container, process.command[0], timeout)
        if not asked:
            raise hear.not_running()
        started, descriptors = hear.next(answers)
        if not isinstance(started, messages.Executing):
            raise hear.failure(started)
        (pidfd,) = descriptors
        undone.callback(os.close, pidfd)
        undone.callback(kill_group, pidfd)  # unless all goes well
        if streams.terminal is not None:
            opened, descriptors = hear.next(answers)
            if isinstance(opened, messages.TerminalOpened):
                (output.descriptor,) = descriptors
                undone.callback(os.close, output.descriptor)
                if streams.stdin:
                    input_ = os.dup(output.descriptor)
                    undone.callback(os.close, input_)
        failed, _ = hear.next(report)
        if failed is not None or (streams.terminal is not None and output.ended):
            raise hear.failure(failed)
        output.sink, errors.sink = _as_sink(streams.stdout), _as_sink(streams.stderr)
        answers.settimeout(None)
        started_process = ContainerProcess(
            container,
            process.command,
            (started.pid, started.pid_in_container),
            pidfd,
            ProcessStreams(answers, input_, (output, errors), terminal=streams.terminal is not None),
            output,
            errors,
            terminal=streams.terminal is not None,
            detached=streams.detached,
        )
        undone.pop_all()
    report.close()
    return started_process


def _check_destination(field: str, destination: Destination, constants: tuple[int, ...]) -> None:
    known = destination is None or (
        destination in constants if isinstance(destination, int) else hasattr(destination, "write")
    )
    if not known or isinstance(destination, io.TextIOBase):
        raise InvalidSpecError(
            field, repr(destination), "a file opened in binary mode, or one of subprocess's constants"
        )


def _as_sink(destination: Destination) -> BinaryIO | None:
    return None if isinstance(destination, int) else destination


class _Ends:
    """The streams' ends: ``theirs`` are closed on leaving it, and what its methods return when all is ``undone``."""

    def __init__(self, undone: ExitStack) -> None:
        self.theirs: list[int] = []
        self._undone = undone
        self._leaving = ExitStack()

    def __enter__(self) -> _Ends:
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.close()

    def socket(self) -> socket.socket:
        """Our end of a pair."""
        ours, theirs = socket.socketpair()
        self._undone.callback(ours.close)
        self._leaving.callback(theirs.close)
        self.theirs.append(theirs.fileno())
        return ours

    def nothing(self, flags: int) -> int:
        """They get the null device, and we have no end."""
        self._give(os.open(os.devnull, flags | os.O_CLOEXEC))
        return -1

    def input(self) -> int:
        """They read what we write."""
        theirs, ours = os.pipe()
        self._give(theirs)
        self._undone.callback(os.close, ours)
        return ours

    def output(self, destination: Destination) -> int:
        """We read what they write, unless it goes to the null device, or where the output before it goes."""
        if destination == DEVNULL:
            return self.nothing(os.O_WRONLY)
        if destination == STDOUT:
            self.theirs.append(self.theirs[-1])
            return -1
        ours, theirs = os.pipe()
        self._give(theirs)
        self._undone.callback(os.close, ours)
        return ours

    def _give(self, descriptor: int) -> None:
        self.theirs.append(descriptor)
        self._leaving.callback(os.close, descriptor)


class _Hearing:
    """What is heard until the command is executed."""

    def __init__(self, connection: MonitorConnection, container: str, command: str, timeout: float | None) -> None:
        self._connection = connection
        self._container = container
        self._command = command
        self._seconds = _START_SECONDS if timeout is None else min(timeout, _START_SECONDS)
        self._until = time.monotonic() + self._seconds

    def next(self, channel: socket.socket) -> tuple[messages.Message | None, list[int]]:
        """The next message, None if the other end is closed. Raises WaitTimeoutError."""
        channel.settimeout(max(0.001, self._until - time.monotonic()))
        try:
            return messages.receive(channel) or (None, [])
        except TimeoutError as error:
            raise WaitTimeoutError(self._container, f"starting {self._command!r} in", self._seconds) from error

    def failure(self, answer: messages.Message | None) -> ContainerError:
        """The error that an answer, or none, stands for."""
        if not isinstance(answer, messages.Failed) or self._has_ended(answer):
            return self.not_running()
        missing = answer.errno == errno.ENOENT
        if answer.step == EXECUTE_STEP and missing:
            return CommandNotFoundError(self._container, self._command, _DOING)
        if answer.step == EXECUTE_STEP:
            return CommandNotExecutableError(self._container, self._command, answer.detail, _DOING)
        code = 127 if missing and answer.step.startswith(DIRECTORY_STEP) else 126
        return ExecStartError(self._container, answer.step, answer.detail, code)

    def _has_ended(self, failed: messages.Failed) -> bool:
        """Whether it failed because the container has ended, which is about to be told."""
        seconds = _END_SECONDS if failed.errno in (errno.ESRCH, errno.ENOMEM) else 0.0
        return self._connection.await_state(lambda state: state.status != "running", seconds) is not None

    def not_running(self) -> ContainerNotRunningError:
        """The error of a container that has ended."""
        status = "removed" if self._connection.gone else self._connection.state.status
        return ContainerNotRunningError(self._container, _DOING, "exited" if status == "running" else status)
