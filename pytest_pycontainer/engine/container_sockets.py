"""Sockets of this process inside a container's network."""

from __future__ import annotations

import ipaddress
import os
import socket
from contextlib import ExitStack, suppress
from types import TracebackType

from pytest_pycontainer.engine import arguments
from pytest_pycontainer.engine.handle import ContainerHandle
from pytest_pycontainer.engine.listening import Listening, ListeningSocket
from pytest_pycontainer.engine.port_arguments import Port, parse_port
from pytest_pycontainer.errors import (
    ContainerNotFoundError,
    ContainerNotRunningError,
    PortNotOpenError,
    WaitTimeoutError,
)
from pytest_pycontainer.kernel import namespaces, sockdiag
from pytest_pycontainer.kernel.netlink import NetlinkError, NetlinkSocket
from pytest_pycontainer.kernel.sockdiag import BoundSocket, sockets_with_ports

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

        inside = self._open_sockets("connect to", kind)
        with inside:
            try:
                servers = [one for one in sockets_with_ports(inside.diagnosis, protocol) if _serves(one, protocol)]
            except NetlinkError:  # a kernel that does not tell
                address: _Address | None = ipaddress.IPv4Address("127.0.0.1")
            else:
                address = _server_address(servers, wanted.container_port)
            if address is None:
                others = sorted({server.port for server in servers})
                raise PortNotOpenError(self.name, name, tuple(f"{other}/{wanted.protocol}" for other in others))
            opened = inside.take(address.version)
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

    def listening(self) -> Listening:
        """Where its processes listen, and take datagrams, now: all their sockets, by protocol and port.

        ``6379 in container.listening()``, and ``"53/udp"``, say whether a port is among them. What lies with nobody
        any more is left out, and other containers' in a network that is shared. Raises ContainerNotRunningError, and
        OSError on a kernel that does not tell.
        """
        from pytest_pycontainer.engine.process_table import socket_holders

        found: list[ListeningSocket] = []
        with self._open_sockets("see who listens in", socket.SOCK_STREAM) as inside:
            bound = [
                (name, one)
                for name, (_, protocol) in _TRANSPORTS.items()
                for one in sockets_with_ports(inside.diagnosis, protocol)
                if one.state == (sockdiag.LISTENING if name == "tcp" else sockdiag.CLOSED)
            ]
        try:
            holders = socket_holders(self._cgroup, self.pid)
        except FileNotFoundError as error:
            raise ContainerNotFoundError(self.name) from error
        for name, one in bound:
            if (process := holders.get(one.inode)) is not None:
                found.append(ListeningSocket(str(one.address), one.port, name, process))
        return Listening(tuple(sorted(set(found), key=lambda one: (one.protocol, one.port, one.address))))

    def _open_sockets(self, doing: str, kind: int) -> _SocketsInside:
        self._require_present()
        pidfd = self._connection.open_pidfd() if self._state.status == "running" else -1
        if pidfd < 0:
            raise ContainerNotRunningError(self.name, doing, self.status)
        try:
            # The shorter way is root's, whose thread may enter any network; others have to ask.
            if os.geteuid() == 0:
                return namespaces.call_inside(pidfd, namespaces.NETWORK, lambda: _SocketsInside.open(kind))
            namespace, *sockets = self._connection.open_network(self.name, int(kind))
            os.close(namespace)
            route, *others = (socket.socket(fileno=one) for one in sockets)
            route.close()
            return _SocketsInside(*others)
        except ProcessLookupError:  # it has just exited
            raise ContainerNotRunningError(self.name, doing, "exited") from None
        finally:
            os.close(pidfd)


class _SocketsInside:
    """Sockets in a container's network: one to ask who listens there, and some to connect, of which one is taken."""

    def __init__(self, diagnosis: socket.socket, *others: socket.socket) -> None:
        self._sockets = [diagnosis, *others]
        self.diagnosis = NetlinkSocket(diagnosis)

    @classmethod
    def open(cls, kind: int) -> _SocketsInside:
        """In the calling thread's network."""
        with ExitStack() as undone:
            opened = [undone.enter_context(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, sockdiag.SOCK_DIAG))]
            opened.append(undone.enter_context(socket.socket(socket.AF_INET, kind)))
            with suppress(OSError):  # a machine without IPv6
                opened.append(undone.enter_context(socket.socket(socket.AF_INET6, kind)))
            undone.pop_all()
        return cls(*opened)

    def take(self, version: int) -> socket.socket:
        """The one for that version of IP, which is the caller's."""
        found = next(one for one in self._sockets if one.family == _FAMILIES[version])
        self._sockets.remove(found)
        return found

    def __enter__(self) -> _SocketsInside:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._sockets:
            one.close()


def _serves(one: BoundSocket, protocol: int) -> bool:
    """Whether it listens, or takes datagrams."""
    return protocol != socket.IPPROTO_TCP or one.state == sockdiag.LISTENING


def _server_address(servers: list[BoundSocket], port: int) -> _Address | None:
    """Where the server with that port is reached: at the loopback, unless it listens elsewhere alone."""
    addresses = (_LOOPBACK.get(server.address, server.address) for server in servers if server.port == port)
    return min(addresses, key=lambda address: (not address.is_loopback, address.version), default=None)
