"""The way out beside a firewall that forwards nothing, as Docker's."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer import Container, Engine, Settings, wait
from pytest_pycontainer.kernel import nftables
from pytest_pycontainer.kernel.netlink import NetlinkSocket

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_pycontainer.network.bridge import Network
    from tests.network.conftest import Attached, Machine

SAVED = {"iptables-nft": "iptables-nft-save", "iptables-legacy": "iptables-legacy-save"}
ASK = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as connection:
    print(b"".join(iter(lambda: connection.recv(100), b"")).decode())
"""


def drop_what_is_forwarded() -> NetlinkSocket:
    """As a program other than iptables may do it, until the socket is closed."""
    netfilter = NetlinkSocket.open(nftables.NETFILTER)
    changes = [
        nftables.create_owned_table("others"),
        nftables.create_chain("others", "forward", "filter", nftables.FORWARD, nftables.PRIORITY_FILTER),
        nftables.add_rule("others", "forward", nftables.drop()),
    ]
    nftables.commit(netfilter, changes)
    return netfilter


@pytest.fixture(params=["nftables", *filter(shutil.which, SAVED)])
def firewall(request: pytest.FixtureRequest, machine: Machine) -> Iterator[Callable[[], str]]:
    """Drops all that the machine forwards; tells what it says."""
    if request.param == "nftables":
        with closing(machine.namespace.run(drop_what_is_forwarded)):
            yield lambda: ""
        return

    def run(*command: str) -> str:
        done = machine.namespace.run(subprocess.run, command, check=True, capture_output=True, text=True)
        rules = (line for line in done.stdout.splitlines(keepends=True) if not line.startswith("#"))
        return re.sub(r"\[\d+:\d+\]", "", "".join(rules))  # without what it has counted

    run(request.param, "-P", "FORWARD", "DROP")
    run(request.param, "-A", "FORWARD", "-i", "docker0", "-j", "ACCEPT")
    yield lambda: run(SAVED[request.param])


def is_blocked(machine: Machine, network: Network) -> bool:
    return machine.namespace.run(network.way_out.is_blocked)


def test_a_firewall_that_forwards_nothing_is_found(
    machine: Machine, firewall: Callable[[], str], network: Network, attach: Callable[[], Attached]
) -> None:
    assert is_blocked(machine, network)
    assert is_blocked(machine, network)
    with machine.outside.server() as port, pytest.raises(TimeoutError):
        attach().namespace.ask(machine.OUTSIDE_ADDRESS, port, 0.2)


def test_a_firewall_that_lets_ours_through_is_none(machine: Machine, network: Network) -> None:
    assert not is_blocked(machine, network)
    with closing(NetlinkSocket.open(nftables.NETFILTER)):
        netfilter = machine.namespace.run(NetlinkSocket.open, nftables.NETFILTER)
        with closing(netfilter):
            changes = [
                nftables.create_owned_table("others"),
                nftables.create_chain("others", "forward", "filter", nftables.FORWARD, nftables.PRIORITY_FILTER),
                nftables.add_rule(
                    "others", "forward", nftables.if_input(network.interface, equal=False), nftables.drop()
                ),
            ]
            nftables.commit(netfilter, changes)
            assert not is_blocked(machine, network)
            nftables.commit(netfilter, [nftables.add_rule("others", "forward", nftables.drop())])
            assert is_blocked(machine, network)
    assert machine.namespace.tables() == {network.interface}


def test_without_a_way_out_nothing_is_blocked(
    machine: Machine, new_namespace: Callable[[], object], firewall: Callable[[], str]
) -> None:
    with machine.network(internal=True) as network:
        assert not is_blocked(machine, network)


@pytest.fixture
def engine_there(machine: Machine, tmp_path: Path) -> Iterator[Engine]:
    """An engine of that machine: its thread is there whenever it does something."""
    settings = Settings(root=tmp_path / "root", state=machine.state)
    there = machine.namespace.run(Engine, settings)
    yield there
    machine.namespace.run(there.close)


def output(machine: Machine, engine: Engine, *command: str, **options: object) -> str:
    def run() -> str:
        with engine.run("host", list(command), **options) as container:  # type: ignore[arg-type]
            container.wait(timeout=30)
            return container.logs().strip()

    return machine.namespace.run(run)


def test_containers_get_out_and_the_firewall_stays_as_it_is(
    machine: Machine, firewall: Callable[[], str], engine_there: Engine
) -> None:
    before = firewall()
    with machine.outside.server() as port:
        asked = output(machine, engine_there, "python3", "-c", ASK, machine.OUTSIDE_ADDRESS, str(port))
        assert asked == machine.ADDRESS
        beyond = output(machine, engine_there, "python3", "-c", ASK, machine.BEYOND_ADDRESS, str(port))
        assert beyond == machine.ADDRESS
    refused = output(machine, engine_there, "python3", "-c", ASK, machine.OUTSIDE_ADDRESS, "9")
    assert "ConnectionResetError" in refused or refused == ""
    assert firewall() == before


def test_networks_stay_apart_and_internal_ones_inside(
    machine: Machine, firewall: Callable[[], str], engine_there: Engine
) -> None:
    def make() -> str:
        engine_there.network("inside", internal=True)
        serve = "import socket; s = socket.create_server(('', 80)); print('ready', flush=True)\nwhile True: s.accept()"
        other = engine_there.run("host", ["python3", "-c", serve], network=engine_there.network("apart"))
        return other.ip_address

    other = machine.namespace.run(make)
    assert "TimeoutError" in output(machine, engine_there, "python3", "-c", ASK, other, "80")
    with machine.outside.server() as port:
        command = ["python3", "-c", ASK, machine.OUTSIDE_ADDRESS, str(port)]
        asked = output(machine, engine_there, *command, network="inside")
        assert machine.ADDRESS not in asked.splitlines()
        assert "Error" in asked
        assert output(machine, engine_there, *command, network="apart") == machine.ADDRESS


def test_nobody_is_led_to_the_forwarder_itself(
    machine: Machine, firewall: Callable[[], str], engine_there: Engine
) -> None:
    output(machine, engine_there, "true")
    (_, listener) = next(iter(engine_there._resources.networks.forwarder._forwarded.values()))
    place = listener.getsockname()

    def connect_and_read() -> None:
        with socket.create_connection(place, 10) as connection:
            connection.recv(1)

    with pytest.raises(ConnectionResetError):
        machine.namespace.run(connect_and_read)


def test_beside_a_firewall_that_is_none_of_this_happens(machine: Machine, engine_there: Engine) -> None:
    with machine.outside.server() as port:
        command = ["python3", "-c", ASK, machine.OUTSIDE_ADDRESS, str(port)]
        assert output(machine, engine_there, *command) == machine.ADDRESS
    assert not engine_there._resources.networks.forwarder._forwarded


SERVE = """
import socket, threading
service = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
service.bind(("", 53))

def echo():
    while True:
        data, peer = service.recvfrom(100)
        service.sendto(data, peer)

threading.Thread(target=echo, daemon=True).start()
with socket.create_server(("", 80)) as listener:
    while True:
        connection, peer = listener.accept()
        with connection:
            connection.sendall(peer[0].encode())
"""


def test_who_comes_from_elsewhere_reaches_published_ports(
    machine: Machine, firewall: Callable[[], str], engine_there: Engine
) -> None:
    def run() -> Container:
        ports = ["0.0.0.0:8080:80", f"{machine.ADDRESS}:8081:80", "127.0.0.1:8082:80", "0.0.0.0:5353:53/udp"]
        return engine_there.run("host", ["python3", "-c", SERVE], ports=ports, wait=wait.port(80))

    container = machine.namespace.run(run)
    gateway = machine.namespace.run(lambda: engine_there.network("bridge").gateway)
    for port in (8080, 8081):
        assert machine.outside.ask(machine.ADDRESS, port) == gateway
        assert machine.namespace.ask(machine.ADDRESS, port) in (machine.ADDRESS, gateway)
        asked = output(
            machine, engine_there, "python3", "-c", ASK, gateway if port == 8080 else machine.ADDRESS, str(port)
        )
        assert asked == gateway
    for port in (8080, 8082):
        assert machine.namespace.ask("127.0.0.1", port) == gateway
    with pytest.raises(ConnectionRefusedError):
        machine.outside.ask(machine.ADDRESS, 8082)
    for asking in (machine.outside, machine.namespace):
        with asking.datagram_socket() as client:
            client.connect((machine.ADDRESS, 5353))
            client.send(b"x")
            assert client.recv(100) == b"x"
    machine.namespace.run(lambda: container.remove(force=True))
    for asking in (machine.outside, machine.namespace):
        with pytest.raises(ConnectionRefusedError):
            asking.ask(machine.ADDRESS, 8080)
