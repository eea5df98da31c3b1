"""Asking other DNS servers what is not ours to know."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final

from pytest_pycontainer.runtime import dns
from pytest_pycontainer.runtime.dns import Query
from pytest_pycontainer.runtime.event_loop import EventLoop, Timer

Reply = Callable[[bytes], None]
"""Takes the answer to a query, once."""

_PORT = 53
_ROUNDS = 3
_SECONDS: Final = {False: 1.0, True: 4.0}  # for one server to answer, by UDP, which loses some, and by TCP
_AT_ONCE = 512
_SERVERS_AT_MOST = 3  # as the C library takes them
_LENGTH_SIZE = 2


class Forwarder:
    """Passes queries on as they are, to one server after the other, and answers back; all within time limits.

    Without servers of their own they go to those of this machine's /etc/resolv.conf, as it is at that moment.
    """

    def __init__(self, loop: EventLoop, resolv_conf: str = "/etc/resolv.conf", port: int = _PORT) -> None:
        self._loop = loop
        self._resolv_conf = resolv_conf
        self._port = port
        self._read: tuple[int, ...] = ()
        self._servers: tuple[str, ...] = ()
        self._running: set[_Exchange] = set()

    def forward(self, query: Query, servers: Sequence[str], reply: Reply, *, stream: bool) -> None:
        """Asks by UDP, or with ``stream`` by TCP; ``reply`` gets an answer in any case, perhaps at once."""
        chosen = servers or self._machine_servers()
        if len(self._running) >= _AT_ONCE or not chosen:
            reply(dns.answer(query, dns.SERVER_FAILURE))
            return
        places = [(server, self._port) for server in chosen] * _ROUNDS
        exchange = _Exchange(self._loop, query, places, reply, self._running.discard, stream=stream)
        self._running.add(exchange)
        exchange.ask_next()

    def _machine_servers(self) -> tuple[str, ...]:
        try:
            status = os.stat(self._resolv_conf)
            key = status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size
            if key != self._read:
                with open(self._resolv_conf, errors="replace") as file:
                    self._servers = name_servers(file.read())
                self._read = key
        except OSError:
            self._servers, self._read = (), ()
        # As resolv.conf(5) has it: without any, one on this machine.
        return self._servers or ("127.0.0.1",)


def name_servers(resolv_conf: str) -> tuple[str, ...]:
    """The servers that the text of a resolv.conf names."""
    lines = (line.split() for line in resolv_conf.splitlines())
    named = [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
    return tuple(server for server in named if _family(server) is not None)[:_SERVERS_AT_MOST]


def _family(server: str) -> socket.AddressFamily | None:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, server.partition("%")[0])
        except OSError:
            continue
        return family
    return None


class _Exchange:
    """One query on its way to servers. It ends with a reply, on every path."""

    def __init__(
        self,
        loop: EventLoop,
        query: Query,
        places: list[tuple[str, int]],
        reply: Reply,
        ended: Callable[[_Exchange], None],
        *,
        stream: bool,
    ) -> None:
        self._loop = loop
        self._query = query
        self._places = places
        self._reply = reply
        self._ended = ended
        self._stream = stream
        self._socket: socket.socket | None = None
        self._timer: Timer | None = None
        self._identifier = b""
        self._received = bytearray()
        self._failure = b""

    def ask_next(self) -> None:
        """Asks the next server; after the last one, answers with what came, or a failure."""
        self._let_go()
        while self._places:
            server, port = self._places.pop(0)
            try:
                self._ask(server, port)
            except OSError:
                self._let_go()
                continue
            return
        self._end(self._failure or dns.answer(self._query, dns.SERVER_FAILURE))

    def _ask(self, server: str, port: int) -> None:
        family = _family(server)
        if family is None:
            raise OSError(f"{server!r} is no address")
        kind = socket.SOCK_STREAM if self._stream else socket.SOCK_DGRAM
        self._socket = endpoint = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        address, _, scope = server.partition("%")
        place = (address, port, 0, socket.if_nametoindex(scope)) if scope else (address, port)
        # Another number and another port for each: who guesses answers has to guess both.
        self._identifier = os.urandom(2)
        self._received.clear()
        self._timer = self._loop.call_at(time.monotonic() + _SECONDS[self._stream], self.ask_next)
        if self._stream:
            endpoint.connect_ex(place)
            self._loop.watch(endpoint.fileno(), self._send_stream, select.POLLOUT)
        else:
            endpoint.connect(place)  # the kernel takes answers from that server alone
            endpoint.send(dns.with_identifier(self._query.packet, self._identifier))
            self._loop.watch(endpoint.fileno(), self._hear_datagram)

    def _hear_datagram(self) -> None:
        assert self._socket is not None
        try:
            message = self._socket.recv(dns.LARGEST_MESSAGE)
        except BlockingIOError:
            return
        except OSError:  # nobody listens there
            self.ask_next()
            return
        if dns.answers_to(self._query, message, self._identifier):
            self._take(message)

    def _send_stream(self) -> None:
        assert self._socket is not None
        packet = dns.with_identifier(self._query.packet, self._identifier)
        whole = len(packet).to_bytes(_LENGTH_SIZE, "big") + packet
        try:
            sent = self._socket.send(whole)  # a new connection's buffer holds more than any query
        except OSError:
            sent = 0
        if sent < len(whole):
            self.ask_next()
            return
        self._loop.watch(self._socket.fileno(), self._hear_stream)

    def _hear_stream(self) -> None:
        assert self._socket is not None
        try:
            piece = self._socket.recv(dns.LARGEST_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        self._received += piece
        end = _LENGTH_SIZE + int.from_bytes(self._received[:_LENGTH_SIZE], "big")
        if len(self._received) >= max(end, _LENGTH_SIZE):
            message = bytes(self._received[_LENGTH_SIZE:end])
            if dns.answers_to(self._query, message, self._identifier):
                self._take(message)
                return
            piece = b""
        if not piece:
            self.ask_next()

    def _take(self, message: bytes) -> None:
        message = dns.with_identifier(message, self._query.packet[:2])
        if dns.is_failure(message) and self._places:
            self._failure = message
            self.ask_next()
        else:
            self._end(message)

    def _end(self, message: bytes) -> None:
        self._let_go()
        self._ended(self)
        self._reply(message)

    def _let_go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
            self._socket = None
