"""Several networks: what they are to each other, and to a container that is in more than one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer.errors import NetworkAttachError, SubnetInUseError

if TYPE_CHECKING:
    from tests.network.conftest import Attached, Machine, Namespace

MakeContainer = Callable[[], "Attached"]
MakeNamespace = Callable[[], "Namespace"]

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
