"""Attaching a container and publishing a port, against the bare kernel calls: python tests/benchmarks/attach.py

The bare side sends the same netlink messages, encoded before, in a tight loop: cable, both ends up, address, route, one
element of a map, and the bound socket that reserves the port. Machine, switch and containers are network namespaces of
this process; both sides take turns, each time with another container. Prints the medians and the median of the ratios;
the goal is 1.5 at most.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from pytest_pycontainer.kernel import namespaces, nftables, rtnetlink
from pytest_pycontainer.kernel.netlink import ACKNOWLEDGE, REQUEST, Message, NetlinkSocket
from pytest_pycontainer.kernel.rtnetlink import NetworkNamespace, VethEnd
from pytest_pycontainer.network import rules
from pytest_pycontainer.network.bridge import Network
from pytest_pycontainer.network.ports import PublishedPort

ROUNDS = 100
BRIDGE_INDEX = 0x10000
PORT = 6379


def new_namespace() -> NetworkNamespace:
    own = namespaces.open_own(namespaces.NETWORK)
    namespaces.unshare(namespaces.NETWORK)
    made = NetworkNamespace(
        namespaces.open_own(namespaces.NETWORK),
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, rtnetlink.ROUTE),
    )
    namespaces.enter(own, namespaces.NETWORK)
    os.close(own)
    NetlinkSocket(made.route_socket).request([rtnetlink.bring_up(1, "lo")])
    return made


class Bare:
    """The kernel calls, and nothing but the wait for their answers."""

    def __init__(self, network: Network, switch: NetworkNamespace) -> None:
        self._network = network
        self._switch = NetlinkSocket(switch.route_socket)
        self._netfilter = NetlinkSocket.open(nftables.NETFILTER)
        table = rules.create_table("bare", ipaddress.IPv4Network("10.99.0.0/24"), None)
        nftables.commit(self._netfilter, table)
        self._subnet, self._gateway = network.subnet, network.gateway

    def time(self, address: ipaddress.IPv4Address, container: NetworkNamespace) -> float:
        index = 0x20000 | int(address) & 0xFFFF
        here = VethEnd(f"bare-{index:x}", index=index, master=BRIDGE_INDEX)
        there = VethEnd("eth0", index=index, hardware_address=b"\x02\x43" + address.packed)
        cable = [
            rtnetlink.create_veth(here, there, container.descriptor, self._network.mtu),
            rtnetlink.bring_up(index, here.name),
        ]
        inside = [
            rtnetlink.bring_up(index, "eth0"),
            rtnetlink.add_address(index, ipaddress.IPv4Interface((address, self._subnet.prefixlen))),
            rtnetlink.add_default_route(index, self._gateway),
        ]
        reservation = socket.socket()
        reservation.bind(("127.0.0.1", 0))
        port = PublishedPort(PORT, "tcp", "127.0.0.1", reservation.getsockname()[1])
        reservation.close()
        element = [
            Message(0x10, bytes([0, 0, 0, 10]), "begin"),
            rules.publish("bare", port, address),
            Message(0x11, bytes([0, 0, 0, 10]), "end"),
        ]
        container_socket = NetlinkSocket(container.route_socket)
        prepared = [
            (self._switch, encoded(self._switch, cable)),
            (container_socket, encoded(container_socket, inside)),
            (self._netfilter, encoded(self._netfilter, element, acknowledged=1)),
        ]
        begin = time.perf_counter()
        for endpoint, packet in prepared:
            endpoint._endpoint.send(packet)
            answer = endpoint._endpoint.recv(4096)
            assert answer[16:20] == bytes(4), os.strerror(-int.from_bytes(answer[16:20], "little", signed=True))
        with socket.socket() as reservation:
            reservation.bind(("127.0.0.1", port.host_port))
            return time.perf_counter() - begin


def encoded(endpoint: NetlinkSocket, messages: Sequence[Message], acknowledged: int = -1) -> bytes:
    last = range(len(messages))[acknowledged]
    packets = (
        endpoint._packet(message, message.flags | REQUEST | (ACKNOWLEDGE if index == last else 0))
        for index, message in enumerate(messages)
    )
    return b"".join(packets)


def ours(network: Network, container: NetworkNamespace) -> float:
    begin = time.perf_counter()
    address = network.allocate()
    network.attach(address, container)
    port = network.publish(address, PORT)
    seconds = time.perf_counter() - begin
    network.unpublish(port)
    return seconds


def main() -> None:
    namespaces.unshare(namespaces.NETWORK)
    with closing(NetlinkSocket.open(rtnetlink.ROUTE)) as machine:
        machine.request([rtnetlink.bring_up(1, "lo")])
    switch = new_namespace()
    handed_over = NetworkNamespace(os.dup(switch.descriptor), switch.route_socket.dup())
    samples = []
    with tempfile.TemporaryDirectory() as state, Network.open(Path(state), handed_over) as network:
        bare = Bare(network, switch)
        for number in range(ROUNDS + 3):
            for_us, for_it = new_namespace(), new_namespace()
            alone = bare.time(network.allocate(), for_it)
            attached = ours(network, for_us)
            if number >= 3:
                samples.append((alone, attached))
            for namespace in (for_us, for_it):
                namespace.route_socket.close()
                os.close(namespace.descriptor)
    alone, attached = (statistics.median(column) * 1e6 for column in zip(*samples, strict=True))
    ratio = statistics.median(attached / alone for alone, attached in samples)
    print(f"bare {alone:.0f} µs, attached and published {attached:.0f} µs: {ratio:.2f} times")


if __name__ == "__main__":
    main()
