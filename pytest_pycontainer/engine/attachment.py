"""What a container holds of its networks: addresses, interfaces, and its published ports."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from itertools import count

from pytest_pycontainer.engine.network_modes import WantedEndpoint
from pytest_pycontainer.engine.network_registry import Member, NamedNetwork, NetworkRegistry
from pytest_pycontainer.engine.port_arguments import PortMapping
from pytest_pycontainer.errors import InvalidSpecError, NetworkAttachError
from pytest_pycontainer.kernel.rtnetlink import NetworkNamespace
from pytest_pycontainer.network.bridge import Network
from pytest_pycontainer.network.ports import PublishedPort

OpenNamespace = Callable[[], AbstractContextManager[NetworkNamespace]]
"""Lends the network namespace of a container for the length of a block."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A container's place in one network: the interface ``eth{number}`` with its addresses."""

    network: NamedNetwork
    address: ipaddress.IPv4Address
    number: int
    aliases: tuple[str, ...]
    address6: ipaddress.IPv6Address | None = None


class Attachment:
    """One container's places in networks, in the order of its interfaces; ``close`` gives all of it back.

    Its ports are published, and its default route leads, through the first network that is not internal. Not
    thread-safe.
    """

    def __init__(
        self,
        networks: NetworkRegistry,
        member: Member,
        wanted: Sequence[WantedEndpoint],
        mappings: Sequence[PortMapping],
    ) -> None:
        """Takes the addresses. Raises NetworkNotFoundError, AddressInUseError, InvalidSpecError, NetworkAttachError."""
        self._networks = networks
        self._member = member
        self._mappings = tuple(mappings)
        self._published: list[PublishedPort] = []
        self._publishing: Network | None = None
        self._withheld: tuple[PortMapping, ...] = ()  # until there is a way out
        self._endpoints: list[Endpoint] = []
        with ExitStack() as undone:
            undone.callback(self.close)
            for endpoint in wanted:
                self._join(endpoint)
            if mappings and self._way_out() is None:
                have = ", ".join(endpoint.network for endpoint in wanted) or "none"
                raise InvalidSpecError("ports", f"with the networks {have}", "a network that is not internal")
            undone.pop_all()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Its places, in the order of the interfaces."""
        return tuple(self._endpoints)

    @property
    def addresses(self) -> tuple[tuple[str, str], ...]:
        """Networks' names and its address in each, in the order of the interfaces."""
        return tuple((endpoint.network.name, str(endpoint.address)) for endpoint in self._endpoints)

    @property
    def ipv6_addresses(self) -> tuple[tuple[str, str], ...]:
        """As ``addresses``, in those networks that have IPv6."""
        return tuple(
            (endpoint.network.name, str(endpoint.address6))
            for endpoint in self._endpoints
            if endpoint.address6 is not None
        )

    @property
    def resolver(self) -> str:
        """The address of the name server that it asks; empty without a network."""
        return str(self._endpoints[0].network.bridge.resolver) if self._endpoints else ""

    @property
    def gateway(self) -> str:
        """The machine's address, as the container sees it; empty without a network."""
        endpoint = self._way_out() or next(iter(self._endpoints), None)
        return "" if endpoint is None else str(endpoint.network.bridge.gateway)

    @property
    def published(self) -> tuple[PublishedPort, ...]:
        """The ports that lead into the container now."""
        return tuple(self._published)

    def is_forwarded(self, host_address: str) -> bool:
        """Whether a port at that address of this machine is led into the container by the forwarder."""
        return self._networks.forwarder.is_needed_at(host_address)

    def attach(self, namespace: NetworkNamespace) -> None:
        """Gives the container its interfaces. Raises NetworkAttachError."""
        way_out = self._way_out()
        for endpoint in self._endpoints:
            self._attach(endpoint, namespace, default_route=endpoint is way_out)

    def connect(self, wanted: WantedEndpoint, open_namespace: OpenNamespace) -> Endpoint:
        """Gives a container a further interface, and if it had no way out, its published ports with that.

        Raises what the constructor and ``publish`` raise; then nothing has changed.
        """
        for endpoint in self._endpoints:
            if endpoint.network.name == wanted.network:
                raise NetworkAttachError(f"connect {self._member.name} to {wanted.network}", "it is connected already")
        before, withheld = self._way_out(), self._withheld
        endpoint = self._join(wanted)
        is_way_out = before is None and self._way_out() is endpoint
        try:
            with open_namespace() as namespace:
                self._attach(endpoint, namespace, default_route=is_way_out)
            if is_way_out:
                self._publish(withheld)
        except BaseException:
            endpoint.network.bridge.detach(endpoint.address)
            self._leave(endpoint)
            self._withheld = withheld
            raise
        return endpoint

    def endpoint_in(self, network: NamedNetwork) -> Endpoint:
        """The container's place in a network. Raises NetworkAttachError if it is not in it."""
        for endpoint in self._endpoints:
            if endpoint.network is network:
                return endpoint
        raise NetworkAttachError(f"disconnect {self._member.name} from {network.name}", "it is not connected to it")

    def disconnect(self, endpoint: Endpoint, open_namespace: OpenNamespace) -> None:
        """Takes an interface away; ports and the default route go to another network.

        If there is none for them, ports are published through the next one that is connected. Raises what ``publish``
        raises: the interface is gone all the same.
        """
        was_way_out = endpoint is self._way_out()
        published = tuple(
            PortMapping(port.container_port, port.protocol, port.host_address, port.host_port)
            for port in self._published
        )
        if was_way_out:
            self.unpublish()
        endpoint.network.bridge.detach(endpoint.address)
        self._leave(endpoint)
        if not was_way_out:
            return
        if (way_out := self._way_out()) is not None:
            with open_namespace() as namespace:
                way_out.network.bridge.route_through(way_out.address, namespace, number=way_out.number)
        self._publish(published)

    def publish(self) -> None:
        """Publishes the ports. Raises PortInUseError and other NetworkErrors, with nothing left published."""
        self._publish(self._mappings)

    def unpublish(self) -> None:
        """Takes the published ports back."""
        self._withheld = ()
        while self._published and self._publishing is not None:
            self._networks.unpublish(self._publishing, self._published.pop())

    def rename(self, name: str) -> None:
        """Has it found by another name."""
        self._member = replace(self._member, name=name)
        for endpoint in self._endpoints:
            addresses = endpoint.address, endpoint.address6
            self._networks.name(endpoint.network, self._member, addresses, endpoint.aliases)

    def close(self) -> None:
        """Gives back ports and addresses; the kernel removes the interfaces with their namespace."""
        self.unpublish()
        for endpoint in self.endpoints:
            self._leave(endpoint)

    def _publish(self, mappings: Sequence[PortMapping]) -> None:
        endpoint = self._way_out()
        if endpoint is None:
            self._withheld = tuple(mappings)
            return
        self._withheld = ()
        self._publishing = endpoint.network.bridge
        try:
            for mapping in mappings:
                self._published.append(self._networks.publish(self._publishing, endpoint.address, mapping))
        except BaseException:
            self.unpublish()
            raise

    def _way_out(self) -> Endpoint | None:
        return next((endpoint for endpoint in self._endpoints if not endpoint.network.bridge.internal), None)

    def _join(self, wanted: WantedEndpoint) -> Endpoint:
        network, address, address6 = self._networks.join(self._member, wanted)
        taken = {endpoint.number for endpoint in self._endpoints}
        number = next(number for number in count() if number not in taken)
        endpoint = Endpoint(network, address, number, wanted.aliases, address6)
        self._endpoints.append(endpoint)
        return endpoint

    def _leave(self, endpoint: Endpoint) -> None:
        self._endpoints.remove(endpoint)
        self._networks.leave(endpoint.network, self._member, endpoint.address)

    @staticmethod
    def _attach(endpoint: Endpoint, namespace: NetworkNamespace, *, default_route: bool) -> None:
        endpoint.network.bridge.attach(endpoint.address, namespace, number=endpoint.number, default_route=default_route)
