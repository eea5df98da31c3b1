"""``ContainerProcess``: the handle on a further process in a container."""

from __future__ import annotations

import io
import os
import signal as signals
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import BinaryIO, TypeAlias

from pytest_pycontainer.engine import arguments
from pytest_pycontainer.engine.output_stream import OutputStream
from pytest_pycontainer.engine.process_streams import Output, ProcessStreams
from pytest_pycontainer.errors import InvalidSpecError, WaitTimeoutError
from pytest_pycontainer.runtime.process import kill_group

_READ_SIZE = 64 * 1024

Input: TypeAlias = str | bytes | BinaryIO | None
"""What a process reads: text, bytes, or a file opened in binary mode."""


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


class ContainerProcess:
    """A further process in a container, much as ``subprocess.Popen`` has it.

    A context manager: leaving it kills what still runs, unless it was started detached. A process goes on when its
    handle is only closed, or the caller's process ends, as docker's does; what it writes is thrown away then. Whoever
    waits for anything moves all streams: what is written and not read yet is kept in memory, and the process does not
    wait for a reader meanwhile. Safe to use from several threads.
    """

    def __init__(
        self,
        container: str,
        command: tuple[str, ...],
        numbers: tuple[int, int],
        pidfd: int,
        streams: ProcessStreams,
        output: Output,
        errors: Output,
        *,
        terminal: bool = False,
        detached: bool = False,
    ) -> None:
        self.container = container
        self.command = command
        self.pid, self.pid_in_container = numbers
        self.stdout = OutputStream(container, streams, output)
        self.stderr = OutputStream(container, streams, errors)
        self._pidfd = pidfd
        self._streams = streams
        self._outputs = output, errors
        self._terminal = terminal
        self._detached = detached
        self._closed = False

    def __repr__(self) -> str:
        state = "runs" if self.exit_code is None else f"exited with {self.exit_code}"
        return f"<ContainerProcess {self.pid} in {self.container}, {self.command!r}, {state}>"

    def __enter__(self) -> ContainerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._detached and self.exit_code is None:
            kill_group(self._pidfd)
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            told = f"the handle on process {self.pid} in {self.container!r} was not closed"
            warnings.warn(told, ResourceWarning, source=self, stacklevel=2)
            self.close()

    def close(self) -> None:
        """Lets go of it, running or not. Closing it again is no error."""
        if not self._closed:
            self._closed = True
            self._streams.close()
            pidfd, self._pidfd = self._pidfd, -1
            os.close(pidfd)

    # How it is

    @property
    def exit_code(self) -> int | None:
        """128 + n where signal n ended it; None while it runs."""
        return self._streams.exit_code

    def wait(self, timeout: float | None = None) -> int:
        """Waits until it has ended; returns the exit code. Raises WaitTimeoutError after ``timeout`` seconds.

        What it has started in the background is not waited for.
        """
        self._await(lambda: self._streams.ended, "waiting for", arguments.parse_timeout(timeout))
        return self.exit_code or 0

    # What it is sent

    def write(self, data: str | bytes, timeout: float | None = None) -> None:
        """Writes all of it to standard input.

        Raises BrokenPipeError if the process reads no more, and WaitTimeoutError after ``timeout`` seconds; what it has
        not taken by then it still gets when something is waited for.
        """
        if not self._streams.write(data.encode() if isinstance(data, str) else bytes(data), timeout):
            raise self._late("writing to", timeout)

    def close_stdin(self) -> None:
        """It reads an end of file from now on; at a terminal, once, as ^D gives it."""
        self._streams.close_input()

    def send_signal(self, signal: int | str) -> None:
        """Sends it a signal, by number or name. One that has ended is no error. Raises ValueError after ``close``."""
        if self._closed:
            raise ValueError("the handle on this process is closed")
        with suppress(ProcessLookupError):
            signals.pidfd_send_signal(self._pidfd, arguments.parse_signal(signal))

    def terminate(self) -> None:
        """Sends it SIGTERM."""
        self.send_signal(signals.SIGTERM)

    def kill(self) -> None:
        """Sends it SIGKILL."""
        self.send_signal(signals.SIGKILL)

    def resize(self, columns: int, lines: int) -> None:
        """Says how large its terminal is from now on. Raises InvalidSpecError if it has none."""
        if not self._terminal:
            raise InvalidSpecError("resize", repr(self.command), "a process that was started with tty=True")
        self._streams.resize(arguments.parse_terminal_size(columns, lines))

    # All at once

    def communicate(self, stdin: Input = None, timeout: float | None = None) -> ExecResult:
        """Writes ``stdin``, closes it, waits for the end; returns what it wrote and nobody has read yet.

        A file is read piece by piece, as the process takes it; while that blocks, so does this. After ``timeout``
        seconds the process is killed, and WaitTimeoutError raised.
        """
        self._streams.feed(as_source(stdin))
        try:
            self._await(lambda: self._streams.ended, "waiting for", timeout)
        except WaitTimeoutError:
            kill_group(self._pidfd)
            raise
        output, errors = (bytes(each.buffer) for each in self._outputs)
        return ExecResult(self.exit_code or 0, output, errors)

    def _await(self, reached: Callable[[], bool], doing: str, timeout: float | None) -> None:
        if not self._streams.wait_until(reached, timeout):
            raise self._late(doing, timeout)

    def _late(self, doing: str, timeout: float | None) -> WaitTimeoutError:
        return WaitTimeoutError(self.container, f"{doing} {self.command[0]!r} in", timeout or 0.0)


def as_source(stdin: Input) -> Callable[[], bytes]:
    """A function that gives it piece by piece, and nothing at its end. Raises InvalidSpecError."""
    if stdin is None or isinstance(stdin, str | bytes | bytearray | memoryview):
        content = stdin.encode() if isinstance(stdin, str) else bytes(stdin or b"")
        return iter((content, b"")).__next__
    read = getattr(stdin, "read1", getattr(stdin, "read", None))
    if read is None or isinstance(stdin, io.TextIOBase):
        raise InvalidSpecError("stdin", repr(stdin), "text, bytes, or a file opened in binary mode")
    return partial(read, _READ_SIZE)
