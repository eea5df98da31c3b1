"""The streams of one process in a container, and its end: what goes in, what comes out, told and never polled for."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from pytest_pycontainer.runtime import messages
from pytest_pycontainer.runtime.spec import TerminalSize
from pytest_pycontainer.runtime.terminal import resize_terminal

_KILLED = 137
_END_OF_FILE = b"\x04"
_READ_SIZE = 64 * 1024


@dataclass(slots=True, eq=False)
class Output:
    """One output: what was read of it and not yet asked for, unless a ``sink`` takes it. ``ended``: no more will come.

    ``descriptor`` is -1 once that is so.
    """

    descriptor: int = -1
    sink: BinaryIO | None = None
    buffer: bytearray = field(default_factory=bytearray)

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.descriptor < 0


class ProcessStreams:
    """Moves what is written to a process and what it writes, while somebody waits for something.

    Whoever waits, for whatever, moves all of it: a process is never stuck because one output is read and the other not.
    What nobody has asked for yet is kept in memory. Safe to use from several threads; of those that wait, one moves and
    tells the others. ``answers`` tells of the end; all descriptors become this object's.
    """

    def __init__(
        self, answers: socket.socket, input_: int, outputs: Sequence[Output], *, terminal: bool = False
    ) -> None:
        self._answers = answers
        self._terminal = terminal
        self._line_began = False
        self._outputs = outputs
        self._input = input_
        self._unsent = memoryview(b"")
        self._source: Callable[[], bytes] | None = None
        self._closes_input = False
        self._lost = False  # whether what was to be written last was not read
        self._exit_code: int | None = None
        self._changed = threading.Condition(threading.Lock())
        self._moving = False
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closed = False
        for descriptor in (input_, *(output.descriptor for output in outputs)):
            if descriptor >= 0:
                os.set_blocking(descriptor, False)

    @property
    def ended(self) -> bool:
        """Whether the process's end has been heard of; does not look for it."""
        return self._exit_code is not None

    @property
    def exit_code(self) -> int | None:
        """The process's, None while it runs."""
        with self._changed:
            if self._exit_code is None and not self._moving and not self._closed:
                self._move(0.0)
            return self._exit_code

    def wait_until(self, reached: Callable[[], bool], timeout: float | None) -> bool:
        """Moves until something is ``reached``, asked with the lock held; False after ``timeout`` seconds.

        Raises ValueError once it is closed.
        """
        with self._changed:
            return self._wait_until(reached, timeout)

    def take(self, take: Callable[[], bytes | None], timeout: float | None) -> bytes | None:
        """As ``wait_until``, for something that is to be taken out of an output's buffer, which it then returns."""
        taken: list[bytes] = []

        def reached() -> bool:
            if self._closed:
                raise ValueError("this process's streams are closed")
            if (piece := take()) is not None:
                taken.append(piece)
            return piece is not None

        return taken[0] if self.wait_until(reached, timeout) else None

    def write(self, data: bytes, timeout: float | None) -> bool:
        """Writes all of it; False if ``timeout`` seconds pass before: the rest is written when somebody waits again.

        Raises BrokenPipeError if nobody reads.
        """
        with self._changed:
            if not self._wait_until(lambda: not self._unsent, timeout):
                return False
            if self._input < 0 or self._closes_input:
                raise BrokenPipeError("the process reads no more, or its standard input was closed")
            self._queue(data)
            self._send()
            self._interrupt()
            if not self._wait_until(lambda: not self._unsent, timeout):
                return False
            if self._lost:
                raise BrokenPipeError("the process reads no more")
            return True

    def feed(self, source: Callable[[], bytes]) -> None:
        """Has what ``source`` gives written, piece by piece, as the process takes it; nothing more is the end."""
        with self._changed:
            if self._input >= 0 and not self._closes_input:
                self._source = source
                self._interrupt()

    def close_input(self) -> None:
        """The process reads an end of file after what was written; at a terminal, once."""
        self.feed(bytes)
        with self._changed:
            if self._input >= 0:
                self._send()

    def resize(self, size: TerminalSize) -> None:
        """Says how large the terminal, the first output, is, unless that is gone. Raises OSError."""
        with self._changed:
            if not self._outputs[0].ended:
                resize_terminal(self._outputs[0].descriptor, size)

    def close(self) -> None:
        """Lets go of everything, of what others wait for too."""
        with self._changed:
            self._closed = True
            while self._moving:
                self._interrupt()
                self._changed.wait()
            self._close_input()
            for output in self._outputs:
                _end(output)
            self._answers.close()
            if self._wake >= 0:
                os.close(self._wake)
                self._wake = -1
            self._changed.notify_all()

    # With the lock

    def _wait_until(self, reached: Callable[[], bool], timeout: float | None) -> bool:
        deadline = None if timeout is None else time.monotonic() + timeout
        while not reached():
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                return False
            if self._closed:
                raise ValueError("this process's streams are closed")
            if self._moving:
                self._changed.wait(remaining)
            else:
                self._move(remaining)
        return True

    def _interrupt(self) -> None:
        """Has the thread that moves look again at what there is to do."""
        if self._moving:
            os.eventfd_write(self._wake, 1)

    def _move(self, seconds: float | None) -> None:
        """Waits for something to move, for ``seconds`` at most, without the lock, and moves it."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if self._exit_code is None:
            poll.register(self._answers, select.POLLIN)
        if self._input >= 0:
            # Without anything to write it is still told when nobody reads any more.
            poll.register(self._input, select.POLLOUT if self._unsent or self._source else 0)
        for output in self._outputs:
            if not output.ended:
                poll.register(output.descriptor, select.POLLIN)
        self._moving = True
        self._changed.release()
        try:
            ready = {descriptor for descriptor, _ in poll.poll(None if seconds is None else seconds * 1000)}
        finally:
            self._changed.acquire()
            self._moving = False
            self._changed.notify_all()
        if self._closed:
            return
        if self._wake in ready:
            os.eventfd_read(self._wake)
        exited = self._answers.fileno() in ready
        if self._input in ready:
            self._send()
        for output in self._outputs:
            if output.descriptor in ready and not exited:
                _read_some(output)
        if exited:
            self._hear_exit()

    def _queue(self, data: bytes) -> None:
        self._unsent = memoryview(data)
        if data:
            self._line_began = not data.endswith(b"\n")

    def _send(self) -> None:
        try:
            if not self._unsent and self._source is not None:
                if piece := self._source():
                    self._queue(piece)
                else:
                    self._source = None
                    self._finish_input()
            while self._unsent:
                self._unsent = self._unsent[os.write(self._input, self._unsent) :]
        except BlockingIOError:
            return
        except OSError:  # nobody reads any more: a pipe without a reader, a terminal that no program has open
            self._close_input()
        else:
            if self._closes_input or _is_broken(self._input):
                self._close_input()

    def _finish_input(self) -> None:
        if self._terminal:
            # ^D sends off what there is of a line; an empty one is the end of the file.
            self._queue(_END_OF_FILE * 2 if self._line_began else _END_OF_FILE)
            self._line_began = False
        else:
            self._closes_input = True

    def _close_input(self) -> None:
        self._lost = bool(self._unsent)
        self._unsent, self._source = memoryview(b""), None
        if self._input >= 0:
            os.close(self._input)
            self._input = -1

    def _hear_exit(self) -> None:
        received = messages.receive(self._answers)
        message = None if received is None else received[0]
        # Without an answer its monitor has ended, and the kernel the process with it.
        self._exit_code = message.code if isinstance(message, messages.Exited) else _KILLED
        self._close_input()
        for output in self._outputs:
            _read_rest(output)


def _is_broken(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, 0)
    return bool(poll.poll(0))


def _read_some(output: Output) -> int:
    """Reads a piece of it; how many bytes that were, 0 if there is nothing or nothing more."""
    try:
        piece = os.read(output.descriptor, _READ_SIZE)
    except BlockingIOError:
        return 0
    except OSError:  # a terminal that no program has open any more
        piece = b""
    if not piece:
        _end(output)
    elif output.sink is not None:
        _write_all(output.sink, piece)
    else:
        output.buffer += piece
    return len(piece)


def _write_all(sink: BinaryIO, piece: bytes) -> None:
    while (written := sink.write(piece)) is not None and written < len(piece):
        piece = piece[written:]  # an unbuffered file may take less


def _read_rest(output: Output) -> None:
    """Reads what the process has left in it.

    What it has started in the background may hold it open, and write on: that is not waited for, as docker does not.
    """
    if output.ended:
        return
    try:
        remaining = fcntl.fcntl(output.descriptor, fcntl.F_GETPIPE_SZ)
    except OSError:
        remaining = _READ_SIZE  # a terminal holds no more
    while remaining > 0 and (read := _read_some(output)):
        remaining -= read
    _end(output)


def _end(output: Output) -> None:
    if output.descriptor >= 0:
        os.close(output.descriptor)
        output.descriptor = -1
