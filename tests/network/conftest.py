"""A laboratory: machines, switches and containers are network namespaces, each entered by a thread of its own.

Nothing here touches the namespace that pytest runs in, so any number of these tests run side by side.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

from pytest_pycontainer.kernel import namespaces, nftables, rtnetlink
from pytest_pycontainer.kernel.netlink import Message, NetlinkSocket, parse_attributes
from pytest_pycontainer.kernel.rtnetlink import NetworkNamespace, VethEnd
from pytest_pycontainer.network.bridge import Network

P = ParamSpec("P")
T = TypeVar("T")

TIMEOUT = 5.0
LOOPBACK = 1

_GET_TABLE = 10 << 8 | 1
_NAME_OF_TABLE = 1
_LINK_CHANGES = 1  # RTMGRP_LINK


class Namespace:
    """A new network namespace, its loopback up, and a thread that lives in it."""

    def __init__(self) -> None:
        self._closing = ExitStack()
        self._thread = self._closing.enter_context(ThreadPoolExecutor(max_workers=1))
        self.value = self.run(self._enter)
        self._closing.callback(os.close, self.value.descriptor)
        self._closing.callback(self.value.route_socket.close)

    @staticmethod
    def _enter() -> NetworkNamespace:
        namespaces.unshare(namespaces.NETWORK)
        route_socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, rtnetlink.ROUTE)
        NetlinkSocket(route_socket).request([rtnetlink.bring_up(LOOPBACK, "lo")])
        # A new namespace forwards if the machine does, as one with Docker.
        Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
        return NetworkNamespace(os.open("/proc/thread-self/ns/net", os.O_RDONLY), route_socket)

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self._thread.submit(function, *args, **kwargs).result(timeout=60)

    def handed_over(self) -> NetworkNamespace:
        """The same namespace, for someone who closes it."""
        return NetworkNamespace(os.dup(self.value.descriptor), self.value.route_socket.dup())

    def routing(self) -> NetlinkSocket:
        return NetlinkSocket(self.value.route_socket)

    def close(self) -> None:
        self._closing.close()

    @contextmanager
    def server(self, host: str = "0.0.0.0", port: int = 0, family: int = socket.AF_INET) -> Iterator[int]:
        """A server that tells each client the address that it sees; yields its port."""
        listener = self.run(lambda: socket.create_server((host, port), family=family))

        def serve() -> None:
            while True:
                try:
                    connection, peer = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(peer[0].encode())

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            listener.close()

    def ask(self, host: str, port: int, timeout: float = TIMEOUT, source: str = "") -> str:
        """The address that a server there sees. A socket keeps the namespace in which it was made."""
        own = (source, 0) if source else None
        with self.run(lambda: socket.create_connection((host, port), timeout, own)) as connection:
            return b"".join(iter(lambda: connection.recv(1024), b"")).decode()

    def datagram_socket(self) -> socket.socket:
        made = self.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        made.settimeout(TIMEOUT)
        return made

    def interfaces(self) -> set[str]:
        return {name for _, name in self.run(socket.if_nameindex)}

    def tables(self) -> set[str]:
        """The names of the nftables tables."""

        def read() -> set[str]:
            with closing(NetlinkSocket.open(nftables.NETFILTER)) as endpoint:
                found = endpoint.dump(Message(_GET_TABLE, bytes(4), "list tables"))
            return {parse_attributes(body[4:])[_NAME_OF_TABLE].rstrip(b"\0").decode() for _, body in found}

        return self.run(read)

    def wait_until_gone(self, interface: str) -> None:
        """Returns when the kernel has told that there is no such interface (any more)."""

        def monitor() -> socket.socket:
            listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, rtnetlink.ROUTE)
            listener.bind((0, _LINK_CHANGES))
            return listener

        with self.run(monitor) as listener:
            listener.settimeout(60)
            while interface in self.interfaces():
                listener.recv(1 << 16)

    def join(self, other: Namespace, mine: tuple[str, str], theirs: tuple[str, str], index: int, mtu: int) -> None:
        """A cable to another namespace. Each end is a name and an address with its prefix length."""
        here, there = VethEnd(mine[0], index=index), VethEnd(theirs[0], index=index)
        self.routing().request([rtnetlink.create_veth(here, there, other.value.descriptor, mtu)])
        for namespace, (name, address) in ((self, mine), (other, theirs)):
            changes = [
                rtnetlink.bring_up(index, name),
                rtnetlink.add_address(index, ipaddress.IPv4Interface(address)),
            ]
            namespace.routing().request(changes)


@dataclass(frozen=True)
class Machine:
    """A machine whose default route leads to another, ``outside``, that knows nothing of the machine's networks."""

    namespace: Namespace
    outside: Namespace
    switch: Namespace
    state: Path

    ADDRESS = "192.0.2.2"
    OUTSIDE_ADDRESS = "192.0.2.1"
    BEYOND_ADDRESS = "198.51.100.1"
    DEVICE = "wan0"
    MTU = 1400

    @contextmanager
    def network(
        self,
        switch: Namespace | None = None,
        *,
        pool: str = "10.213.0.0/16",
        subnet: str | None = None,
        internal: bool = False,
        ipv6: bool = False,
    ) -> Iterator[Network]:
        switch_value = (switch or self.switch).handed_over()
        wanted = None if subnet is None else ipaddress.IPv4Network(subnet)
        network = self.namespace.run(
            Network.open, self.state, switch_value, pool=pool, subnet=wanted, internal=internal, ipv6=ipv6
        )
        try:
            yield network
        finally:
            self.namespace.run(network.close)

    def flag(self, path: str) -> str:
        """Of /proc/sys/net."""
        return self.namespace.run((Path("/proc/sys/net") / path).read_text).strip()

    def forwarding(self, device: str = DEVICE) -> str:
        return self.namespace.run(Path(f"/proc/sys/net/ipv4/conf/{device}/forwarding").read_text).strip()


@pytest.fixture
def resources() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def new_namespace(resources: ExitStack) -> Callable[[], Namespace]:
    def make() -> Namespace:
        namespace = Namespace()
        resources.callback(namespace.close)
        return namespace

    return make


@pytest.fixture
def machine(new_namespace: Callable[[], Namespace], tmp_path: Path) -> Machine:
    here, outside, switch = new_namespace(), new_namespace(), new_namespace()
    ends = (Machine.DEVICE, f"{Machine.ADDRESS}/24"), ("lan0", f"{Machine.OUTSIDE_ADDRESS}/24")
    here.join(outside, *ends, index=100, mtu=Machine.MTU)
    here.routing().request([rtnetlink.add_default_route(100, ipaddress.IPv4Address(Machine.OUTSIDE_ADDRESS))])
    beyond = ipaddress.IPv4Interface(f"{Machine.BEYOND_ADDRESS}/32")
    outside.routing().request([rtnetlink.add_address(LOOPBACK, beyond)])
    return Machine(here, outside, switch, tmp_path / "state")


@pytest.fixture
def network(machine: Machine) -> Iterator[Network]:
    with machine.network() as network:
        yield network


@dataclass(frozen=True)
class Attached:
    namespace: Namespace
    address: ipaddress.IPv4Address


@pytest.fixture
def attach(network: Network, new_namespace: Callable[[], Namespace]) -> Callable[[], Attached]:
    def make() -> Attached:
        namespace, address = new_namespace(), network.allocate()
        network.attach(address, namespace.value)
        return Attached(namespace, address)

    return make
