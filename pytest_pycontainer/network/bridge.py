"""An engine's network: a bridge in a namespace of its own, joined to this machine by one cable, the uplink.

::

    container             switch namespace (layer 2 only)          this machine
    eth0 10.213.7.2/24 ── port ┐
                               ├ bridge ── uplink port ─────────── pyc-0ad50700 10.213.7.1/24, the gateway
    eth0 10.213.7.3/24 ── port ┘                                   nftables table pyc-0ad50700 (``rules``)

When the processes that hold the switch namespace are gone, so are bridge, ports and uplink; when the socket that made
the table is closed, so is the table. A subnet is claimed by making the table and the uplink, both named after it: the
kernel keeps names unique, for every engine on the machine, and frees them.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final

from pytest_pycontainer.errors import NetworkAttachError, NoFreeSubnetError
from pytest_pycontainer.kernel import nftables, rtnetlink
from pytest_pycontainer.kernel.netlink import Message, NetlinkError, NetlinkSocket
from pytest_pycontainer.kernel.rtnetlink import NetworkNamespace, VethEnd
from pytest_pycontainer.network import ports, rules
from pytest_pycontainer.network.addresses import AddressPool, free_subnets, parse_pool
from pytest_pycontainer.network.forwarding import Forwarding
from pytest_pycontainer.network.ports import PublishedPort

_BRIDGE = "bridge0"
_DEFAULT_MTU = 1500

# Interfaces get indexes that follow from the address, so that the messages that configure them need not wait to hear
# what the kernel chose. They start beyond those that it gives to the tunnels of a new namespace.
_FIRST_INDEX: Final = 0x10000
_BRIDGE_INDEX = _FIRST_INDEX  # what the address of a whole /16 would have, and no host


class Network:
    """A subnet on a bridge of its own; containers are attached to it and their ports published on the machine.

    Thread-safe: one lock guards the sockets and everything below, so changes happen one after the other. It needs the
    capability CAP_NET_ADMIN in this machine's namespace and in those handed in.
    """

    def __init__(
        self, addresses: AddressPool, mtu: int, name: str, switch: NetlinkSocket, netfilter: NetlinkSocket
    ) -> None:
        self.mtu = mtu
        self.interface = name
        """The uplink's name in this machine's namespace, and that of the nftables table."""
        self._addresses = addresses
        self._switch = switch
        self._netfilter = netfilter
        self._reserved: dict[PublishedPort, socket.socket] = {}
        self._lock = threading.Lock()
        self._resources = ExitStack()
        self._closed = False

    @property
    def subnet(self) -> ipaddress.IPv4Network:
        return self._addresses.subnet

    @property
    def gateway(self) -> ipaddress.IPv4Address:
        """The machine's address, as containers see it."""
        return self._addresses.gateway

    @classmethod
    def open(cls, state: Path, switch: NetworkNamespace, *, pool: str = "10.213.0.0/16") -> Network:
        """Makes the bridge in ``switch``, and the way from it to this machine and beyond.

        ``switch`` is the network's from now on, and closed with it or when this fails. ``state`` is a directory that
        all engines of this machine share; it need not exist. Subnets of /24 are cut from ``pool``. Raises
        NoFreeSubnetError, NetworkAttachError, InvalidSpecError for the pool.
        """
        with ExitStack() as resources:
            resources.callback(os.close, switch.descriptor)
            resources.callback(switch.route_socket.close)
            parsed_pool = parse_pool(pool)
            machine = NetlinkSocket.open(rtnetlink.ROUTE)
            resources.callback(machine.close)
            netfilter = NetlinkSocket.open(nftables.NETFILTER)
            resources.callback(netfilter.close)
            with _refusals():
                known = rtnetlink.routes(machine)
                taken = [route.destination for route in known]
                taken += [address.network for address in rtnetlink.addresses(machine)]
                device = rtnetlink.default_device(machine, known)
                mtu = device.mtu if device else _DEFAULT_MTU
                forwarding = Forwarding.claim(state, device.name if device else None)
                resources.callback(forwarding.release)
                switch_socket = NetlinkSocket(switch.route_socket)
                switch_socket.request(_create_bridge(mtu))
                for subnet in free_subnets(parsed_pool, taken):
                    guarded = device.name if device and forwarding.ours else None
                    if _claim(subnet, mtu, guarded, machine, switch_socket, netfilter, resources):
                        break
                else:
                    raise NoFreeSubnetError(pool)
                forwarding.turn_on()
            network = cls(AddressPool(subnet), mtu, _name(subnet), switch_socket, netfilter)
            network._resources.callback(network._free_ports)
            network._resources.push(resources.pop_all())
            return network

    def allocate(self) -> ipaddress.IPv4Address:
        """An address that nobody has, and that was not given back just now. Raises NetworkAttachError if all are."""
        with self._lock:
            return self._addresses.allocate()

    def release(self, address: ipaddress.IPv4Address) -> None:
        """Gives an address back. The interface that had it goes with its container's namespace."""
        with self._lock:
            self._addresses.release(address)

    def attach(self, address: ipaddress.IPv4Address, container: NetworkNamespace, *, interface: str = "eth0") -> None:
        """Gives the container an interface with that address, up, and the default route through it.

        The container is borrowed for the call; keeping its descriptor or socket open keeps its namespace alive. Raises
        NetworkAttachError.
        """
        index = _index(address)
        port = f"port-{index:x}"
        here = VethEnd(port, index=index, master=_BRIDGE_INDEX)
        there = VethEnd(interface, index=index, hardware_address=_hardware_address(address))
        cable = [rtnetlink.create_veth(here, there, container.descriptor, self.mtu), *_bring_up(index, port)]
        configuration = [
            rtnetlink.bring_up(index, interface),
            rtnetlink.add_address(index, ipaddress.IPv4Interface((address, self.subnet.prefixlen))),
            rtnetlink.add_default_route(index, self.gateway),
        ]
        with self._lock, _refusals():
            self._check_open(f"attach {interface}")
            try:
                self._switch.request(cable)
            except NetlinkError as error:
                if error.errno not in (errno.EEXIST, errno.EBUSY):
                    raise
                # The last owner of the address is dead, but the kernel has not yet worked through its namespace.
                _delete(self._switch, rtnetlink.delete_link(index, port))
                self._switch.request(cable)
        with _refusals():
            NetlinkSocket(container.route_socket).request(configuration)

    def publish(
        self,
        address: ipaddress.IPv4Address,
        container_port: int,
        *,
        host_address: str = "127.0.0.1",
        host_port: int | None = None,
        protocol: str = "tcp",
    ) -> PublishedPort:
        """Makes a container's port reachable at the host's, a free one unless named; ``0.0.0.0`` is every address.

        Raises PortInUseError, which names the owner; InvalidSpecError for what is no port, address or protocol;
        NetworkAttachError.
        """
        ports.check_port("container port", container_port)
        ports.check_protocol(protocol)
        ports.check_host_address(host_address)
        if host_port is not None:
            ports.check_port("host port", host_port)
        with self._lock, _refusals(), ExitStack() as undo:
            self._check_open(f"publish port {container_port}")
            reservation = ports.reserve(host_address, host_port, protocol)
            undo.callback(reservation.close)
            port = PublishedPort(container_port, protocol, host_address, reservation.getsockname()[1])
            nftables.commit(self._netfilter, [rules.publish(self.interface, port, address)])
            self._reserved[port] = reservation
            undo.pop_all()
            return port

    def unpublish(self, port: PublishedPort) -> None:
        """Frees the host's port. Nothing happens for one that is not published (any more)."""
        with self._lock, _refusals():
            reservation = self._reserved.pop(port, None)
            if reservation is None:
                return
            with reservation:
                nftables.commit(self._netfilter, [rules.unpublish(self.interface, port)])

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

    def _free_ports(self) -> None:
        for reservation in self._reserved.values():
            reservation.close()
        self._reserved.clear()

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


def _name(subnet: ipaddress.IPv4Network) -> str:
    return rules.UPLINK_PREFIX + subnet.network_address.packed.hex()


def _index(address: ipaddress.IPv4Address) -> int:
    return _FIRST_INDEX | int(address) & 0xFFFF


def _hardware_address(address: ipaddress.IPv4Address) -> bytes:
    # Follows from the address, so that nobody's neighbour table is wrong when another container gets it. The bit of
    # locally administered ones is set (IEEE 802, 8.4).
    return b"\x02\x42" + address.packed


def _bring_up(index: int, name: str) -> Sequence[Message]:
    return rtnetlink.without_ipv6_address(index, name), rtnetlink.bring_up(index, name)


def _create_bridge(mtu: int) -> Sequence[Message]:
    return rtnetlink.create_bridge(_BRIDGE, _BRIDGE_INDEX, mtu), *_bring_up(_BRIDGE_INDEX, _BRIDGE)


def _delete(endpoint: NetlinkSocket, link: Message) -> None:
    """Deletes an interface that may be gone already, with its namespace or with the cable's other end."""
    try:
        endpoint.request([link])
    except NetlinkError as error:
        if error.errno != errno.ENODEV:
            raise


def _claim(
    subnet: ipaddress.IPv4Network,
    mtu: int,
    guarded_device: str | None,
    machine: NetlinkSocket,
    switch: NetlinkSocket,
    netfilter: NetlinkSocket,
    resources: ExitStack,
) -> bool:
    """Makes the table and the uplink, and leaves their undoing in ``resources``; False if another engine was faster."""
    name = _name(subnet)
    with ExitStack() as undo:
        # The table comes first: whatever its rules hold back never finds an uplink without them.
        try:
            nftables.commit(netfilter, rules.create_table(name, subnet, guarded_device))
            undo.callback(nftables.commit, netfilter, [nftables.delete_table(name)])
            index = _create_uplink(name, subnet, mtu, machine, switch)
        except NetlinkError as error:
            # An owned table of another engine answers EPERM, to whoever does not own it, before EEXIST.
            if error.errno in (errno.EEXIST, errno.EPERM, errno.EBUSY):
                return False
            raise
        undo.callback(_delete, machine, rtnetlink.delete_link(index, name))
        address = ipaddress.IPv4Interface((subnet[1], subnet.prefixlen))
        settings = {rtnetlink.FORWARDING: 1, rtnetlink.ROUTE_LOCALNET: 1}
        machine.request(
            [
                rtnetlink.configure_ipv4(index, name, settings),
                *_bring_up(index, name),
                rtnetlink.add_address(index, address),
            ]
        )
        resources.push(undo.pop_all())
    return True


def _create_uplink(
    name: str, subnet: ipaddress.IPv4Network, mtu: int, machine: NetlinkSocket, switch: NetlinkSocket
) -> int:
    """The cable between bridge and machine; the index of the machine's end, which is still down."""
    here = VethEnd("uplink", index=_index(subnet[1]), master=_BRIDGE_INDEX)
    there = VethEnd(name)
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        switch.request([rtnetlink.create_veth(here, there, own, mtu)])
    finally:
        os.close(own)
    switch.request(_bring_up(here.index, here.name))
    return rtnetlink.link(machine, name).index
