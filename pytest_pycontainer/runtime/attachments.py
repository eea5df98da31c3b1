"""Who is attached to a container: what they write goes to its standard input.

A client has a socket of whole packets (SOCK_SEQPACKET). Each that it sends is one byte, DATA or CLOSE, and what is to
be written; the one that it gets, when the run ends, says where in the log the run's output ends. Output it reads from
the log, like anybody, as fast as it likes.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from contextlib import suppress
from functools import partial
from typing import Final

from pytest_pycontainer.runtime.event_loop import EventLoop
from pytest_pycontainer.runtime.logs import LogPosition

DATA: Final = b"d"
CLOSE: Final = b"c"
DATA_AT_MOST: Final = 32 * 1024
"""Bytes of a packet beside its first."""

_END = struct.Struct("<QQ")


def pack_end(end: LogPosition) -> bytes:
    """The packet that says that the run has ended."""
    return _END.pack(end.file, end.offset)


def unpack_end(packet: bytes) -> LogPosition | None:
    """Where the run's output ends; None if the monitor went without having said so."""
    return LogPosition(*_END.unpack(packet)) if packet else None


class Attachments:
    """The clients of one container, for one run after the other.

    What a client has sent is taken from its socket when standard input has taken what came before: who writes faster
    than the command reads waits, and nothing piles up here. ``expected`` says whether the command has standard input
    at all, ``once`` whether that ends with the first client that could write.
    """

    def __init__(self, loop: EventLoop) -> None:
        self.expected = False
        self.once = False
        self._loop = loop
        self._clients: dict[socket.socket, bool] = {}  # whether it may write
        self._input = -1
        self._is_terminal = False
        self._closed = False
        self._pending = memoryview(b"")

    def attach(self, client: socket.socket, *, writes: bool) -> bool:
        """Takes a client, until the end of this run or, if there is none, of the next; whether it may write."""
        may_write = writes and self.expected and not self._closed
        self._clients[client] = may_write
        self._watch_clients()
        return may_write

    def open_input(self, descriptor: int, *, terminal: bool) -> None:
        """Standard input of the run that begins; the descriptor is this object's now."""
        os.set_blocking(descriptor, False)
        self._input = descriptor
        self._is_terminal = terminal
        self._watch_clients()

    def finish_run(self, end: LogPosition) -> None:
        """Lets go of all clients: the run's output ends there."""
        self._close_input()
        self._closed = False
        for client in tuple(self._clients):
            with suppress(OSError):  # it is gone, or would not even take this
                client.send(pack_end(end), socket.MSG_DONTWAIT)
            self._drop(client)

    def _watch_clients(self) -> None:
        takes_more = self._input >= 0 and not self._pending
        for client, writes in self._clients.items():
            if not writes:
                self._loop.watch(client.fileno(), partial(self._drop, client), 0)  # it can only go
            elif takes_more:
                self._loop.watch(client.fileno(), partial(self._hear, client))
            else:
                self._loop.unwatch(client.fileno())

    def _hear(self, client: socket.socket) -> None:
        try:
            packet = client.recv(1 + DATA_AT_MOST, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except ConnectionResetError:
            packet = b""
        if not packet:
            self._drop(client)
            if self.once and not self._is_terminal:
                self._close_input()
        elif packet[:1] == CLOSE:
            self._close_input()
        else:
            self._pending = memoryview(packet)[1:]
            self._write()

    def _write(self) -> None:
        try:
            self._pending = self._pending[os.write(self._input, self._pending) :]
        except BlockingIOError:
            pass
        except OSError:  # nobody reads it any more
            self._close_input()
            return
        if self._pending:
            self._loop.watch(self._input, self._write, select.POLLOUT)
        else:
            self._loop.unwatch(self._input)
        self._watch_clients()

    def _close_input(self) -> None:
        """What was sent before has been written, or nobody reads it any more."""
        if self._input >= 0:
            self._loop.unwatch(self._input)
            os.close(self._input)
        self._input = -1
        self._pending = memoryview(b"")
        self._closed = True
        for client, writes in self._clients.items():
            if writes:
                self._clients[client] = False
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RD)  # who writes on gets EPIPE
                    while client.recv(1 + DATA_AT_MOST):
                        pass  # who waits for room to write in is to hear of that, too
        self._watch_clients()

    def _drop(self, client: socket.socket) -> None:
        self._loop.unwatch(client.fileno())
        del self._clients[client]
        client.close()
