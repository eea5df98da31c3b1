"""An engine's resolver: the name server of its networks, one small process for all of them.

Its sockets lie in the networks' switch namespaces, where nobody else has one: no name server of this machine and no
firewall is in the way, and an internal network has names too. What is not a container's name it asks of others, with
sockets in this machine's own namespace. It ends with its owner, with the spawner, or when the engine closes its end.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable
from functools import partial

from pytest_pycontainer.runtime import dns, messages
from pytest_pycontainer.runtime.dns_forwarding import Forwarder, Reply
from pytest_pycontainer.runtime.event_loop import EventLoop, Timer
from pytest_pycontainer.runtime.name_changes import ChangeNames, LeaveNetwork, ServeNetwork
from pytest_pycontainer.runtime.naming import NameTable, has_exited
from pytest_pycontainer.runtime.service import service_loop

_DATAGRAMS_IN_A_ROW = 64
_STREAMS_AT_ONCE = 128
_IDLE_SECONDS = 10.0
_UNSENT_AT_MOST = 1 << 20
_LENGTH_SIZE = 2
_NO_LINGERING = struct.pack("ii", 1, 0)


class Resolver:
    """Answers for the networks that it is told of by ``control``, until that, or one of the lifelines, ends."""

    def __init__(self, control: socket.socket, *lifelines: int) -> None:
        self._loop = service_loop(control, self._hear_all, *lifelines)
        self._control = control
        self._table = NameTable(has_exited)
        self._forwarder = Forwarder(self._loop)
        self._listeners: dict[str, _Listeners] = {}
        self._news = select.poll()
        self._news.register(control, select.POLLIN)

    def run(self) -> None:
        """Serves until the engine is gone."""
        self._loop.run()

    def _hear_all(self) -> None:
        while not self._loop.stopped and self._news.poll(0):
            self._hear()

    def _hear(self) -> None:
        received = messages.receive(self._control)
        if received is None:
            self._loop.stop()
            return
        message, descriptors = received
        assert isinstance(message, ChangeNames)
        change = message.change
        self._table.change(change)
        if isinstance(change, ServeNetwork):
            datagrams, streams = (socket.socket(fileno=descriptor) for descriptor in descriptors)
            handle = partial(self._handle, change.key)
            self._listeners[change.key] = _Listeners(self._loop, datagrams, streams, handle)
        elif isinstance(change, LeaveNetwork) and change.key in self._listeners:
            self._listeners.pop(change.key).close()

    def _handle(self, key: str, packet: bytes, asker: str, reply: Reply, *, stream: bool) -> None:
        # What was told before the question was asked is to be known when it is answered.
        self._hear_all()
        try:
            query = dns.parse_query(packet)
        except dns.MalformedMessageError as error:
            if error.answer:
                reply(error.answer)
            return
        address = socket.inet_aton(asker)
        own = self._table.answer(query, key, address)
        servers = None if own is not None else self._table.servers_for(key, address)
        if servers is not None:
            self._forwarder.forward(query, servers, reply, stream=stream)
        else:
            message = own or dns.answer(query, dns.SERVER_FAILURE)
            reply(message if stream else dns.fit(query, message))


class _Listeners:
    """The two sockets of one network."""

    def __init__(
        self, loop: EventLoop, datagrams: socket.socket, streams: socket.socket, handle: Callable[..., None]
    ) -> None:
        self._loop = loop
        self._datagrams = datagrams
        self._listener = streams
        self._handle = handle
        self._streams: set[_Stream] = set()
        for endpoint, callback in ((datagrams, self._receive), (streams, self._accept)):
            endpoint.setblocking(False)
            loop.watch(endpoint.fileno(), callback)

    def close(self) -> None:
        """Lets go of them, and of the clients that are connected."""
        for stream in tuple(self._streams):
            stream.abort()
        for endpoint in (self._datagrams, self._listener):
            self._loop.unwatch(endpoint.fileno())
            endpoint.close()

    def _receive(self) -> None:
        for _ in range(_DATAGRAMS_IN_A_ROW):
            try:
                packet, (asker, port) = self._datagrams.recvfrom(dns.LARGEST_MESSAGE)
            except OSError:
                return
            self._handle(packet, asker, partial(self._send, (asker, port)), stream=False)
            if self._datagrams.fileno() < 0:
                return

    def _send(self, place: tuple[str, int], message: bytes) -> None:
        try:
            self._datagrams.sendto(message, place)
        except OSError:
            return  # a datagram may get lost; who wants its answer asks again

    def _accept(self) -> None:
        try:
            client, (asker, _) = self._listener.accept()
        except OSError:
            return
        if len(self._streams) >= _STREAMS_AT_ONCE:
            client.close()
            return
        handle = partial(self._handle, asker=asker, stream=True)
        self._streams.add(_Stream(self._loop, client, handle, self._streams.discard))


class _Stream:
    """A client by TCP: queries and answers, each with its length before it (RFC 7766)."""

    def __init__(
        self,
        loop: EventLoop,
        client: socket.socket,
        handle: Callable[..., None],
        closed: Callable[[_Stream], None],
    ) -> None:
        self._loop = loop
        self._client = client
        self._handle = handle
        self._closed = closed
        self._received = bytearray()
        self._unsent = bytearray()
        self._idle: Timer | None = None
        client.setblocking(False)
        self._wait()

    def abort(self) -> None:
        """Lets go of it at once: a connection that is still to be ended would keep the network's namespace."""
        self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
        self.close()

    def close(self) -> None:
        """Lets go of it; closing it again is no error."""
        if self._client.fileno() < 0:
            return
        if self._idle is not None:
            self._idle.cancel()
        self._loop.unwatch(self._client.fileno())
        self._client.close()
        self._closed(self)

    def _wait(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = self._loop.call_at(time.monotonic() + _IDLE_SECONDS, self.close)
        # Who does not read its answers is not heard: nobody can have us keep more and more.
        events = select.POLLOUT if self._unsent else select.POLLIN
        self._loop.watch(self._client.fileno(), self._send if self._unsent else self._receive, events)

    def _receive(self) -> None:
        try:
            piece = self._client.recv(dns.LARGEST_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self.close()
            return
        self._received += piece
        while len(self._received) >= _LENGTH_SIZE:
            end = _LENGTH_SIZE + int.from_bytes(self._received[:_LENGTH_SIZE], "big")
            if len(self._received) < end:
                break
            packet = bytes(self._received[_LENGTH_SIZE:end])
            del self._received[:end]
            self._handle(packet, reply=self._answer)
        if self._client.fileno() >= 0:
            self._wait()

    def _answer(self, message: bytes) -> None:
        if self._client.fileno() < 0:
            return
        self._unsent += len(message).to_bytes(_LENGTH_SIZE, "big") + message
        if len(self._unsent) > _UNSENT_AT_MOST:
            self.close()
        else:
            self._send()

    def _send(self) -> None:
        try:
            sent = self._client.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        del self._unsent[:sent]
        self._wait()
