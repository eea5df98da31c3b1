"""Who talks to a monitor: the owner over a socket pair, anybody of this machine over the socket in its directory."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Callable
from functools import partial

from pytest_pycontainer.runtime import messages
from pytest_pycontainer.runtime.event_loop import EventLoop
from pytest_pycontainer.runtime.state import SOCKET_NAME, ContainerState

_WAITING_AT_MOST = 128
# Who sends a message at all sends the whole of it at once.
_REST_OF_A_MESSAGE_SECONDS = 5
_DESCRIPTOR = struct.Struct("@i")
_TIME = struct.Struct("@ll")  # struct timeval


# What can't be served for want of these must not end the container: who asked finds the socket for the answer closed.
_OUT_OF_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class Clients:
    """Takes their requests, and tells each of them how the container is.

    ``owner`` is the owner's end, ``listener`` what ``listen`` has made. ``serve`` gets every request with its
    descriptors, which are closed after that; ``owner_gone`` is called once when the owner's end is closed. A client
    that does not read is told the last state when it does.
    """

    def __init__(
        self,
        loop: EventLoop,
        owner: socket.socket,
        listener: socket.socket,
        serve: Callable[[messages.Message, list[int]], None],
        owner_gone: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._owner = owner
        self._serve = serve
        self._owner_gone = owner_gone
        self._clients: set[socket.socket] = set()
        self._last: tuple[messages.StateChanged, tuple[int, ...]] = messages.StateChanged(ContainerState()), ()
        self._listener = listener
        self._add(owner)
        loop.watch(self._listener.fileno(), self._accept)

    def tell(self, state: messages.StateChanged, pidfd: int | None) -> None:
        """Tells all of them."""
        self._last = state, () if pidfd is None else (pidfd,)
        for client in tuple(self._clients):
            self._tell(client)

    def hear_owner(self) -> None:
        """Serves what the owner has said and is not heard yet, if there is such."""
        if self._owner in self._clients and messages.has_come(self._owner):
            self._hear(self._owner)

    def close(self) -> None:
        """Lets go of all of them."""
        for client in (*self._clients, self._listener):
            client.close()

    def _add(self, client: socket.socket) -> None:
        self._clients.add(client)
        self._loop.watch(client.fileno(), partial(self._hear, client))

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        # Not Python's time limit: that would count for sending too, which is never to be waited for.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIME.pack(_REST_OF_A_MESSAGE_SECONDS, 0))
        self._add(client)
        self._tell(client)

    def _hear(self, client: socket.socket) -> None:
        try:
            received = messages.receive(client)
        except BlockingIOError:  # the time limit
            received = None
        except OSError as error:
            if error.errno in _OUT_OF_ROOM:
                return
            raise
        if received is None:
            self._drop(client)
            return
        request, descriptors = received
        try:
            self._serve(request, descriptors)
        except OSError as error:
            if error.errno not in _OUT_OF_ROOM:
                raise
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _drop(self, client: socket.socket) -> None:
        self._clients.discard(client)
        self._loop.unwatch(client.fileno())
        if client is self._owner:
            self._owner_gone()
        else:
            client.close()

    def _tell(self, client: socket.socket) -> None:
        state, descriptors = self._last
        try:
            # Far smaller than the socket's buffer: it goes whole or not at all.
            # Not socket.send_fds: it drops its flags before Python 3.12, and who does not read would hold all up.
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, _DESCRIPTOR.pack(*descriptors))] if descriptors else []
            client.sendmsg([messages.encode(state)], rights, socket.MSG_DONTWAIT)
        except BlockingIOError:
            self._loop.watch(client.fileno(), partial(self._catch_up, client), select.POLLOUT | select.POLLIN)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the loop finds its end closed

    def _catch_up(self, client: socket.socket) -> None:
        """With one that has not read for long: it may have something to say all the same."""
        self._loop.watch(client.fileno(), partial(self._hear, client))
        self._tell(client)
        if messages.has_come(client):
            self._hear(client)


def listen(directory: str) -> socket.socket:
    """A socket in a container's directory, to which everybody can connect from now on. Raises OSError."""
    listener = socket.socket(socket.AF_UNIX)
    # A socket's path holds 107 bytes, which a store's directory may exceed.
    parent = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{parent}/{SOCKET_NAME}")
    finally:
        os.close(parent)
    listener.listen(_WAITING_AT_MOST)
    listener.setblocking(False)
    return listener
