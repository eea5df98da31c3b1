"""Sockets of this process inside a container's network."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable
from typing import TypeVar

from pytest_pycontainer.engine import arguments
from pytest_pycontainer.engine.handle import ContainerHandle
from pytest_pycontainer.engine.port_arguments import Port, parse_port
from pytest_pycontainer.errors import ContainerNotRunningError, PortNotOpenError, WaitTimeoutError
from pytest_pycontainer.kernel import namespaces, sockdiag
from pytest_pycontainer.kernel.netlink import NetlinkError
from pytest_pycontainer.kernel.sockdiag import BoundSocket, bound_sockets

_T = TypeVar("_T")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_TRANSPORTS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
}
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_LOOPBACK: dict[_Address, _Address] = {
    ipaddress.IPv4Address("0.0.0.0"): ipaddress.IPv4Address("127.0.0.1"),  # noqa: S104
    # Such a socket takes IPv4 too, unless it was told not to, which can't be seen from here.
    ipaddress.IPv6Address("::"): ipaddress.IPv6Address("::1"),
}
_CONNECT_SECONDS = 10.0


class ContainerSockets(ContainerHandle):
    """The part of ``Container`` that connects to its servers directly."""

    def connect(self, port: Port, *, timeout: float | None = _CONNECT_SECONDS) -> socket.socket:
        """A socket, of this process but inside the container's network, that is connected to a port there.

        No port need be published, and the server may listen on the container's loopback alone; it sees the container
        itself as its client. With ``"53/udp"`` the socket is one for datagrams. As that of ``socket.create_connection``
        it is the caller's to close, and keeps ``timeout`` (seconds; None for none). Raises PortNotOpenError if nothing
        listens there (yet), WaitTimeoutError if a server does not accept in time, ContainerNotRunningError, and
        InvalidSpecError.
        """
        wanted, timeout = parse_port("port", port), arguments.parse_timeout(timeout)
        name = f"{wanted.container_port}/{wanted.protocol}"
        kind, protocol = _TRANSPORTS[wanted.protocol]

        def open_socket() -> tuple[socket.socket, _Address]:
            try:
                servers = _servers(protocol)
            except NetlinkError:  # a kernel that does not tell
                return socket.socket(socket.AF_INET, kind), ipaddress.IPv4Address("127.0.0.1")
            address = _server_address(servers, wanted.container_port)
            if address is None:
                others = sorted({server.port for server in servers})
                raise PortNotOpenError(self.name, name, tuple(f"{other}/{wanted.protocol}" for other in others))
            return socket.socket(_FAMILIES[address.version], kind), address

        opened, address = self._inside_network("connect to", open_socket)
        try:
            opened.settimeout(timeout)
            opened.connect((str(address), wanted.container_port))
        except BaseException as error:
            opened.close()
            if isinstance(error, TimeoutError):
                raise WaitTimeoutError(self.name, "connecting to", timeout or 0.0) from None
            if isinstance(error, ConnectionRefusedError):  # the server has just ended
                raise PortNotOpenError(self.name, name, ()) from None
            raise
        return opened

    def _inside_network(self, doing: str, function: Callable[[], _T]) -> _T:
        """Calls the function in the container's network, in a thread made for it."""
        self._require_present()
        pidfd = self._connection.open_pidfd() if self._state.status == "running" else -1
        if pidfd < 0:
            raise ContainerNotRunningError(self.name, doing, self.status)
        try:
            return namespaces.call_inside(pidfd, namespaces.NETWORK, function)
        except ProcessLookupError:  # it has just exited
            raise ContainerNotRunningError(self.name, doing, "exited") from None
        finally:
            os.close(pidfd)


def _servers(protocol: int) -> list[BoundSocket]:
    """What listens, or takes datagrams, in the calling thread's network."""
    sockets = bound_sockets(protocol)
    return [one for one in sockets if protocol != socket.IPPROTO_TCP or one.state == sockdiag.LISTENING]


def _server_address(servers: list[BoundSocket], port: int) -> _Address | None:
    """Where the server with that port is reached: at the loopback, unless it listens elsewhere alone."""
    addresses = (_LOOPBACK.get(server.address, server.address) for server in servers if server.port == port)
    return min(addresses, key=lambda address: (not address.is_loopback, address.version), default=None)
