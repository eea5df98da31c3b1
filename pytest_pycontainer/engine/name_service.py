"""What the engine's resolver knows, and how it gets to know it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress

from pytest_pycontainer.errors import SpawnerError
from pytest_pycontainer.runtime import messages
from pytest_pycontainer.runtime.name_changes import (
    ChangeNames,
    ForgetContainer,
    LeaveNetwork,
    NameChange,
    NameContainer,
    ServeNetwork,
)

_TELL_SECONDS = 10.0


class NameService:
    """Tells the resolver of networks and containers, and has another one made if it was killed.

    It is made when there is the first network to serve, by ``start``, which gets its end of a socket. One thread at a
    time. What it is to know raises SpawnerError if there can be none; to have something forgotten none is made.
    """

    def __init__(self, start: Callable[[socket.socket], None]) -> None:
        self._start = start
        self._control: socket.socket | None = None
        self._networks: dict[str, tuple[ServeNetwork, tuple[socket.socket, socket.socket]]] = {}
        self._containers: dict[tuple[str, str], NameContainer] = {}

    def serve(self, network: ServeNetwork, datagrams: socket.socket, streams: socket.socket) -> None:
        """Has a network's questions answered; the sockets, bound to its resolver's address, are taken over."""
        self._networks[network.key] = network, (datagrams, streams)
        self._tell(network, (datagrams.fileno(), streams.fileno()))

    def leave(self, key: str) -> None:
        """Has the network ``key`` forgotten."""
        _, sockets = self._networks.pop(key)
        for one in sockets:
            one.close()
        self._containers = {place: named for place, named in self._containers.items() if named.key != key}
        self._tell_if_there(LeaveNetwork(key))

    def name(self, container: NameContainer) -> None:
        """Has a container found in a network."""
        self._containers[container.key, container.container] = container
        self._tell(container)

    def forget(self, key: str, container: str) -> None:
        """Has a container no longer found in a network."""
        if self._containers.pop((key, container), None) is not None:
            self._tell_if_there(ForgetContainer(key, container))

    def close(self) -> None:
        """Ends the resolver. Closing it again is harmless."""
        for _, sockets in self._networks.values():
            for one in sockets:
                one.close()
        self._networks.clear()
        self._containers.clear()
        if self._control is not None:
            self._control.close()
            self._control = None

    def _tell(self, change: NameChange, descriptors: tuple[int, ...] = ()) -> None:
        try:
            if self._control is None or not messages.tell(self._control, ChangeNames(change), descriptors):
                self._tell_another()
        except TimeoutError as error:
            raise SpawnerError("tell the resolver of a name", f"it did not hear within {_TELL_SECONDS:g} s") from error

    def _tell_if_there(self, change: NameChange) -> None:
        if self._control is not None:
            with suppress(TimeoutError):  # the next change finds that out, too, and can say so
                messages.tell(self._control, ChangeNames(change))

    def _tell_another(self) -> None:
        """Has a resolver made, and tells it all."""
        if self._control is not None:
            self._control.close()
        self._control, theirs = socket.socketpair()
        self._control.settimeout(_TELL_SECONDS)
        with theirs:
            self._start(theirs)
        for network, sockets in self._networks.values():
            messages.tell(self._control, ChangeNames(network), [one.fileno() for one in sockets])
        for container in self._containers.values():
            messages.tell(self._control, ChangeNames(container))
