"""Published ports that a process of ours leads into containers, where the kernel can't translate them."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from itertools import count

from pytest_pycontainer.engine.port_arguments import PortMapping
from pytest_pycontainer.errors import SpawnerError
from pytest_pycontainer.network import ports
from pytest_pycontainer.network.bridge import Network
from pytest_pycontainer.network.ports import PublishedPort
from pytest_pycontainer.runtime import messages
from pytest_pycontainer.runtime.forwarder_messages import ChangeForwarding, Forward, StopForwarding

_TELL_SECONDS = 10.0
_QUEUE = 4096


class PortForwarder:
    """Tells the forwarder which ports lead where, and has another one made if it was killed.

    It is made when there is the first port, by ``start``, which gets its end of a socket. One thread at a time.
    """

    def __init__(self, start: Callable[[socket.socket], None], *, every_port: bool = False) -> None:
        self._start = start
        self._every_port = every_port
        self._control: socket.socket | None = None
        self._keys = count()
        self._forwarded: dict[PublishedPort | str, tuple[Forward, socket.socket]] = {}

    def is_needed_at(self, host_address: str) -> bool:
        """Whether it is an IPv6 address of this machine (containers have IPv4), or every port is led so."""
        return self._every_port or ":" in host_address

    def publish(self, address: ipaddress.IPv4Address, mapping: PortMapping) -> PublishedPort:
        """Leads a port of this machine to the container with that address.

        Raises PortInUseError, InvalidSpecError, and SpawnerError if there can be no forwarder.
        """
        listener = ports.reserve(mapping.host_address, mapping.host_port, mapping.protocol)
        host_port = listener.getsockname()[1]
        published = PublishedPort(mapping.container_port, mapping.protocol, mapping.host_address, host_port)
        self.lead_in(address, published, listener)
        return published

    def lead_in(self, address: ipaddress.IPv4Address, port: PublishedPort, listener: socket.socket) -> None:
        """Leads who comes to the port to the container with that address; ``listener``, which has it, is taken over.

        Raises SpawnerError.
        """
        try:
            if port.protocol == "tcp":
                # Connections have it from the listener: ended ones are not in the way of who publishes the port next.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.listen(_QUEUE)
            forward = Forward(next(self._keys), port.protocol, str(address), port.container_port)
            self._forwarded[port] = forward, listener
            self._tell(forward, listener)
        except BaseException:
            self._forwarded.pop(port, None)
            listener.close()
            raise

    def leads_out(self, network: Network) -> bool:
        """Whether that network's way out leads through the forwarder."""
        return network.interface in self._forwarded

    def lead_out(self, network: Network) -> None:
        """Has containers of the network reach other machines by TCP through the forwarder.

        Raises SpawnerError and NetworkAttachError.
        """
        listener = socket.socket()
        try:
            listener.bind((str(network.gateway), 0))
            listener.listen(_QUEUE)
            forward = Forward(next(self._keys), "tcp", "", 0)
            self._forwarded[network.interface] = forward, listener
            self._tell(forward, listener)
            network.way_out.redirect(listener.getsockname()[1])
        except BaseException:
            self._forwarded.pop(network.interface, None)
            listener.close()
            raise

    def unpublish(self, port: PublishedPort | str) -> None:
        """Frees the host's port, or that of the network with that uplink, and resets who is connected through it.

        Nothing happens if it is not one of these. Raises SpawnerError if the forwarder does not let go of it.
        """
        if port not in self._forwarded:
            return
        forward, listener = self._forwarded.pop(port)
        listener.close()
        self._ask(StopForwarding(forward.key))  # if its process is gone, so are its sockets

    def close(self) -> None:
        """Ends the forwarder. Closing it again is harmless."""
        for _, listener in self._forwarded.values():
            listener.close()
        self._forwarded.clear()
        if self._control is not None:
            self._control.close()
            self._control = None

    def _tell(self, forward: Forward, listener: socket.socket) -> None:
        if not self._ask(forward, [listener.fileno()]):
            self._tell_another()

    def _tell_another(self) -> None:
        """Has a forwarder made, and tells it all."""
        if self._control is not None:
            self._control.close()
        self._control, theirs = socket.socketpair()
        self._control.settimeout(_TELL_SECONDS)
        with theirs:
            self._start(theirs)
        for forward, listener in self._forwarded.values():
            if not self._ask(forward, [listener.fileno()]):
                raise SpawnerError("start the forwarder", "it has ended at once")

    def _ask(self, change: Forward | StopForwarding, descriptors: Sequence[int] = ()) -> bool:
        """Whether the forwarder has done it; if not, there is none (any more)."""
        if self._control is None:
            return False
        try:
            sent = messages.tell(self._control, ChangeForwarding(change), descriptors)
            received = messages.receive(self._control) if sent else None
        except TimeoutError as error:
            raise SpawnerError("have a port forwarded", f"no answer within {_TELL_SECONDS:g} s") from error
        if received is not None and isinstance(received[0], messages.Failed):
            raise SpawnerError(received[0].step, received[0].detail)
        return received is not None
