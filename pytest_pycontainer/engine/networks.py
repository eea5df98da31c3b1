"""``Network``: the handle on one network, and what an engine does with networks."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING

from pytest_pycontainer.engine.network_faults import NetworkFaults
from pytest_pycontainer.engine.network_modes import DEFAULT_NETWORK, parse_endpoint, parse_network_name
from pytest_pycontainer.errors import InvalidSpecError, NetworkNotFoundError, NoWayOutError
from pytest_pycontainer.network.addresses import parse_ipv6_subnet, parse_subnet

if TYPE_CHECKING:
    from pytest_pycontainer.engine.container import Container
    from pytest_pycontainer.engine.network_registry import NamedNetwork
    from pytest_pycontainer.engine.resources import Resources


class Network(NetworkFaults):
    """A network of one engine: its containers reach each other, and are out of reach for those of other networks.

    A context manager: leaving it disconnects all containers and removes the network, which ends with the engine at the
    latest. Safe to use from several threads. Two handles on one network are equal.
    """

    def __init__(
        self, network: NamedNetwork, resources: Resources, list_containers: Callable[[], list[Container]]
    ) -> None:
        self._network = network
        self._resources = resources
        self._list_containers = list_containers

    def __repr__(self) -> str:
        return f"<Network {self.name}, {self.subnet}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and self._network is other._network

    def __hash__(self) -> int:
        return hash(self._network)

    def __enter__(self) -> Network:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Removes it, unless it has a container that stays."""
        if not any(container.is_kept for container in self.containers):
            self.remove(force=True)

    @property
    def name(self) -> str:
        """The name, given or made up."""
        return self._network.name

    @property
    def subnet(self) -> str:
        """Such as ``10.213.7.0/24``."""
        return str(self._network.bridge.subnet)

    @property
    def ipv6_subnet(self) -> str | None:
        """Such as ``fd70:7963:ad5:700::/64``; None without IPv6."""
        subnet = self._network.bridge.ipv6_subnet
        return None if subnet is None else str(subnet)

    @property
    def gateway(self) -> str:
        """The machine's address, as its containers see it."""
        return str(self._network.bridge.gateway)

    @property
    def internal(self) -> bool:
        """Whether its containers reach this machine alone, and nothing beyond."""
        return self._network.bridge.internal

    @property
    def containers(self) -> list[Container]:
        """Those that are in it, running or not, oldest first."""
        return [container for container in self._list_containers() if container.id in self._network.members]

    def connect(
        self, container: Container, *, aliases: Iterable[str] = (), ip: str | None = None, ip6: str | None = None
    ) -> None:
        """Gives a container an interface in it, running or not; it keeps that when it starts again.

        ``aliases`` are further names by which others find it. Raises InvalidSpecError (also for a container of another
        engine), NetworkNotFoundError if the network was removed, AddressInUseError, NetworkAttachError,
        ContainerNotFoundError, and PortInUseError if its ports are to be published through it.
        """
        if container not in self._list_containers():
            raise InvalidSpecError("container", repr(container), "a container that this engine has made")
        self._require_open()
        container._connect(parse_endpoint(self.name, {"aliases": aliases, "ip": ip, "ip6": ip6}))

    def disconnect(self, container: Container) -> None:
        """Takes the container's interface in it away, with all connections through that.

        Ports that are published through it, and the way out, go to another network of the container, if it has one that
        is not internal, else to the next one that is connected. Raises NetworkAttachError if it is not in it, and
        PortInUseError.
        """
        container._disconnect(self._network)

    def remove(self, *, force: bool = False) -> None:
        """Removes it. Removing it again is no error.

        Raises NetworkInUseError if it has containers, unless with ``force``, which disconnects them; InvalidSpecError
        for the engine's default network.
        """
        if self.name == DEFAULT_NETWORK:
            raise InvalidSpecError("network", self.name, "one that was made: the engine's own goes with the engine")
        if not self._resources.are_ours():
            return  # a child that the owner has forked holds a copy of the handle, not the network
        if force:
            for container in self.containers:
                container._disconnect(self._network)
        self._resources.networks.remove(self._network)

    def _require_open(self) -> None:
        registry = self._resources.networks
        if not registry.is_open(self._network):
            raise NetworkNotFoundError(self.name, registry.names())


class NetworkOperations(ABC):
    """The part of ``Engine`` that makes and lists networks. Safe to use from several threads."""

    _resources: Resources

    def network(
        self,
        name: str | None = None,
        *,
        subnet: str | None = None,
        internal: bool | None = None,
        ipv6: bool | str = False,
    ) -> Network:
        """The engine's network of that name, made if it is not there; without a name a new one.

        ``bridge`` is the one that containers are in if nothing else is said. Without ``subnet`` it gets a /24 that
        nobody on this machine has; a given one is of /16 to /29. An ``internal`` network has no way out: its containers
        reach each other and this machine alone. ``internal=False`` asks for the way out that a network has otherwise
        where there can be one: an ordinary user's needs a program. With ``ipv6`` containers have addresses of that
        kind, too, and reach by them what this machine reaches. Raises InvalidSpecError, also for one that is there
        and is another than asked for; SubnetInUseError, NoFreeSubnetError, NoWayOutError, NetworkAttachError, and what
        starting the engine raises. A text for ``ipv6`` is the subnet of that kind, a /64; otherwise it follows from the
        other.
        """
        self._resources.require_machine()
        registry = self._resources.networks
        if name in (DEFAULT_NETWORK, "default"):
            name = DEFAULT_NETWORK
        else:
            name = f"network-{secrets.token_hex(6)}" if name is None else parse_network_name(name)
        wanted = None if subnet is None else parse_subnet(subnet)
        if internal is False and (reason := self._resources.why_closed()):
            raise NoWayOutError(name, reason)
        internal = bool(internal)
        wanted6 = ipv6 if isinstance(ipv6, bool) else parse_ipv6_subnet(ipv6)
        network = registry.ensure(name, subnet=wanted, internal=internal, ipv6=wanted6)
        bridge = network.bridge
        have6 = bridge.ipv6_subnet is not None if isinstance(wanted6, bool) else bridge.ipv6_subnet
        if (bridge.internal, have6) != (internal, wanted6) or wanted not in (None, bridge.subnet):
            shown6 = have6 if isinstance(have6, bool) else str(have6)
            have = f"what it is: subnet={str(bridge.subnet)!r}, internal={bridge.internal}, ipv6={shown6!r}"
            raise InvalidSpecError(f"network {name}", f"subnet={subnet!r}, internal={internal}, ipv6={ipv6!r}", have)
        return self._handle_on_network(network)

    def networks(self) -> list[Network]:
        """The engine's networks, the oldest first; the default one is there once a container is in it."""
        return [self._handle_on_network(network) for network in self._resources.networks.listed()]

    @abstractmethod
    def _own_containers(self) -> list[Container]:
        """Those that this engine made and has not removed."""

    def _handle_on_network(self, network: NamedNetwork) -> Network:
        return Network(network, self._resources, self._own_containers)
