"""Several networks: what they are to each other, and to a container that is in more than one."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer.errors import NetworkAttachError, SubnetInUseError
from pytest_pycontainer.kernel import rtnetlink
from tests.network.test_bridge import IPV6, put_on_the_cable, router_advertisement

if TYPE_CHECKING:
    from pytest_pycontainer.network.bridge import Network
    from tests.network.conftest import Attached, Machine, Namespace

MakeContainer = Callable[[], "Attached"]
MakeNamespace = Callable[[], "Namespace"]

SIOCGIFHWADDR = 0x8927
SHORT = 0.3
"""Seconds after which a connection that is dropped on the way is believed to be."""


def test_an_internal_network_reaches_the_machine_and_nothing_beyond(
    machine: Machine, new_namespace: MakeNamespace
) -> None:
    one, other = new_namespace(), new_namespace()
    with machine.network(internal=True) as network:
        assert machine.forwarding() == "0"
        addresses = [network.allocate(), network.allocate()]
        for namespace, address in zip((one, other), addresses, strict=True):
            network.attach(address, namespace.value, default_route=False)
        with other.server() as port:
            assert one.ask(str(addresses[1]), port) == str(addresses[0])
            assert machine.namespace.ask(str(addresses[1]), port) == str(network.gateway)
        with machine.outside.server() as port:
            with pytest.raises(OSError, match="unreachable"):
                one.ask(machine.OUTSIDE_ADDRESS, port, SHORT)
            # Who is root in the container, and may change routes, gets no further.
            network.route_through(addresses[0], one.value)
            with pytest.raises(TimeoutError):
                one.ask(machine.OUTSIDE_ADDRESS, port, SHORT)


def test_an_internal_network_does_not_reach_others_through_their_published_ports(
    machine: Machine, new_namespace: MakeNamespace, attach: MakeContainer
) -> None:
    published, inside = attach(), new_namespace()
    with machine.network(new_namespace(), internal=True) as internal, machine.network(new_namespace()) as network:
        internal.attach(address := internal.allocate(), inside.value, default_route=False)
        internal.route_through(address, inside.value)
        network.attach(address := network.allocate(), published.namespace.value, number=1, default_route=False)
        port = machine.namespace.run(network.publish, address, 80, host_address="0.0.0.0").host_port
        with published.namespace.server(port=80):
            assert machine.namespace.ask("127.0.0.1", port)
            with pytest.raises(TimeoutError):
                inside.ask(str(internal.gateway), port, SHORT)


def test_a_subnet_of_ones_own(machine: Machine, new_namespace: MakeNamespace) -> None:
    one, other = new_namespace(), new_namespace()
    with machine.network(subnet="10.77.0.0/17") as network:
        assert str(network.subnet) == "10.77.0.0/17"
        far = network.subnet[0x7F01]
        network.attach(network.allocate(), one.value)
        network.attach(network.allocate(far), other.value)
        with other.server() as port, machine.outside.server() as outside:
            assert one.ask(str(far), port) == "10.77.0.2"
            assert other.ask(machine.OUTSIDE_ADDRESS, outside) == machine.ADDRESS
        for taken in ("10.77.0.0/17", "10.77.0.0/24", "10.77.0.0/16", "192.0.2.128/25"):
            with pytest.raises(SubnetInUseError, match=taken), machine.network(new_namespace(), subnet=taken):
                pass
    with machine.network(new_namespace(), subnet="10.77.0.0/24") as network:
        assert str(network.gateway) == "10.77.0.1"


def test_a_container_in_two_networks(machine: Machine, new_namespace: MakeNamespace) -> None:
    both, left, right = new_namespace(), new_namespace(), new_namespace()
    with machine.network() as one, machine.network(new_namespace()) as two:
        own = one.allocate(), two.allocate()
        # Both addresses have the same place in their subnets, and so much the same interface numbers.
        assert [int(address) & 0xFF for address in own] == [2, 2]
        one.attach(own[0], both.value)
        two.attach(own[1], both.value, number=1, default_route=False)
        one.attach(one.allocate(), left.value)
        two.attach(two.allocate(), right.value)
        with both.server() as port:
            assert left.ask(str(own[0]), port)
            assert right.ask(str(own[1]), port)
            with pytest.raises(TimeoutError):
                right.ask(str(own[0]), port, SHORT)
        assert both.interfaces() >= {"eth0", "eth1"}

        one.detach(own[0])
        one.detach(own[0])
        assert "eth0" not in both.interfaces()
        two.route_through(own[1], both.value, number=1)
        with machine.outside.server() as port:
            assert both.ask(machine.OUTSIDE_ADDRESS, port) == machine.ADDRESS
        one.attach(own[0], both.value, default_route=False)
        with both.server() as port:
            assert left.ask(str(own[0]), port)


def test_a_network_that_is_closed_takes_nobody(machine: Machine, new_namespace: MakeNamespace) -> None:
    with machine.network() as network:
        address = network.allocate()
        machine.namespace.run(network.close)
        network.detach(address)
        with pytest.raises(NetworkAttachError, match="the network is closed"):
            network.allocate()


def test_the_switch_keeps_its_hardware_address_whoever_comes_and_goes(
    machine: Machine, network: Network, new_namespace: MakeNamespace
) -> None:
    """Else who has talked to the name server there would talk to nobody for a while."""

    def address() -> str:
        with socket.socket() as any_socket:
            asked = fcntl.ioctl(any_socket, SIOCGIFHWADDR, struct.pack("256s", b"bridge0"))
        return asked[18:24].hex()

    before = machine.switch.run(address)
    for _ in range(8):
        own = network.allocate()
        network.attach(own, new_namespace().value)
        assert machine.switch.run(address) == before
        network.detach(own)
    assert machine.switch.run(address) == before


def hexadecimal_routes(namespace: Namespace) -> set[str]:
    lines = namespace.run(Path("/proc/thread-self/net/ipv6_route").read_text).splitlines()
    return {line.split()[0] for line in lines if line.split()[9] == "eth0"}


def test_ipv6_between_containers_and_to_the_outside(machine: Machine, new_namespace: MakeNamespace) -> None:
    inside, outside = ipaddress.IPv6Interface("2001:db8::2/64"), ipaddress.IPv6Interface("2001:db8::1/64")
    machine.namespace.routing().request(
        [rtnetlink.add_address(100, inside), rtnetlink.add_default_route(100, outside.ip)]
    )
    machine.outside.routing().request([rtnetlink.add_address(100, outside)])
    one, other = new_namespace(), new_namespace()
    with machine.network(ipv6=True) as network:
        assert machine.flag(f"ipv6/conf/{machine.DEVICE}/force_forwarding") == "1"
        assert machine.flag("ipv6/conf/all/forwarding") == "0"
        places = []
        for namespace in (one, other):
            address = network.allocate()
            places.append(str(network.allocate_ipv6(address)))
            network.attach(address, namespace.value)
        with ipv6_server(other) as port:
            assert ipv6_ask(one, places[1], port) == places[0]
            assert ipv6_ask(machine.namespace, places[1], port).endswith("::1")
        with ipv6_server(machine.outside) as port:
            assert ipv6_ask(one, str(outside.ip), port) == str(inside.ip)
        with ipv6_server(one) as port:
            assert network.ipv6_subnet is not None
            route = rtnetlink.add_route(network.ipv6_subnet, 100, inside.ip)
            machine.outside.routing().request([route])
            with pytest.raises(TimeoutError):
                ipv6_ask(machine.outside, places[0], port)
    assert machine.flag(f"ipv6/conf/{machine.DEVICE}/force_forwarding") == "0"


def test_ipv6_without_a_way_out(machine: Machine, new_namespace: MakeNamespace) -> None:
    for internal in (False, True):
        with machine.network(new_namespace(), ipv6=True, internal=internal) as network:
            container = new_namespace()
            address = network.allocate()
            network.allocate_ipv6(address)
            network.attach(address, container.value, default_route=not internal)
            assert "0" * 32 not in hexadecimal_routes(container)
            with pytest.raises(OSError, match="unreachable"):
                ipv6_ask(container, "2001:db8::1", 80)


@contextmanager
def ipv6_server(namespace: Namespace) -> Iterator[int]:
    with namespace.server("::", family=socket.AF_INET6) as port:
        yield port


def ipv6_ask(namespace: Namespace, host: str, port: int, source: str = "") -> str:
    return namespace.ask(host, port, 1.0, source)


def test_no_container_becomes_a_router_by_ipv6_or_speaks_for_others(
    machine: Machine, new_namespace: MakeNamespace
) -> None:
    container = new_namespace()
    with machine.network(ipv6=True) as network:
        address = network.allocate()
        own = network.allocate_ipv6(address)
        assert own is not None
        network.attach(address, container.value)
        container.run(put_on_the_cable, IPV6, bytes.fromhex("333300000001"), [router_advertisement()])
        container.routing().request([rtnetlink.add_address(0x10002, ipaddress.IPv6Interface("2001:db8:9::1/64"))])
        machine.namespace.routing().request(
            [
                rtnetlink.add_route(
                    ipaddress.IPv6Network("2001:db8:9::/64"),
                    rtnetlink.link(machine.namespace.routing(), network.interface).index,
                    own,
                )
            ]
        )
        with ipv6_server(machine.namespace) as port:
            assert network.ipv6_subnet is not None
            gateway = str(network.ipv6_subnet[1])
            assert ipv6_ask(container, gateway, port) == str(own)
            with pytest.raises(TimeoutError):
                ipv6_ask(container, gateway, port, "2001:db8:9::1")
        routes = machine.namespace.run(Path("/proc/thread-self/net/ipv6_route").read_text)
        assert "fe800000000000000000000000000066" not in routes
