"""The networks of one engine, by name."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Protocol

from pytest_pycontainer.engine.name_service import NameService
from pytest_pycontainer.engine.network_modes import DEFAULT_NETWORK, WantedEndpoint
from pytest_pycontainer.engine.port_arguments import PortMapping
from pytest_pycontainer.engine.port_forwarder import PortForwarder
from pytest_pycontainer.errors import NetworkInUseError, NetworkNotFoundError
from pytest_pycontainer.network.bridge import Network
from pytest_pycontainer.network.ports import PublishedPort
from pytest_pycontainer.network.upstream import Ipv6
from pytest_pycontainer.runtime.name_changes import NameContainer, ServeNetwork

_SHORT = 12


@dataclass(frozen=True, slots=True)
class OpenedNetwork:
    """A bridge, and two sockets at its resolver's address, by UDP and TCP."""

    bridge: Network
    datagrams: socket.socket
    streams: socket.socket


class OpenNetwork(Protocol):
    """Makes a network. Raises NetworkError and SpawnerError."""

    def __call__(
        self, *, subnet: ipaddress.IPv4Network | None = None, internal: bool = False, ipv6: Ipv6 = False
    ) -> OpenedNetwork: ...


@dataclass(frozen=True, slots=True)
class Member:
    """A container as networks know it; ``directory`` is its own, ``servers`` are asked what the resolver can't know."""

    id: str
    name: str
    directory: str
    servers: tuple[str, ...] = ()

    @property
    def short_id(self) -> str:
        """As docker shows it."""
        return self.id[:_SHORT]


@dataclass(frozen=True, slots=True, eq=False)
class NamedNetwork:
    """A network, and the containers that are in it: their names, by id."""

    name: str
    bridge: Network
    members: dict[str, str] = field(default_factory=dict)


class NetworkRegistry:
    """Opens networks when they are asked for, the default one too, and has who is in them found by name.

    Safe to use from several threads: ``lock`` guards it, which may be one that its owner needs while a network is
    opened. Every change raises SpawnerError if there can be no resolver.
    """

    def __init__(
        self,
        lock: AbstractContextManager[object],
        open_network: OpenNetwork,
        names: NameService,
        forwarder: PortForwarder,
    ) -> None:
        self._lock = lock
        self._open = open_network
        self._names = names
        self.forwarder = forwarder
        self._networks: dict[str, NamedNetwork] = {}

    def get(self, name: str) -> NamedNetwork:
        """The network of that name. Raises NetworkNotFoundError, and NetworkError if the default one can't be made."""
        with self._lock:
            if name == DEFAULT_NETWORK:
                return self.ensure(name)
            if name not in self._networks:
                raise NetworkNotFoundError(name, self.names())
            return self._networks[name]

    def ensure(
        self,
        name: str,
        *,
        subnet: ipaddress.IPv4Network | None = None,
        internal: bool = False,
        ipv6: Ipv6 = False,
    ) -> NamedNetwork:
        """The network of that name, made if it is not there. Raises NetworkError."""
        with self._lock:
            if name not in self._networks:
                opened = self._open(subnet=subnet, internal=internal, ipv6=ipv6)
                bridge = opened.bridge
                self._networks[name] = NamedNetwork(name, bridge)
                prefix = bridge.subnet.prefixlen
                served = ServeNetwork(bridge.interface, name, bridge.gateway.packed, prefix, bridge.internal)
                self._names.serve(served, opened.datagrams, opened.streams)
                if bridge.way_out.is_blocked():
                    self.forwarder.lead_out(bridge)
            return self._networks[name]

    def names(self) -> tuple[str, ...]:
        """The names of all, the default one first."""
        with self._lock:
            return tuple(dict.fromkeys((DEFAULT_NETWORK, *self._networks)))

    def listed(self) -> list[NamedNetwork]:
        """Those that are there, the oldest first."""
        with self._lock:
            return list(self._networks.values())

    def is_open(self, network: NamedNetwork) -> bool:
        """Whether it has not been removed."""
        return self._networks.get(network.name) is network

    def join(
        self, member: Member, wanted: WantedEndpoint
    ) -> tuple[NamedNetwork, ipaddress.IPv4Address, ipaddress.IPv6Address | None]:
        """Makes a container a member of a network, in which it has addresses and is found from now on.

        Raises what ``get`` raises, AddressInUseError, InvalidSpecError and NetworkAttachError.
        """
        with self._lock:
            network = self.get(wanted.network)
            address = network.bridge.allocate(wanted.ip)
            network.members[member.id] = member.name
            try:
                address6 = network.bridge.allocate_ipv6(address, wanted.ip6)
                self.name(network, member, (address, address6), wanted.aliases)
            except BaseException:
                self.leave(network, member, address)
                raise
            return network, address, address6

    def name(
        self,
        network: NamedNetwork,
        member: Member,
        addresses: tuple[ipaddress.IPv4Address, ipaddress.IPv6Address | None],
        aliases: Sequence[str],
    ) -> None:
        """Has a member found by its name, its id and ``aliases``, and by no others that it had."""
        with self._lock:
            network.members[member.id] = member.name
            key, names = network.bridge.interface, (member.name, member.short_id, *aliases)
            packed = tuple(address.packed for address in addresses if address is not None)
            self._names.name(NameContainer(key, member.id, member.directory, names, packed, member.servers))

    def leave(self, network: NamedNetwork, member: Member, address: ipaddress.IPv4Address) -> None:
        """Undoes ``join``."""
        with self._lock:
            network.members.pop(member.id, None)
            network.bridge.release(address)
            self._names.forget(network.bridge.interface, member.id)

    def publish(self, bridge: Network, address: ipaddress.IPv4Address, mapping: PortMapping) -> PublishedPort:
        """Makes a port of the container with that address reachable. Raises what ``Network.publish`` raises."""
        if self.forwarder.is_needed_at(mapping.host_address):
            with self._lock:
                return self.forwarder.publish(address, mapping)
        port = bridge.publish(
            address,
            mapping.container_port,
            host_address=mapping.host_address,
            host_port=mapping.host_port,
            protocol=mapping.protocol,
        )
        with self._lock:
            if self.forwarder.leads_out(bridge) and not ipaddress.ip_address(port.host_address).is_loopback:
                try:
                    self.forwarder.lead_in(address, port, bridge.published_ports.reservation(port))
                except BaseException:
                    bridge.unpublish(port)
                    raise
        return port

    def unpublish(self, bridge: Network, port: PublishedPort) -> None:
        """Frees the host's port. Nothing happens for one that is not published (any more)."""
        with self._lock:
            self.forwarder.unpublish(port)
        bridge.unpublish(port)

    def remove(self, network: NamedNetwork) -> None:
        """Closes a network. Removing it again is no error. Raises NetworkInUseError."""
        with self._lock:
            if not self.is_open(network):
                return
            if network.members:
                raise NetworkInUseError(network.name, tuple(network.members.values()))
            del self._networks[network.name]
            self._names.leave(network.bridge.interface)
            self.forwarder.unpublish(network.bridge.interface)
            network.bridge.close()

    def close(self) -> None:
        """Closes all."""
        with self._lock, ExitStack() as closing:
            for network in self._networks.values():
                closing.callback(network.bridge.close)
            self._networks.clear()
            self._names.close()
            self.forwarder.close()
