"""Being attached to a container: its output from now on, and its standard input."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

from pytest_pycontainer.engine import arguments
from pytest_pycontainer.engine.connection import MonitorConnection
from pytest_pycontainer.engine.log import LogReader
from pytest_pycontainer.engine.log_selection import LogSelection
from pytest_pycontainer.engine.output_stream import OutputStream
from pytest_pycontainer.engine.process_streams import Output
from pytest_pycontainer.errors import (
    ContainerHasNoTerminalError,
    ContainerInputClosedError,
    ContainerNotFoundError,
    WaitTimeoutError,
)
from pytest_pycontainer.kernel.inotify import DirectoryWatch
from pytest_pycontainer.runtime import messages
from pytest_pycontainer.runtime.attachments import CLOSE, DATA, DATA_AT_MOST, unpack_end
from pytest_pycontainer.runtime.logs import LogEntry, LogPosition
from pytest_pycontainer.runtime.spec import ContainerSpec

_END_OF_TRANSMISSION = b"\x04"  # Ctrl-D
_PACKET_SIZE = 1024


class AttachedSession(OutputStream):
    """A container's output, in the order of the log, and its standard input, for the length of one run.

    A context manager; leaving it detaches, and the container goes on. It reads with the calls of ``OutputStream``,
    which come to an end with the run. How slowly that is done does not hold the container up: what has been dropped
    from its log by then is left out. Any number of sessions, in any number of processes, may be attached to one
    container; what they write is put one after the other, a call's data as a whole up to 32 KiB. Safe to use from
    several threads.
    """

    def __init__(
        self,
        container: str,
        directory: Path,
        connection: MonitorConnection,
        *,
        spec: ContainerSpec,
        selection: LogSelection,
        stdin: bool,
        from_start: bool,
    ) -> None:
        self._container_name = container
        self._connection = connection
        self._is_terminal = spec.terminal is not None
        self._sending = threading.Lock()
        with ExitStack() as undone:
            self._client, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undone.enter_context(self._client)
            with theirs:
                try:
                    watch = undone.enter_context(DirectoryWatch(directory))
                except FileNotFoundError as error:
                    raise ContainerNotFoundError(container) from error
                answer = connection.ask(container, messages.Attach(stdin), [theirs.fileno()])
            assert isinstance(answer, messages.Attached)
            self._refusal = "" if answer.writes else _refusal(spec, stdin=stdin)  # why nothing may be written
            position = LogPosition() if from_start else answer.position
            self._feed = _Feed(self._client, watch, LogReader(directory, position), selection)
            undone.pop_all()
        super().__init__(container, self._feed, self._feed.output)

    def __enter__(self) -> AttachedSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()

    def detach(self) -> None:
        """Lets go of the container. Detaching again is no error; other threads' calls end with ValueError.

        If it was made with ``stdin_once``, its standard input ends.
        """
        self._feed.interrupt()
        with self._sending:
            self._feed.close()

    def write(self, data: str | bytes, timeout: float | None = None) -> None:
        """Writes to standard input, all of it; text as UTF-8. It waits while the container reads nothing.

        Raises ContainerInputClosedError if the container has no standard input, or it is closed; WaitTimeoutError after
        ``timeout`` seconds, when a part may have been written.
        """
        whole = memoryview(data.encode() if isinstance(data, str) else data)
        with self._sending:
            self._feed.require_open()
            if self._refusal:
                raise ContainerInputClosedError(self._container_name, self._refusal)
            deadline = None if timeout is None else time.monotonic() + timeout
            for begin in range(0, len(whole), DATA_AT_MOST):
                self._send(DATA + whole[begin : begin + DATA_AT_MOST], deadline, timeout)

    def close_stdin(self, timeout: float | None = None) -> None:
        """The end of standard input: the command reads an end of file after what was written, by whomever.

        On a terminal it is Ctrl-D, which programs take for that at the beginning of a line. Raises WaitTimeoutError
        after ``timeout`` seconds; where standard input is closed already it does nothing.
        """
        with self._sending, suppress(ContainerInputClosedError):
            self._feed.require_open()
            if not self._refusal:
                packet = DATA + _END_OF_TRANSMISSION if self._is_terminal else CLOSE
                self._send(packet, None if timeout is None else time.monotonic() + timeout, timeout)
                self._refusal = "" if self._is_terminal else "it has been closed"

    def resize(self, columns: int, lines: int) -> None:
        """Says how large the terminal is; its programs get SIGWINCH. Raises ContainerHasNoTerminalError."""
        resize_terminal(self._connection, self._container_name, columns, lines)

    # For who drives a terminal of the caller's

    def fileno(self) -> int:
        """A descriptor that is readable when ``read_entries`` has something, or perhaps has: to be waited for."""
        return self._feed.fileno()

    def read_entries(self, timeout: float | None = None) -> list[LogEntry]:
        """The next pieces of output as they are in the log, not mixed: what the other calls read is not among them.

        An empty list says that the run has ended. Raises WaitTimeoutError after ``timeout`` seconds.
        """
        entries = self._feed.next(timeout)
        if entries is None:
            raise WaitTimeoutError(self._container_name, "reading the output of", timeout or 0.0)
        return entries

    def _send(self, packet: bytes, deadline: float | None, timeout: float | None) -> None:
        remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            poll = select.poll()
            poll.register(self._client, select.POLLOUT)
            if not poll.poll(None if remaining is None else remaining * 1000):
                raise WaitTimeoutError(self._container_name, "writing to the standard input of", timeout or 0.0)
            self._client.send(packet, socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError) as error:
            self._refusal = "nobody reads it any more"
            raise ContainerInputClosedError(self._container_name, self._refusal) from error


def _refusal(spec: ContainerSpec, *, stdin: bool) -> str:
    if not spec.stdin_open:
        return "it has none; run it with stdin_open=True"
    return "it has been closed" if stdin else "this session is attached without it"


def resize_terminal(connection: MonitorConnection, container: str, columns: int, lines: int) -> None:
    """Says how large a container's terminal is. Raises InvalidSpecError and ContainerHasNoTerminalError."""
    size = arguments.parse_terminal_size(columns, lines)
    if isinstance(connection.ask(container, messages.Resize(size)), messages.Failed):
        raise ContainerHasNoTerminalError(container)


class _Feed:
    """What is read of the log for one session."""

    def __init__(self, client: socket.socket, watch: DirectoryWatch, log: LogReader, selection: LogSelection) -> None:
        self.output = Output(descriptor=client.fileno())
        self._client = client
        self._watch = watch
        self._log = log
        self._selection = selection
        self._lock = threading.Lock()
        self._has_ended = False
        self._poll = select.epoll()
        self._poll.register(client, select.POLLIN)
        self._poll.register(watch, select.POLLIN)
        self._interrupted = False

    def fileno(self) -> int:
        return self._poll.fileno()

    def take(self, take: Callable[[], bytes | None], timeout: float | None) -> bytes | None:
        """See ProcessStreams."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            while (piece := take()) is None:
                entries = self._next(deadline)
                if entries is None:
                    return None
                self.output.buffer += b"".join(entry.data for entry in entries)
                if not entries:
                    self.output.descriptor = -1
            return piece

    def next(self, timeout: float | None) -> list[LogEntry] | None:
        """The next entries, none at the end; None after ``timeout`` seconds."""
        with self._lock:
            return self._next(None if timeout is None else time.monotonic() + timeout)

    def _next(self, deadline: float | None) -> list[LogEntry] | None:
        while True:
            self.require_open()
            self._watch.forget()
            # Asked first: what there is of output when the run has ended is in the log.
            self._hear_end()
            while entries := self._log.read():
                if wanted := [entry for entry in entries if self._selection.has(entry.time, entry.stream)]:
                    return wanted
            if self._has_ended:
                return []
            remaining = -1 if deadline is None else max(0.0, deadline - time.monotonic())
            if remaining == 0.0 or not self._poll.poll(remaining):
                return None

    def _hear_end(self) -> None:
        while not self._has_ended:
            try:
                packet = self._client.recv(_PACKET_SIZE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue  # said first if the monitor has not read all that was sent; what it sent is still there
            self._has_ended = True
            self._log.end = unpack_end(packet)
            self._poll.unregister(self._client)  # it stays readable

    def require_open(self) -> None:
        """Raises ValueError once it is closed, or about to be."""
        if self._interrupted:
            raise ValueError("this session is detached")

    def interrupt(self) -> None:
        """Wakes who waits, for the output or with something to write, to be refused."""
        self._interrupted = True
        with suppress(OSError):  # it is closed
            self._client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Lets go of all of it, once; to be interrupted before."""
        with self._lock:
            if not self._poll.closed:
                self._poll.close()
                self._client.close()
                self._watch.close()
                self._log.close()
