"""An engine's network: a bridge in a namespace of its own, joined to this machine by one cable, the uplink.

::

    container             switch namespace                         this machine
    eth0 10.213.7.2/24 ── port ┐
                               ├ bridge ── uplink port ─────────── pyc-0ad50700 10.213.7.1/24, the gateway
    eth0 10.213.7.3/24 ── port ┘                                   nftables table pyc-0ad50700 (``rules``)

The bridge has an address too, the subnet's last, for a name server in its namespace; nothing is routed there.

When the processes that hold the switch namespace are gone, so are bridge, ports and uplink; when the socket that made
the table is closed, so is the table. A subnet is claimed by making the table and the uplink, both named after it: the
kernel keeps names unique, for every engine on the machine, and frees them.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

from pytest_pycontainer.errors import InvalidSpecError, NetworkAttachError, NoFreeSubnetError, SubnetInUseError
from pytest_pycontainer.kernel import rtnetlink
from pytest_pycontainer.kernel.netlink import Message, NetlinkError, NetlinkSocket
from pytest_pycontainer.kernel.rtnetlink import NetworkNamespace, VethEnd
from pytest_pycontainer.network.addresses import AddressPool, free_subnets, obstructs, parse_pool
from pytest_pycontainer.network.faults import Fault, Interface, NetworkFaults, OpenInterface
from pytest_pycontainer.network.ipv6 import Ipv6Addresses, configure
from pytest_pycontainer.network.ports import PublishedPort
from pytest_pycontainer.network.publishing import PublishedPorts
from pytest_pycontainer.network.uplink import (
    BRIDGE_INDEX,
    bring_up,
    claim,
    delete_if_there,
    interface_index,
    uplink_name,
)
from pytest_pycontainer.network.upstream import Ipv6, Router, Upstream, switch_on_ipv6
from pytest_pycontainer.network.way_out import WayOut

_BRIDGE = "bridge0"
_BRIDGE_ADDRESS = bytes.fromhex("024200000000")  # no container's: their addresses follow from IPv4 addresses


class Network:
    """A subnet on a bridge of its own; containers are attached to it and their ports published on the machine.

    Thread-safe: one lock guards the sockets and everything below, so changes happen one after the other. It needs the
    capability CAP_NET_ADMIN in this machine's namespace and in those handed in.
    """

    def __init__(
        self,
        addresses: AddressPool,
        name: str,
        namespace: int,
        switch: NetlinkSocket,
        upstream: Upstream,
        addresses6: Ipv6Addresses | None,
    ) -> None:
        self.mtu = upstream.mtu
        self._addresses6 = addresses6
        self.internal = upstream.internal
        """Whether nothing of it gets beyond this machine."""
        self.interface = name
        """The uplink's name where it ends, and that of the nftables table."""
        self._addresses = addresses
        self._switch = switch
        self._access = upstream.access
        self._leads_on = upstream.is_machine or upstream.outlet is not None
        self.published_ports = PublishedPorts(name, upstream.netfilter)
        self._faults = NetworkFaults(
            lambda: upstream.access.open_netfilter(namespace),
            switch,
            lambda address: Interface(interface_index(address), _port(address)),
            upstream.mtu,
        )
        self._lock = threading.Lock()
        self.way_out = WayOut(
            name,
            upstream.netfilter,
            switch,
            namespace,
            addresses.gateway,
            self._lock,
            forwarded_by_machine=upstream.is_machine and not upstream.internal,
        )
        self._resources = ExitStack()
        self._closed = False

    @property
    def subnet(self) -> ipaddress.IPv4Network:
        return self._addresses.subnet

    @property
    def gateway(self) -> ipaddress.IPv4Address:
        """The machine's address, as containers see it."""
        return self._addresses.gateway

    @property
    def ipv6_subnet(self) -> ipaddress.IPv6Network | None:
        """None for a network without IPv6."""
        return None if self._addresses6 is None else self._addresses6.subnet

    @property
    def resolver(self) -> ipaddress.IPv4Address:
        """The switch's own address, at which a name server may listen in its namespace."""
        return self._addresses.resolver

    @classmethod
    def open(
        cls,
        state: Path,
        switch: NetworkNamespace,
        *,
        pool: str | None = None,
        subnet: ipaddress.IPv4Network | None = None,
        internal: bool = False,
        ipv6: Ipv6 = False,
        router: Router | None = None,
    ) -> Network:
        """Makes the bridge in ``switch``, and the way from it to this machine and, unless ``internal``, beyond.

        ``switch`` is the network's from now on, and closed with it or when this fails. ``state`` is a directory that
        all engines of this machine share; it need not exist. Without a ``subnet`` a free /24 is cut from ``pool``. With
        ``ipv6`` it has such a subnet, too, and gets out by it if this machine does. A ``router``, whose sockets are
        the network's from now on, is in the place of this machine.

        Raises NoFreeSubnetError, SubnetInUseError, NetworkAttachError, InvalidSpecError for the pool.
        """
        with ExitStack() as resources:
            resources.callback(os.close, switch.descriptor)
            resources.callback(switch.route_socket.close)
            with _refusals():
                if router is None:
                    upstream = Upstream.this_machine(state, resources, internal=internal, ipv6=ipv6)
                else:
                    upstream = Upstream.through(router, resources, internal=internal, ipv6=ipv6)
                wanted = parse_pool(pool or upstream.pool) if subnet is None else subnet
                switch_socket = NetlinkSocket(switch.route_socket)
                switch_socket.request(_create_bridge(upstream.mtu))
                taken = upstream.taken
                for candidate in free_subnets(wanted, taken) if subnet is None else _if_free(subnet, taken):
                    name = uplink_name(candidate)
                    if claim(candidate, upstream.rules_for(candidate, name), upstream, switch_socket, resources):
                        break
                else:
                    raise (
                        NoFreeSubnetError(str(wanted))
                        if subnet is None
                        else SubnetInUseError(str(subnet), "one of ours")
                    )
                addresses6 = upstream.open_way(candidate, name)
            addresses = AddressPool(candidate)
            own = ipaddress.IPv4Interface((addresses.resolver, candidate.prefixlen))
            with _refusals():
                switch_socket.request(
                    [
                        rtnetlink.configure_ipv4(BRIDGE_INDEX, _BRIDGE, {rtnetlink.FORWARDING: 0}),
                        rtnetlink.add_address(BRIDGE_INDEX, own),
                    ]
                )
            network = cls(addresses, name, switch.descriptor, switch_socket, upstream, addresses6)
            network._resources.callback(network.published_ports.close)
            network._resources.callback(network._faults.close)
            network._resources.push(resources.pop_all())
            return network

    def allocate(self, wanted: ipaddress.IPv4Address | None = None) -> ipaddress.IPv4Address:
        """An address that nobody has, and that was not given back just now, or the ``wanted`` one.

        Raises NetworkAttachError if all are given out, AddressInUseError, and InvalidSpecError for one that is not in
        the subnet.
        """
        with self._lock:
            self._check_open("give out an address")
            if wanted is None:
                return self._addresses.allocate()
            self._addresses.claim(wanted)
            return wanted

    def allocate_ipv6(
        self, address: ipaddress.IPv4Address, wanted: ipaddress.IPv6Address | None = None
    ) -> ipaddress.IPv6Address | None:
        """The IPv6 address beside an allocated one, or the ``wanted`` one; None in a network without IPv6.

        It is given back with the other. Raises AddressInUseError, and InvalidSpecError for one that it can't have.
        """
        with self._lock:
            if self._addresses6 is not None:
                return self._addresses6.allocate(address, wanted)
        if wanted is not None:
            raise InvalidSpecError("ip6", str(wanted), "a network with IPv6: engine.network(..., ipv6=True)")
        return None

    def release(self, address: ipaddress.IPv4Address) -> None:
        """Gives an address back. The interface that had it is detached, or goes with its container's namespace."""
        with self._lock, _refusals():
            self._addresses.release(address)
            if self._addresses6 is not None:
                self._addresses6.release(address)
            if not self._closed:
                self._faults.forget(address)

    def attach(
        self,
        address: ipaddress.IPv4Address,
        container: NetworkNamespace,
        *,
        number: int = 0,
        default_route: bool = True,
    ) -> None:
        """Gives the container the interface ``eth{number}`` with that address, up, and the default route through it.

        The container is borrowed for the call; keeping its descriptor or socket open keeps its namespace alive. Raises
        NetworkAttachError.
        """
        interface = f"eth{number}"
        port, inside = interface_index(address), interface_index(address, number)
        here = VethEnd(_port(address), index=port, master=BRIDGE_INDEX)
        there = VethEnd(interface, index=inside, hardware_address=_hardware_address(address))
        cable = [rtnetlink.create_veth(here, there, container.descriptor, self.mtu), *bring_up(port, here.name)]
        configuration = [
            rtnetlink.bring_up(inside, interface),
            rtnetlink.add_address(inside, ipaddress.IPv4Interface((address, self.subnet.prefixlen))),
        ]
        address6 = None if self._addresses6 is None else self._addresses6.of(address)
        if address6 is not None:
            configuration = [*configuration[1:], *configure(inside, interface, address6, address), configuration[0]]
        if default_route:
            configuration += self._default_routes(inside)
        with self._lock, _refusals():
            self._check_open(f"attach {interface}")
            try:
                self._switch.request(cable)
            except NetlinkError as error:
                if error.errno not in (errno.EEXIST, errno.EBUSY):
                    raise
                # The last owner of the address is dead, but the kernel has not yet worked through its namespace.
                delete_if_there(self._switch, rtnetlink.delete_link(port, here.name))
                self._switch.request(cable)
        with _refusals():
            if address6 is not None:
                switch_on_ipv6(self._access, container.descriptor, interface)
            NetlinkSocket(container.route_socket).request(configuration)
        with self._lock, _refusals():
            rtnetlink.settle(self._switch, port, here.name)

    def detach(self, address: ipaddress.IPv4Address) -> None:
        """Takes the interface with that address from its container, if there is one, with all routes through it."""
        with self._lock, _refusals():
            if not self._closed:
                delete_if_there(self._switch, rtnetlink.delete_link(interface_index(address), _port(address)))

    def route_through(self, address: ipaddress.IPv4Address, container: NetworkNamespace, *, number: int = 0) -> None:
        """Makes the attached interface ``eth{number}`` the container's default route. Raises NetworkAttachError."""
        with _refusals():
            if routes := self._default_routes(interface_index(address, number)):
                NetlinkSocket(container.route_socket).request(routes)

    def _default_routes(self, index: int) -> list[Message]:
        if not self._leads_on:
            return []  # who has no route is told at once that there is none
        routes = [rtnetlink.add_default_route(index, self.gateway)]
        if self._addresses6 is not None and self._addresses6.gets_out:
            routes.append(rtnetlink.add_default_route(index, self._addresses6.gateway))
        return routes

    def publish(
        self,
        address: ipaddress.IPv4Address,
        container_port: int,
        *,
        host_address: str = "127.0.0.1",
        host_port: int | range | None = None,
        protocol: str = "tcp",
    ) -> PublishedPort:
        """Makes a container's port reachable at the host's: the one named, a free one of a range, or any that is free.

        ``0.0.0.0`` is every address. Raises PortInUseError, which names the owner; InvalidSpecError for what is no
        port, address or protocol; NetworkAttachError.
        """
        with self._lock, _refusals():
            self._check_open(f"publish port {container_port}")
            return self.published_ports.publish(
                address, container_port, host_address=host_address, host_port=host_port, protocol=protocol
            )

    def unpublish(self, port: PublishedPort) -> None:
        """Frees the host's port. Nothing happens for one that is not published (any more)."""
        with self._lock, _refusals():
            self.published_ports.unpublish(port)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What goes wrong now on request."""
        return self._faults.present

    def add_fault(self, fault: Fault, open_interface: OpenInterface) -> None:
        """Brings a fault about. Raises FaultUnsupportedError and NetworkAttachError; then all is as it was."""
        with self._lock, _refusals():
            self._check_open("bring about a fault")
            self._faults.add(fault, open_interface)

    def remove_fault(self, fault: Fault, open_interface: OpenInterface) -> None:
        """Undoes a fault. Nothing happens for one that is undone."""
        with self._lock, _refusals():
            if not self._closed:
                self._faults.remove(fault, open_interface)

    @staticmethod
    def container_interface(address: ipaddress.IPv4Address, number: int = 0) -> Interface:
        """What ``eth{number}`` of the container with that address is called in the container."""
        return Interface(interface_index(address, number), f"eth{number}")

    def close(self) -> None:
        """Takes everything away: uplink, table, forwarding, ports. Again is harmless.

        The bridge goes with the switch namespace, when the last container's interface has left it.
        """
        with self._lock, _refusals():
            self._closed = True
            self._resources.close()

    def __enter__(self) -> Network:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self, doing: str) -> None:
        if self._closed:
            raise NetworkAttachError(doing, "the network is closed; open an engine")


@contextmanager
def _refusals() -> Iterator[None]:
    """What the kernel refuses, as an error of ours."""
    try:
        yield
    except NetlinkError as error:
        raise NetworkAttachError(error.step, error.detail) from error
    except TimeoutError as error:
        raise NetworkAttachError("set up a network", str(error)) from error


def _port(address: ipaddress.IPv4Address) -> str:
    return f"port-{interface_index(address):x}"


def _if_free(subnet: ipaddress.IPv4Network, taken: Sequence[ipaddress.IPv4Network]) -> Iterator[ipaddress.IPv4Network]:
    """The subnet. Raises SubnetInUseError if the machine has or routes any of it."""
    for other in taken:
        if obstructs(other, subnet):
            raise SubnetInUseError(str(subnet), str(other))
    yield subnet


def _hardware_address(address: ipaddress.IPv4Address) -> bytes:
    # Follows from the address, so that nobody's neighbour table is wrong when another container gets it. The bit of
    # locally administered ones is set (IEEE 802, 8.4).
    return b"\x02\x42" + address.packed


def _create_bridge(mtu: int) -> Sequence[Message]:
    return rtnetlink.create_bridge(_BRIDGE, BRIDGE_INDEX, mtu, _BRIDGE_ADDRESS), *bring_up(BRIDGE_INDEX, _BRIDGE)
