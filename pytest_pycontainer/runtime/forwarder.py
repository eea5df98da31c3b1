"""An engine's forwarder: leads to containers, and out of them, what the kernel can't or may not.

One process for all containers of an engine, in this machine's network, made when there is the first port for it. What
it leads on passes through the kernel alone, and what one side does the other side sees. It ends with its owner, with
the spawner, or when the engine closes its end.
"""

from __future__ import annotations

import errno
import resource
import socket
import struct

from pytest_pycontainer.runtime import messages
from pytest_pycontainer.runtime.event_loop import EventLoop
from pytest_pycontainer.runtime.forwarded_datagrams import ForwardedDatagrams
from pytest_pycontainer.runtime.forwarded_stream import ForwardedStream, close_with_reset
from pytest_pycontainer.runtime.forwarder_messages import ChangeForwarding, Forward
from pytest_pycontainer.runtime.service import service_loop

_SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h


def make_forwarder(control: socket.socket, *lifelines: int) -> Forwarder:
    """A forwarder with as many descriptors as this process may have: a connection takes six."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return Forwarder(control, *lifelines)


class Forwarder:
    """Leads on what comes to the sockets that it is told of by ``control``, until that, or a lifeline, ends."""

    def __init__(self, control: socket.socket, *lifelines: int) -> None:
        self._loop = service_loop(control, self._hear, *lifelines)
        self._control = control
        self._forwarded: dict[int, ForwardedDatagrams | ForwardedStreams] = {}

    def run(self) -> None:
        """Serves until the engine is gone."""
        self._loop.run()

    def _hear(self) -> None:
        received = messages.receive(self._control)
        if received is None:
            self._loop.stop()
            return
        message, descriptors = received
        assert isinstance(message, ChangeForwarding)
        change = message.change
        if isinstance(change, Forward):
            (descriptor,) = descriptors
            listener = socket.socket(fileno=descriptor)
            kind = ForwardedDatagrams if change.protocol == "udp" else ForwardedStreams
            self._forwarded[change.key] = kind(self._loop, listener, (change.address, change.port))
        elif change.key in self._forwarded:
            self._forwarded.pop(change.key).close()
        messages.tell(self._control, messages.Done())


class ForwardedStreams:
    """All connections to one listening socket, which is closed with it."""

    def __init__(self, loop: EventLoop, listener: socket.socket, place: tuple[str, int]) -> None:
        self._loop = loop
        self._listener = listener
        self._place = place
        self._streams: set[ForwardedStream] = set()
        listener.setblocking(False)
        loop.watch(listener.fileno(), self._accept)

    def close(self) -> None:
        """Lets go of the listener; connections that are there are reset."""
        self._loop.unwatch(self._listener.fileno())
        self._listener.close()
        for stream in tuple(self._streams):
            stream.reset()

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:
            # Too many are open: clients wait until one of ours has ended.
            if self._streams:
                self._loop.unwatch(self._listener.fileno())
            return
        try:
            place = self._place if self._place[0] else _original_place(client)
            self._streams.add(ForwardedStream(self._loop, client, place, self._forget))
        except OSError:
            close_with_reset(client)  # the place can't be reached, or too much is open

    def _forget(self, stream: ForwardedStream) -> None:
        self._streams.discard(stream)
        if self._listener.fileno() >= 0:
            self._loop.watch(self._listener.fileno(), self._accept)


def _original_place(client: socket.socket) -> tuple[str, int]:
    """Where a connection was to go. Raises OSError for one that was not redirected."""
    _, port, address = struct.unpack(">HH4s8x", client.getsockopt(socket.IPPROTO_IP, _SO_ORIGINAL_DST, 16))
    place = socket.inet_ntoa(address), port
    if place == client.getsockname():
        raise ConnectionRefusedError(errno.ECONNREFUSED, "it would be led to itself")
    return place
