"""A UDP port whose datagrams are led to another one, and the answers back to who has sent them."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable

from pytest_pycontainer.runtime.event_loop import EventLoop, Timer

_IP_PKTINFO = 8  # linux/in.h
_LARGEST = 1 << 16
_ANCILLARY = 256
_IN_A_ROW = 64
_IDLE_SECONDS = 90.0  # as docker's proxy
_CLIENTS_AT_MOST = 1024

_Ancillary = list[tuple[int, int, bytes]]


class ForwardedDatagrams:
    """Takes what is sent to ``listener`` to ``place``, each client's from a socket of its own that gets its answers.

    A client is forgotten when nothing has come from or for it in a while. The listener is closed with it.
    """

    def __init__(self, loop: EventLoop, listener: socket.socket, place: tuple[str, int]) -> None:
        self._loop = loop
        self._listener = listener
        self._place = place
        self._clients: dict[object, _Client] = {}
        listener.setblocking(False)
        # An answer has to come from the address that was asked, which the listener may not be bound to.
        if listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            listener.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        loop.watch(listener.fileno(), self._receive)

    def close(self) -> None:
        """Lets go of the listener and all clients."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        self._loop.unwatch(self._listener.fileno())
        self._listener.close()

    def _receive(self) -> None:
        for _ in range(_IN_A_ROW):
            try:
                data, ancillary, _, peer = self._listener.recvmsg(_LARGEST, _ANCILLARY)
            except OSError:
                return
            client = self._clients.get(peer)
            if client is None:
                client = self._add(peer, ancillary)
            if client is not None:
                client.send(data)

    def _add(self, peer: object, ancillary: _Ancillary) -> _Client | None:
        if len(self._clients) >= _CLIENTS_AT_MOST:
            self._drop(min(self._clients, key=lambda other: self._clients[other].last_used))
        try:
            endpoint = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        except OSError:  # too many are open: a datagram may get lost
            return None
        try:
            endpoint.connect(self._place)
        except OSError:
            endpoint.close()
            return None

        def answer(data: bytes) -> None:
            try:
                self._listener.sendmsg([data], ancillary, 0, peer)  # type: ignore[arg-type]
            except OSError:
                return  # as if it had got lost

        client = _Client(self._loop, endpoint, answer, lambda: self._drop(peer))
        self._clients[peer] = client
        return client

    def _drop(self, peer: object) -> None:
        if client := self._clients.pop(peer, None):
            client.close()


class _Client:
    def __init__(
        self, loop: EventLoop, endpoint: socket.socket, answer: Callable[[bytes], None], drop: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._endpoint = endpoint
        self._answer = answer
        self._drop = drop
        self._timer: Timer | None = None
        self.last_used = time.monotonic()
        loop.watch(endpoint.fileno(), self._receive)
        self._look_again()

    def send(self, data: bytes) -> None:
        self.last_used = time.monotonic()
        try:
            self._endpoint.send(data)
        except OSError as error:
            if error.errno == errno.ECONNREFUSED:  # that was the answer to the one before
                self._send_once_more(data)

    def _send_once_more(self, data: bytes) -> None:
        try:
            self._endpoint.send(data)
        except OSError:
            return

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._loop.unwatch(self._endpoint.fileno())
        self._endpoint.close()

    def _receive(self) -> None:
        for _ in range(_IN_A_ROW):
            try:
                data = self._endpoint.recv(_LARGEST)
            except OSError:  # nothing more, or nobody listens there (yet)
                return
            self.last_used = time.monotonic()
            self._answer(data)

    def _look_again(self) -> None:
        """Drops it if it has been idle; else looks when it would have been."""
        idle_at = self.last_used + _IDLE_SECONDS
        if time.monotonic() >= idle_at:
            self._drop()
        else:
            self._timer = self._loop.call_at(idle_at, self._look_again)
