"""Published UDP ports: what has no connections is followed all the same."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_pycontainer.network.bridge import Network
    from tests.network.conftest import Attached, Machine

MakeContainer = Callable[[], "Attached"]


@contextmanager
def echo(container: Attached, port: int, prefix: bytes = b"") -> Iterator[None]:
    """A service that answers each datagram with what it says, until an empty one comes."""
    with container.namespace.datagram_socket() as service, container.namespace.datagram_socket() as ending:
        service.bind(("0.0.0.0", port))

        def serve() -> None:
            while True:
                data, asker = service.recvfrom(1 << 16)
                if not data:
                    return
                service.sendto(prefix + data, asker)

        service.settimeout(None)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            ending.sendto(b"", ("127.0.0.1", port))
            thread.join()


@pytest.mark.parametrize("host_address", ["127.0.0.1", "0.0.0.0"])
def test_many_clients_connected_or_not(
    machine: Machine, network: Network, attach: MakeContainer, host_address: str
) -> None:
    container = attach()
    with echo(container, 53):
        port = machine.namespace.run(network.publish, container.address, 53, host_address=host_address, protocol="udp")
        place = "127.0.0.1", port.host_port
        clients = [machine.namespace.datagram_socket() for _ in range(20)]
        for client in clients[::2]:
            client.connect(place)  # takes answers from there alone
        for _ in range(2):
            for number, client in enumerate(clients):
                if number % 2 == 0:
                    client.send(b"%d" % number)
                else:
                    client.sendto(b"%d" % number, place)
            for number, client in enumerate(clients):
                assert client.recvfrom(100) == (b"%d" % number, place)
        for client in clients:
            client.close()


def test_datagrams_as_large_as_they_come(machine: Machine, network: Network, attach: MakeContainer) -> None:
    container = attach()
    content = bytes(range(256)) * 255
    with echo(container, 53), machine.namespace.datagram_socket() as client:
        port = machine.namespace.run(network.publish, container.address, 53, protocol="udp")
        client.sendto(content, ("127.0.0.1", port.host_port))
        assert client.recv(1 << 16) == content


def test_from_outside_the_answer_comes_from_where_it_was_asked(
    machine: Machine, network: Network, attach: MakeContainer
) -> None:
    container = attach()
    with echo(container, 53), machine.outside.datagram_socket() as client:
        machine.namespace.run(
            network.publish, container.address, 53, host_address="0.0.0.0", host_port=5353, protocol="udp"
        )
        client.sendto(b"x", (machine.ADDRESS, 5353))
        assert client.recvfrom(100) == (b"x", (machine.ADDRESS, 5353))


@pytest.mark.parametrize("host_address", ["127.0.0.1", "0.0.0.0"])
def test_a_client_that_was_there_before_the_container_and_outlives_it(
    machine: Machine, network: Network, attach: MakeContainer, host_address: str
) -> None:
    """It asks from one port all the time; the kernel must not lead it to where it was led before."""
    first, second = attach(), attach()
    with machine.namespace.datagram_socket() as client, machine.namespace.datagram_socket() as own:
        client.sendto(b"too early", ("127.0.0.1", 5353))
        for container, prefix in ((first, b"first "), (second, b"second ")):
            with echo(container, 53, prefix):
                port = machine.namespace.run(
                    network.publish,
                    container.address,
                    53,
                    host_address=host_address,
                    host_port=5353,
                    protocol="udp",
                )
                client.sendto(b"asked", ("127.0.0.1", 5353))
                assert client.recv(100) == prefix + b"asked"
                machine.namespace.run(network.unpublish, port)
        own.bind(("127.0.0.1", 5353))
        client.sendto(b"to nobody's container", ("127.0.0.1", 5353))
        assert own.recv(100) == b"to nobody's container"


def test_what_others_do_on_the_same_port_goes_on(machine: Machine, network: Network, attach: MakeContainer) -> None:
    """A container's own flow to the same port elsewhere is not forgotten, or its answers would not get back."""
    container = attach()
    with container.namespace.datagram_socket() as inside, machine.outside.datagram_socket() as outside:
        outside.bind((machine.OUTSIDE_ADDRESS, 5353))
        inside.sendto(b"asked", (machine.OUTSIDE_ADDRESS, 5353))
        _, asker = outside.recvfrom(100)
        machine.namespace.run(
            network.publish, container.address, 53, host_address="0.0.0.0", host_port=5353, protocol="udp"
        )
        outside.sendto(b"answer", asker)
        assert inside.recv(100) == b"answer"


def test_both_protocols_on_one_number(machine: Machine, network: Network, attach: MakeContainer) -> None:
    container = attach()
    with echo(container, 53), container.namespace.server(port=53), machine.namespace.datagram_socket() as client:
        for protocol in ("udp", "tcp"):
            machine.namespace.run(network.publish, container.address, 53, host_port=5353, protocol=protocol)
        client.sendto(b"x", ("127.0.0.1", 5353))
        assert client.recv(100) == b"x"
        assert machine.namespace.ask("127.0.0.1", 5353) == str(network.gateway)
