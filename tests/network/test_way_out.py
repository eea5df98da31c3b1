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

from pytest_pycontainer import Engine, Settings
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
    (_, listener) = next(iter(engine_there._resources.networks._forwarder._forwarded.values()))
    place = listener.getsockname()
    with machine.namespace.run(socket.create_connection, place, 10) as connection, pytest.raises(ConnectionResetError):
        connection.recv(1)


def test_beside_a_firewall_that_is_none_of_this_happens(machine: Machine, engine_there: Engine) -> None:
    with machine.outside.server() as port:
        command = ["python3", "-c", ASK, machine.OUTSIDE_ADDRESS, str(port)]
        assert output(machine, engine_there, *command) == machine.ADDRESS
    assert not engine_there._resources.networks._forwarder._forwarded
