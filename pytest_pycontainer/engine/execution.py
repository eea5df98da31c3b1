"""A further process in a running container: asking for it, feeding it, collecting what it says."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pytest_pycontainer.engine.connection import MonitorConnection, raise_failed
from pytest_pycontainer.errors import ContainerNotRunningError, WaitTimeoutError
from pytest_pycontainer.runtime import messages
from pytest_pycontainer.runtime.spec import ProcessSpec

_READ_SIZE = 64 * 1024


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What came of a process: its exit code (128 + n where signal n ended it), and what it wrote."""

    exit_code: int
    stdout_bytes: bytes
    stderr_bytes: bytes

    @property
    def stdout(self) -> str:
        """Standard output as text (UTF-8; what is not, as replacement characters)."""
        return self.stdout_bytes.decode(errors="replace")

    @property
    def stderr(self) -> str:
        """Standard error as text (UTF-8; what is not, as replacement characters)."""
        return self.stderr_bytes.decode(errors="replace")


def execute_in(
    connection: MonitorConnection, container: str, process: ProcessSpec, stdin: bytes, timeout: float | None
) -> ExecResult:
    """Runs ``process`` in the container to its end.

    Raises ContainerNotRunningError, ContainerStartError or one of its kinds, and WaitTimeoutError after ``timeout``
    seconds, having killed the process.
    """
    answers, answers_end = socket.socketpair()
    input_end, input_ = os.pipe()
    output, output_end = os.pipe()
    errors, errors_end = os.pipe()
    with answers, _closing(input_, output, errors) as still_open:
        with answers_end, _closing(input_end, output_end, errors_end):
            descriptors = [answers_end.fileno(), input_end, output_end, errors_end]
            if not connection.send(messages.Execute(process), descriptors):
                raise ContainerNotRunningError(container, "exec in", "exited")
        pidfd = -1
        try:
            started, descriptors = _receive(answers, container)
            if isinstance(started, messages.Failed):
                raise_failed(container, process.command[0], started)
            (pidfd,) = descriptors
            collected = _communicate(pidfd, input_, output, errors, stdin, still_open, timeout)
            if collected is None:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                raise WaitTimeoutError(container, f"exec of {process.command[0]!r} in", timeout or 0.0)
            answer, _ = _receive(answers, container)
            if isinstance(answer, messages.Failed):
                raise_failed(container, process.command[0], answer)
            assert isinstance(answer, messages.Exited)
            return ExecResult(answer.code, collected[output], collected[errors])
        finally:
            if pidfd >= 0:
                os.close(pidfd)


def _receive(answers: socket.socket, container: str) -> tuple[messages.Message, list[int]]:
    received = messages.receive(answers)
    if received is None:
        raise ContainerNotRunningError(container, "exec in", "exited")
    return received


@contextmanager
def _closing(*descriptors: int) -> Iterator[set[int]]:
    """Closes what is still in the set at the end."""
    still_open = set(descriptors)
    try:
        yield still_open
    finally:
        for descriptor in still_open:
            os.close(descriptor)


def _communicate(
    pidfd: int, input_: int, output: int, errors: int, stdin: bytes, still_open: set[int], timeout: float | None
) -> dict[int, bytes] | None:
    """Writes ``stdin`` and reads both outputs until the process ends; None if ``timeout`` seconds pass before.

    What it started in the background may keep the outputs open: that is not waited for, as docker does not.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    collected = {output: bytearray(), errors: bytearray()}
    remaining = memoryview(stdin)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(input_, select.POLLOUT)
    reading = set(collected)
    for descriptor in reading:
        poll.register(descriptor, select.POLLIN)
    for descriptor in still_open:
        os.set_blocking(descriptor, False)
    ended = False
    while not ended:
        limit = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        ready = [descriptor for descriptor, _ in poll.poll(limit)]
        if not ready:
            return None
        ended = pidfd in ready
        if input_ in ready:
            remaining = _write_some(input_, remaining)
            if not remaining:
                poll.unregister(input_)
                os.close(input_)
                still_open.remove(input_)
        for descriptor in tuple(reading):
            if (ended or descriptor in ready) and _read_all(descriptor, collected[descriptor]):
                poll.unregister(descriptor)
                reading.remove(descriptor)
    return {descriptor: bytes(data) for descriptor, data in collected.items()}


def _write_some(descriptor: int, data: memoryview) -> memoryview:
    """Writes what the pipe takes, and returns what is left: nothing, if the process reads no more."""
    try:
        return data[os.write(descriptor, data) :] if data else data
    except BrokenPipeError:
        return data[:0]


def _read_all(descriptor: int, data: bytearray) -> bool:
    """Reads what the pipe holds; whether its other end is closed."""
    try:
        while part := os.read(descriptor, _READ_SIZE):
            data += part
    except BlockingIOError:
        return False
    return True
