"""One TCP connection that is led on by another one: its bytes pass through pipes of the kernel (``man 2 splice``)."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from pytest_pycontainer.runtime.event_loop import EventLoop

_PIPE_BYTES = 1 << 18
_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
_SMALL_PIECE = 1 << 14
_PIECES_IN_A_ROW = 16  # then others have their turn
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class ForwardedStream:
    """Leads a client to a server, until both have said all, or one has reset its connection: then the other's is reset.

    What one does not take the other can't go on sending; when one has said all, the other hears that, and may go on.
    ``ended`` is called once, when all is closed. Everything about it is closed if it can't be made.
    """

    def __init__(
        self,
        loop: EventLoop,
        client: socket.socket,
        place: tuple[str, int],
        ended: Callable[[ForwardedStream], None],
    ) -> None:
        self._loop = loop
        self._ended = ended
        self._client = client
        self._server = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._connected = False
        self._watched = [-1, -1]
        self._directions: list[_Direction] = []
        try:
            client.setblocking(False)
            for one in (client, self._server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # finds those that are gone without a word
            for source, sink in ((client, self._server), (self._server, client)):
                self._directions.append(_Direction(source, sink))
            status = self._server.connect_ex(place)
            if status not in (0, errno.EINPROGRESS):
                raise OSError(status, os.strerror(status))
        except BaseException:
            self._close(reset=True)
            raise
        self._watch()

    def reset(self) -> None:
        """Ends both connections at once, so that both sides know that something is missing."""
        self._end(reset=True)

    def _advance(self, side: int) -> None:
        """Something is to be done at the client (side 0) or at the server (1)."""
        try:
            if not self._connected:
                self._check()
                self._server.getpeername()
                self._connected = True
            from_side, to_side = self._directions[side], self._directions[1 - side]
            moved = from_side.advance() if from_side.source_events else False
            if to_side.sink_events:
                moved |= to_side.advance()
            if not moved:
                self._check()
        except OSError as error:
            if error.errno != errno.ENOTCONN or self._connected:
                self._end(reset=True)
            return
        if from_side.finished and to_side.finished:
            self._end(reset=False)
        else:
            self._watch()

    def _check(self) -> None:
        for one in (self._client, self._server):
            if error := one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(error, os.strerror(error))

    def _watch(self) -> None:
        outward, inward = self._directions
        if self._connected:
            wanted = outward.source_events | inward.sink_events, inward.source_events | outward.sink_events
        else:
            wanted = 0, select.POLLOUT
        # Watched for nothing, each still tells that it was reset.
        for side, events in enumerate(wanted):
            if self._watched[side] != events:
                self._watched[side] = events
                self._loop.watch((self._client, self._server)[side].fileno(), partial(self._advance, side), events)

    def _end(self, *, reset: bool) -> None:
        if self._client.fileno() >= 0:
            self._close(reset=reset)
            self._ended(self)

    def _close(self, *, reset: bool) -> None:
        for one in (self._client, self._server):
            self._loop.unwatch(one.fileno())
            if reset:
                close_with_reset(one)
            else:
                one.close()
        for direction in self._directions:
            direction.close()


def close_with_reset(connection: socket.socket) -> None:
    """Closes it so that its other end is sure to hear that something is missing."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    connection.close()


class _Direction:
    """From ``source`` to ``sink``. It is ``finished`` when the source has ended, and the sink knows that."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self._source = source
        self._sink = sink
        self._read_end, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with suppress(OSError):  # there are limits to that; the usual size does too
            fcntl.fcntl(self._write_end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._in_pipe = 0
        self._source_ended = False
        self.finished = False

    @property
    def source_events(self) -> int:
        # How much fits into a pipe depends on the pieces: only an empty one is sure to take something.
        return 0 if self._in_pipe or self._source_ended else select.POLLIN

    @property
    def sink_events(self) -> int:
        return select.POLLOUT if self._in_pipe else 0

    def close(self) -> None:
        os.close(self._read_end)
        os.close(self._write_end)

    def advance(self) -> bool:
        """Moves what can be moved; whether anything has changed. Raises OSError if either connection is broken."""
        changed = False
        for _ in range(_PIECES_IN_A_ROW):
            try:
                small = self._fill() < _SMALL_PIECE
                self._drain()
            except BlockingIOError:
                break
            changed = True
            if small and not self._in_pipe:  # there is hardly more; whoever watches is told if there is
                break
        if self._source_ended and not self._in_pipe and not self.finished:
            self.finished = True
            self._sink.shutdown(socket.SHUT_WR)
        return changed

    def _fill(self) -> int:
        """The bytes that are in the pipe then. Raises BlockingIOError if there is nothing yet."""
        if not self._in_pipe and not self._source_ended:
            self._in_pipe = os.splice(self._source.fileno(), self._write_end, _PIPE_BYTES, flags=_FLAGS)
            self._source_ended = self._in_pipe == 0
        return self._in_pipe

    def _drain(self) -> None:
        """Raises BlockingIOError if the sink takes nothing now."""
        if self._in_pipe:
            self._in_pipe -= os.splice(self._read_end, self._sink.fileno(), self._in_pipe, flags=_FLAGS)
