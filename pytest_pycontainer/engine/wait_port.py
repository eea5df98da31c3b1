"""Waits for ports, and the connection that they and others look through."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_pycontainer.engine.port_arguments import Port, parse_port
from pytest_pycontainer.engine.readiness import Condition
from pytest_pycontainer.errors import (
    ContainerError,
    NetworkError,
    PortNotOpenError,
    PortNotPublishedError,
    WaitTimeoutError,
)

if TYPE_CHECKING:
    from pytest_pycontainer.engine.container import Container

_CONNECT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class PortWait(Condition):
    """Waits until all of these container ports are open.

    A TCP port is if it accepts a connection, through its published port, else inside the container; a UDP port if a
    process of the container takes its datagrams.
    """

    ports: tuple[Port, ...]
    timeout: float | None = None

    @property
    def what(self) -> str:
        """See Condition."""
        if len(self.ports) == 1:
            return f"port {self.ports[0]} {'takes datagrams' if _is_udp(self.ports[0]) else 'accepts a connection'}"
        return f"ports {', '.join(map(str, self.ports))} are open"

    def look(self, container: Container, seconds: float) -> str | None:
        """See Condition."""
        for port in self.ports:
            seen = _look_for_datagrams(container, port) if _is_udp(port) else _try(container, port, seconds)
            if seen is not None:
                return f"port {port}: {seen}" if len(self.ports) > 1 else seen
        return None

    def explain(self, container: Container, seen: str) -> str:
        """See Condition."""
        return f"{seen}; {explain_ports(container, self.ports)}"


def connect_to(container: Container, port: Port, seconds: float) -> socket.socket:
    """A connection to a container's TCP port, through its published port, else from inside the container.

    Raises OSError, PortNotOpenError, WaitTimeoutError, ContainerNotRunningError.
    """
    try:
        address = container.address(port)
    except PortNotPublishedError:
        return container.connect(port, timeout=seconds)
    # One that our forwarder accepts says nothing of the server.
    if container._is_forwarded(address[0]):
        return container.connect(port, timeout=seconds)
    return socket.create_connection(address, seconds)


def explain_ports(container: Container, ports: tuple[Port, ...]) -> str:
    """Who listens where, for whoever wonders why nothing answers at these."""
    try:
        listening = container.listening()
    except (ContainerError, NetworkError, OSError) as error:
        return f"who listens there can't be seen ({error})"
    for port in ports:
        here = [one for one in listening if one.serves(port)]
        if not here:
            others = ", ".join(map(str, listening))
            have = f"the container's processes listen on {others}" if others else "nor does it listen on any other"
            return f"no process of the container listens on port {port}; {have}"
        if all(ipaddress.ip_address(one.address).is_loopback for one in here) and _is_published(container, port):
            return (
                f"{here[0].process} listens on port {port} of {here[0].address} alone, where nothing from outside the "
                "container arrives: let it listen on 0.0.0.0"
            )
    return "there is a listener; it does not answer"


def _is_udp(port: Port) -> bool:
    return parse_port("port", port).protocol == "udp"


def _try(container: Container, port: Port, seconds: float) -> str | None:
    try:
        connect_to(container, port, min(_CONNECT_SECONDS, seconds)).close()
    except PortNotOpenError:
        return "connection refused"
    except WaitTimeoutError:
        return "no answer"
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None


def _look_for_datagrams(container: Container, port: Port) -> str | None:
    return None if port in container.listening() else "nobody takes datagrams"


def _is_published(container: Container, port: Port) -> bool:
    try:
        container.address(port)
    except PortNotPublishedError:
        return False
    return True
