from __future__ import annotations

import ipaddress
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer.errors import (
    InvalidSpecError,
    NetworkAttachError,
    NoFreeSubnetError,
)
from pytest_pycontainer.kernel import namespaces, nftables, rtnetlink
from pytest_pycontainer.kernel.netlink import Message, NetlinkSocket, parse_attributes
from pytest_pycontainer.network.bridge import Network
from pytest_pycontainer.network.ports import PublishedPort

if TYPE_CHECKING:
    from tests.network.conftest import Attached, Machine, Namespace

MakeContainer = Callable[[], "Attached"]
MakeNamespace = Callable[[], "Namespace"]

IPV4 = 0x0800
IPV6 = 0x86DD
GET_LINK, NAME_OF_LINK, OPERSTATE, OPERATIONAL = 18, 3, 16, 6  # linux/rtnetlink.h, linux/if.h
SHORT = 0.3
"""Seconds after which a connection that is dropped on the way is believed to be."""


def test_containers_reach_each_other_directly(attach: MakeContainer) -> None:
    one, other = attach(), attach()
    with other.namespace.server() as port:
        assert one.namespace.ask(str(other.address), port) == str(one.address)


def test_machine_and_container_reach_each_other(machine: Machine, network: Network, attach: MakeContainer) -> None:
    container = attach()
    with container.namespace.server() as port:
        assert machine.namespace.ask(str(container.address), port) == str(network.gateway)
    with machine.namespace.server() as port:
        assert container.namespace.ask(str(network.gateway), port) == str(container.address)


def test_the_outside_is_reached_under_the_machines_address(machine: Machine, attach: MakeContainer) -> None:
    container = attach()
    with machine.outside.server() as port:
        assert container.namespace.ask(machine.OUTSIDE_ADDRESS, port) == machine.ADDRESS
        assert container.namespace.ask(machine.BEYOND_ADDRESS, port) == machine.ADDRESS


def test_interfaces_have_the_mtu_of_the_way_out(machine: Machine, network: Network, attach: MakeContainer) -> None:
    container = attach()
    assert network.mtu == machine.MTU
    assert rtnetlink.link(container.namespace.routing(), "eth0").mtu == machine.MTU
    assert rtnetlink.link(machine.switch.routing(), "bridge0").mtu == machine.MTU
    assert network.interface in machine.namespace.interfaces()


def test_a_machine_without_a_way_out_has_networks_all_the_same(new_namespace: MakeNamespace, tmp_path: Path) -> None:
    machine, switch, container = new_namespace(), new_namespace(), new_namespace()
    with machine.run(Network.open, tmp_path, switch.handed_over()) as network:
        assert network.mtu == 1500
        address = network.allocate()
        network.attach(address, container.value)
        port = machine.run(network.publish, address, 80)
        with container.server(port=80):
            assert machine.ask("127.0.0.1", port.host_port) == str(network.gateway)


def test_a_port_published_on_loopback(machine: Machine, network: Network, attach: MakeContainer) -> None:
    container = attach()
    with container.namespace.server(port=6379):
        port = machine.namespace.run(network.publish, container.address, 6379)
        assert port == PublishedPort(6379, "tcp", "127.0.0.1", port.host_port)
        assert machine.namespace.ask("127.0.0.1", port.host_port) == str(network.gateway)
        with pytest.raises(ConnectionRefusedError):
            machine.namespace.ask(machine.ADDRESS, port.host_port)
        with pytest.raises(ConnectionRefusedError):
            machine.outside.ask(machine.ADDRESS, port.host_port)


def test_a_port_published_everywhere(machine: Machine, network: Network, attach: MakeContainer) -> None:
    container = attach()
    with container.namespace.server(port=80):
        port = machine.namespace.run(network.publish, container.address, 80, host_address="0.0.0.0")
        assert machine.namespace.ask("127.0.0.1", port.host_port) == str(network.gateway)
        assert machine.namespace.ask(machine.ADDRESS, port.host_port) == machine.ADDRESS
        assert machine.outside.ask(machine.ADDRESS, port.host_port) == machine.OUTSIDE_ADDRESS


def test_a_port_published_everywhere_is_not_that_of_other_machines(
    machine: Machine, network: Network, attach: MakeContainer
) -> None:
    container = attach()
    with machine.outside.server(port=8080):
        machine.namespace.run(network.publish, container.address, 80, host_address="0.0.0.0", host_port=8080)
        assert machine.namespace.ask(machine.OUTSIDE_ADDRESS, 8080) == machine.ADDRESS
        assert container.namespace.ask(machine.OUTSIDE_ADDRESS, 8080) == machine.ADDRESS


def test_a_port_published_on_one_address(machine: Machine, network: Network, attach: MakeContainer) -> None:
    container = attach()
    with container.namespace.server(port=80):
        port = machine.namespace.run(
            network.publish, container.address, 80, host_address=machine.ADDRESS, host_port=8080
        )
        assert port.host_port == 8080
        assert machine.outside.ask(machine.ADDRESS, 8080) == machine.OUTSIDE_ADDRESS
        assert machine.namespace.ask(machine.ADDRESS, 8080) == machine.ADDRESS
        with pytest.raises(ConnectionRefusedError):
            machine.namespace.ask("127.0.0.1", 8080)


def test_a_container_reaches_published_ports_of_others_and_its_own(
    machine: Machine, network: Network, attach: MakeContainer
) -> None:
    one, other = attach(), attach()
    with other.namespace.server(port=80):
        port = machine.namespace.run(network.publish, other.address, 80, host_address="0.0.0.0").host_port
        for asking in (one, other):
            assert asking.namespace.ask(str(network.gateway), port) == str(network.gateway)
            assert asking.namespace.ask(machine.ADDRESS, port) == str(network.gateway)


def test_a_datagram_port(machine: Machine, network: Network, attach: MakeContainer) -> None:
    container = attach()

    with container.namespace.datagram_socket() as service, machine.namespace.datagram_socket() as client:
        service.bind(("0.0.0.0", 53))
        port = machine.namespace.run(network.publish, container.address, 53, protocol="udp")
        client.sendto(b"question", ("127.0.0.1", port.host_port))
        question, asker = service.recvfrom(100)
        service.sendto(b"answer to " + question, asker)
        assert client.recvfrom(100) == (b"answer to question", ("127.0.0.1", port.host_port))


def test_an_unpublished_port_is_free_again(machine: Machine, network: Network, attach: MakeContainer) -> None:
    container = attach()
    with container.namespace.server(port=80):
        port = machine.namespace.run(network.publish, container.address, 80)
        assert machine.namespace.ask("127.0.0.1", port.host_port)
        network.unpublish(port)
        network.unpublish(port)
        with pytest.raises(ConnectionRefusedError):
            machine.namespace.ask("127.0.0.1", port.host_port)
        assert machine.namespace.run(network.publish, container.address, 80, host_port=port.host_port) == port
        network.unpublish(port)
        with machine.namespace.server("127.0.0.1", port.host_port):
            assert machine.namespace.ask("127.0.0.1", port.host_port) == "127.0.0.1"


def datagram(source: str, destination: str, port: int, content: bytes) -> bytes:
    """An IPv4 packet that no honest sender would make."""
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    header = struct.pack(">BBHHHBBH", 0x45, 0, 28 + len(content), 0, 0, 64, socket.IPPROTO_UDP, 0) + addresses
    total = sum(struct.unpack(">10H", header))
    checksum = ~(total + (total >> 16)) & 0xFFFF
    header = header[:10] + struct.pack(">H", checksum) + header[12:]
    return header + struct.pack(">HHHH", 9999, port, 8 + len(content), 0) + content


def hardware_address(neighbour: str) -> bytes:
    """Of a neighbour in the calling thread's namespace that was talked to just now."""
    entries = [line.split() for line in Path("/proc/thread-self/net/arp").read_text().splitlines()[1:]]
    return next(bytes.fromhex(entry[3].replace(":", "")) for entry in entries if entry[0] == neighbour)


def put_on_the_cable(kind: int, destination: bytes, packets: list[bytes]) -> None:
    """Sends through eth0 what the container's kernel itself would refuse to send."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, kind) as cable:
        for packet in packets:
            cable.sendto(packet, ("eth0", kind, 0, 1, destination))


def test_no_container_talks_to_loopback_or_under_a_foreign_address(
    machine: Machine, network: Network, attach: MakeContainer
) -> None:
    container = attach()
    own, gateway = str(container.address), str(network.gateway)
    with machine.namespace.server() as port:  # has the gateway's hardware address looked up, too
        container.namespace.ask(gateway, port)

    with machine.namespace.datagram_socket() as listener:
        listener.bind(("0.0.0.0", 0))
        port = listener.getsockname()[1]
        packets = [
            datagram(own, "127.0.0.1", port, b"to loopback (CVE-2020-8558)"),
            datagram("127.0.0.1", gateway, port, b"from loopback"),
            datagram("127.0.0.1", "127.0.0.1", port, b"from and to loopback"),
            datagram(machine.OUTSIDE_ADDRESS, gateway, port, b"from outside"),
            datagram(own, gateway, port, b"honest"),
        ]
        destination = container.namespace.run(hardware_address, gateway)
        container.namespace.run(put_on_the_cable, IPV4, destination, packets)
        # The cable keeps the order: had one of the others got through, it would be here first.
        assert listener.recv(100) == b"honest"


def router_advertisement() -> bytes:
    """An IPv6 packet by which fe80::66 offers itself as default router for half an hour (RFC 4861, 4.2)."""
    addresses = socket.inet_pton(socket.AF_INET6, "fe80::66") + socket.inet_pton(socket.AF_INET6, "ff02::1")
    message = struct.pack(">BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    total = sum(struct.unpack(">28H", addresses + struct.pack(">II", len(message), socket.IPPROTO_ICMPV6) + message))
    checksum = ~(total + (total >> 16)) & 0xFFFF
    message = message[:2] + struct.pack(">H", checksum) + message[4:]
    return struct.pack(">IHBB", 0x60000000, len(message), socket.IPPROTO_ICMPV6, 255) + addresses + message


def test_no_container_becomes_the_machines_router(machine: Machine, network: Network, attach: MakeContainer) -> None:
    container = attach()
    everybody = bytes.fromhex("333300000001")
    container.namespace.run(put_on_the_cable, IPV6, everybody, [router_advertisement()])
    with machine.namespace.server() as port:  # the cable keeps the order: the advertisement was there before
        container.namespace.ask(str(network.gateway), port)
    routes = machine.namespace.run(Path("/proc/thread-self/net/ipv6_route").read_text)
    assert "fe800000000000000000000000000066" not in routes


def test_the_outside_reaches_only_published_ports(machine: Machine, network: Network, attach: MakeContainer) -> None:
    container = attach()
    machine.outside.routing().request(
        [rtnetlink.add_route(network.subnet, 100, ipaddress.IPv4Address(machine.ADDRESS))]
    )
    with container.namespace.server(port=80), container.namespace.server(port=81):
        machine.namespace.run(network.publish, container.address, 80, host_address="0.0.0.0", host_port=8080)
        assert machine.outside.ask(machine.ADDRESS, 8080) == machine.OUTSIDE_ADDRESS
        with pytest.raises(TimeoutError):
            machine.outside.ask(str(container.address), 81, SHORT)


def test_the_machine_routes_nothing_for_others_because_of_us(
    machine: Machine, network: Network, new_namespace: MakeNamespace
) -> None:
    """Someone on the machine's network takes it for a router to another of its networks."""
    behind = new_namespace()
    ends = ("lan1", "203.0.113.1/24"), ("lan1", "203.0.113.2/24")
    machine.namespace.join(behind, *ends, index=200, mtu=1500)
    machine.outside.routing().request(
        [rtnetlink.add_route(ipaddress.IPv4Network("203.0.113.0/24"), 100, ipaddress.IPv4Address(machine.ADDRESS))]
    )
    behind.routing().request([rtnetlink.add_default_route(200, ipaddress.IPv4Address("203.0.113.1"))])
    machine.namespace.routing().request([rtnetlink.configure_ipv4(200, "lan1", {rtnetlink.FORWARDING: 1})])
    assert machine.forwarding() == "1"
    with behind.server() as port, pytest.raises(TimeoutError):
        machine.outside.ask("203.0.113.2", port, SHORT)
    machine.namespace.run(network.close)
    machine.namespace.routing().request([rtnetlink.configure_ipv4(100, "wan0", {rtnetlink.FORWARDING: 1})])
    with behind.server() as port:
        assert machine.outside.ask("203.0.113.2", port) == machine.OUTSIDE_ADDRESS


def test_networks_of_two_engines_are_apart_but_for_published_ports(
    machine: Machine, network: Network, attach: MakeContainer, new_namespace: MakeNamespace
) -> None:
    mine = attach()
    other_switch, theirs = new_namespace(), new_namespace()
    with machine.network(other_switch) as other:
        assert not other.subnet.overlaps(network.subnet)
        address = other.allocate()
        other.attach(address, theirs.value)
        with theirs.server(port=80):
            port = machine.namespace.run(other.publish, address, 80, host_address="0.0.0.0").host_port
            assert mine.namespace.ask(machine.ADDRESS, port) == str(other.gateway)
            with pytest.raises(TimeoutError):
                mine.namespace.ask(str(address), 80, SHORT)
        with machine.outside.server() as port:
            assert theirs.ask(machine.OUTSIDE_ADDRESS, port) == machine.ADDRESS
    with machine.outside.server() as port:
        assert mine.namespace.ask(machine.OUTSIDE_ADDRESS, port) == machine.ADDRESS


def test_close_leaves_nothing_and_may_come_twice(machine: Machine, new_namespace: MakeNamespace) -> None:
    before = machine.namespace.interfaces()
    with machine.network() as network:
        address = network.allocate()
        network.attach(address, new_namespace().value)
        port = machine.namespace.run(network.publish, address, 80)
        assert machine.namespace.tables() == {network.interface}
        machine.namespace.run(network.close)
        assert machine.namespace.tables() == set()
        assert machine.namespace.interfaces() == before
        assert machine.forwarding() == "0"
        with machine.namespace.server("127.0.0.1", port.host_port):
            pass
        with pytest.raises(NetworkAttachError, match="the network is closed"):
            machine.namespace.run(network.publish, address, 80)
        network.unpublish(port)


def test_nothing_is_left_when_opening_fails(machine: Machine) -> None:
    before = machine.namespace.interfaces()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    for pool in ("192.0.2.0/24", "nonsense"):
        with pytest.raises((NoFreeSubnetError, InvalidSpecError), match=pool), machine.network(pool=pool):
            pass
    assert machine.namespace.tables() == set()
    assert machine.namespace.interfaces() == before
    assert machine.forwarding() == "0"
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_the_switch_namespace_is_used_once(machine: Machine, network: Network) -> None:
    with pytest.raises(NetworkAttachError, match="create the bridge bridge0: File exists"), machine.network():
        pass
    assert machine.namespace.tables() == {network.interface}


def test_a_subnet_whose_names_are_taken_is_passed_over(machine: Machine) -> None:
    """So another engine looks in the moment between making its uplink and giving it an address, or without uplink."""
    machine.namespace.routing().request([rtnetlink.create_bridge("pyc-0ad50000", 300, 1500)])
    with closing(machine.namespace.run(NetlinkSocket.open, nftables.NETFILTER)) as other:
        nftables.commit(other, [nftables.create_owned_table("pyc-0ad50100")])
        with machine.network() as network:
            assert network.subnet == ipaddress.IPv4Network("10.213.2.0/24")
            assert machine.namespace.tables() == {"pyc-0ad50100", "pyc-0ad50200"}
            assert "pyc-0ad50100" not in machine.namespace.interfaces()


def test_no_ipv6_address_appears_on_the_way(machine: Machine, network: Network, attach: MakeContainer) -> None:
    attach()
    for namespace in (machine.namespace, machine.switch):
        addresses = namespace.run(Path("/proc/thread-self/net/if_inet6").read_text).splitlines()
        interfaces = {line.split()[-1] for line in addresses}
        assert interfaces <= {"lo", machine.DEVICE}


def test_engines_that_open_at_once_get_different_subnets(machine: Machine, new_namespace: MakeNamespace) -> None:
    switches = [new_namespace() for _ in range(4)]
    networks: list[Network] = []
    start = threading.Barrier(len(switches))

    def open_one(switch: Namespace) -> None:
        namespaces.enter(machine.namespace.value.descriptor, namespaces.NETWORK)
        start.wait()
        networks.append(Network.open(machine.state, switch.handed_over()))

    threads = [threading.Thread(target=open_one, args=(switch,)) for switch in switches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with ExitStack() as stack:
        for network in networks:
            stack.callback(machine.namespace.run, network.close)
        assert len({network.subnet for network in networks}) == len(switches)
        assert machine.namespace.tables() == {network.interface for network in networks}
        assert machine.forwarding() == "1"
    assert machine.forwarding() == "0"
    assert machine.namespace.tables() == set()


def test_an_address_whose_last_owner_is_still_being_taken_down(
    machine: Machine, network: Network, attach: MakeContainer, new_namespace: MakeNamespace
) -> None:
    first, second = attach(), new_namespace()
    with first.namespace.server(port=80):  # so that the machine knows the hardware address of the first
        assert machine.namespace.ask(str(first.address), 80) == str(network.gateway)
    network.attach(first.address, second.value)
    with second.server(port=80):
        assert machine.namespace.ask(str(first.address), 80) == str(network.gateway)


def test_an_interface_that_is_there_already(network: Network, attach: MakeContainer) -> None:
    container = attach()
    with pytest.raises(NetworkAttachError, match="cannot create the interface eth0: File exists"):
        network.attach(network.allocate(), container.namespace.value)


_OPEN_AND_WAIT = """
import socket, sys
from pathlib import Path
from pytest_pycontainer.kernel import namespaces, rtnetlink
from pytest_pycontainer.kernel.rtnetlink import NetworkNamespace
from pytest_pycontainer.network.bridge import Network

state, machine, switch = sys.argv[1:]
namespaces.enter(int(switch), namespaces.NETWORK)
route_socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, rtnetlink.ROUTE)
namespaces.enter(int(machine), namespaces.NETWORK)
network = Network.open(Path(state), NetworkNamespace(int(switch), route_socket))
port = network.publish(network.allocate(), 80)
print(network.interface, port.host_port, flush=True)
sys.stdin.read()
"""


def test_after_sigkill_nothing_is_left_but_forwarding_which_the_next_engine_puts_back(
    machine: Machine, new_namespace: MakeNamespace, resources: ExitStack
) -> None:
    before = machine.namespace.interfaces()
    switch = new_namespace()
    machine_descriptor, switch_descriptor = machine.namespace.value.descriptor, switch.value.descriptor
    command = [
        sys.executable,
        "-c",
        _OPEN_AND_WAIT,
        str(machine.state),
        str(machine_descriptor),
        str(switch_descriptor),
    ]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(machine_descriptor, switch_descriptor),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        text=True,
    ) as process:
        assert process.stdout is not None
        interface, _port = process.stdout.readline().split()
        assert machine.namespace.tables() == {interface}
        assert interface in machine.namespace.interfaces()
        assert machine.forwarding() == "1"
        process.send_signal(signal.SIGKILL)
    assert machine.namespace.tables() == set()
    assert machine.forwarding() == "1"
    # What the switch namespace holds goes when the last that holds it, which is this test, lets go.
    switch.close()
    machine.namespace.wait_until_gone(interface)
    assert machine.namespace.interfaces() == before
    with machine.network():
        assert machine.forwarding() == "1"
    assert machine.forwarding() == "0"


def test_what_was_attached_is_reached_at_once(machine: Machine, network: Network, new_namespace: MakeNamespace) -> None:
    """The bridge drops what a port brings until it has heard that the other end is up: who sent it waits a second."""
    container = new_namespace()
    for _ in range(50):
        address = network.allocate()
        network.attach(address, container.value)
        assert state_of(machine.switch, f"port-{0x10000 | int(address) & 0xFFFF:x}") == OPERATIONAL
        network.detach(address)


def state_of(namespace: Namespace, interface: str) -> int:
    """Read from a list of all: who asks for one interface alone has it brought up to date."""
    request = Message(GET_LINK, struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0), "list interfaces")
    for _, body in namespace.routing().dump(request):
        found = parse_attributes(body[16:])
        if found[NAME_OF_LINK].rstrip(b"\0").decode() == interface:
            return found[OPERSTATE][0]
    raise LookupError(interface)
