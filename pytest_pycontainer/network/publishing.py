"""The published ports of one network."""

from __future__ import annotations

import ipaddress
from contextlib import ExitStack, closing, suppress
from socket import socket

from pytest_pycontainer.errors import InvalidSpecError
from pytest_pycontainer.kernel import conntrack, nftables, rtnetlink
from pytest_pycontainer.kernel.netlink import NetlinkError, NetlinkSocket
from pytest_pycontainer.network import ports, rules
from pytest_pycontainer.network.ports import PublishedPort


class PublishedPorts:
    """Reserves ports of this machine and leads them into containers, by elements of the maps of a table of ours.

    One thread at a time. What the kernel refuses is raised as NetlinkError.
    """

    def __init__(self, table: str, netfilter: NetlinkSocket) -> None:
        self._table = table
        self._netfilter = netfilter
        self._reserved: dict[PublishedPort, socket] = {}

    def publish(
        self,
        address: ipaddress.IPv4Address,
        container_port: int,
        *,
        host_address: str,
        host_port: int | range | None,
        protocol: str,
    ) -> PublishedPort:
        """See ``Network.publish``."""
        ports.check_port("container port", container_port)
        ports.check_protocol(protocol)
        if ports.check_host_address(host_address).version != 4:
            raise InvalidSpecError("host address", host_address, "an IPv4 address, as the container has")
        with ExitStack() as undo:
            reservation = undo.enter_context(ports.reserve(host_address, host_port, protocol))
            port = PublishedPort(container_port, protocol, host_address, reservation.getsockname()[1])
            nftables.commit(self._netfilter, [rules.publish(self._table, port, address)])
            self._reserved[port] = reservation
            undo.pop_all()
        self._forget_flows(port)
        return port

    def unpublish(self, port: PublishedPort) -> None:
        """See ``Network.unpublish``."""
        reservation = self._reserved.pop(port, None)
        if reservation is None:
            return
        with reservation:
            nftables.commit(self._netfilter, [rules.unpublish(self._table, port)])
            self._forget_flows(port)

    def reservation(self, port: PublishedPort) -> socket:
        """A duplicate of the socket that holds the port; the caller's."""
        return self._reserved[port].dup()

    def close(self) -> None:
        """Gives all ports back; the map's elements go with the table."""
        for reservation in self._reserved.values():
            reservation.close()
        self._reserved.clear()

    def _forget_flows(self, port: PublishedPort) -> None:
        """A client that keeps sending datagrams from one port is led where the first of them was, for as long as it
        sends: to nobody if that was too early, or to a container that is gone.
        """
        if port.protocol != "udp":
            return
        host_address = ipaddress.IPv4Address(port.host_address)
        own = {host_address}
        if host_address.is_unspecified:
            with closing(NetlinkSocket.open(rtnetlink.ROUTE)) as machine:
                own = {address.ip for address in rtnetlink.addresses(machine)}
        with suppress(NetlinkError):  # a kernel without this interface: such a client has to pause
            conntrack.forget_connections(
                self._netfilter,
                ports.TRANSPORTS[port.protocol],
                port.host_port,
                lambda destination: destination in own,
            )
