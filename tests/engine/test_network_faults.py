"""Networks that fail on request, as tests of failure use them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from pytest_pycontainer import Container, Engine, Network, wait
from pytest_pycontainer.errors import FaultUnsupportedError, InvalidSpecError, NetworkAttachError

SERVE = """
import socket
server = socket.create_server(("", 80))
while True:
    connection, _ = server.accept()
    while data := connection.recv(1 << 20):
        connection.sendall(data)
    connection.close()
"""
ASK = """
import socket, sys
with socket.create_connection((sys.argv[1], 80), float(sys.argv[2])) as connection:
    connection.sendall(b"x")
    assert connection.recv(1) == b"x"
"""


@pytest.fixture
def network(engine: Engine) -> Iterator[Network]:
    with engine.network() as network:
        yield network


@pytest.fixture
def servers(engine: Engine, network: Network) -> Iterator[list[Container]]:

    with ExitStack() as stack:
        command = ["python3", "-c", SERVE]
        yield [
            stack.enter_context(engine.run("host", command, network=network, ports=[80], wait=wait.port(80)))
            for _ in range(3)
        ]


def reaches(one: Container, other: Container, seconds: float = 10, *, on: Network | None = None) -> bool:
    address = other.ip_address if on is None else other.networks[on.name]
    result = one.exec(["python3", "-c", ASK, address, str(seconds)])
    assert result.exit_code == 0 or "TimeoutError" in result.stderr, result.stderr
    return result.exit_code == 0


def is_cut_off(one: Container, other: Container) -> bool:
    return not reaches(one, other, 0.3)


def test_a_partition_for_the_length_of_a_block(network: Network, servers: list[Container]) -> None:
    one, other, third = servers
    with network.partition(one, other) as fault:
        assert repr(fault) == f"<NetworkFault partition on {network.name}>"
        assert is_cut_off(one, other)
        assert reaches(one, third)
    assert reaches(one, other)
    fault.heal()


def test_all_faults_are_healed_at_once(network: Network, servers: list[Container]) -> None:
    one, other, third = servers
    network.partition([one, other], third)
    network.partition(one)
    network.loss(other, 1.0)
    assert is_cut_off(one, other)
    assert is_cut_off(other, third)
    with pytest.raises(TimeoutError):
        ask(one)
    network.heal()
    network.heal()
    assert reaches(one, other)
    assert reaches(other, third)
    ask(one)


def ask(container: Container) -> None:

    with socket.create_connection(container.address(80), 0.3) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"


def test_a_partition_outlasts_a_new_start(network: Network, servers: list[Container]) -> None:
    one, other, _ = servers
    with network.partition(one, other):
        other.restart(timeout=0)
        wait.port(80).until_ready(other, 20)
        assert is_cut_off(one, other)
    assert reaches(one, other)


def test_who_comes_back_has_no_faults(network: Network, servers: list[Container]) -> None:
    one, other, _ = servers
    with network.partition(one, other):
        network.disconnect(other)
        network.connect(other)
        assert reaches(one, other)


def test_a_container_is_disconnected_from_all_its_networks(
    engine: Engine, network: Network, servers: list[Container]
) -> None:
    one, other, _ = servers
    with engine.network() as second:
        second.connect(one)
        second.connect(other)
        with one.disconnect() as fault:
            assert "disconnection" in repr(fault)
            assert is_cut_off(one, other)
            assert is_cut_off(other, one)
            assert not reaches(other, one, 0.5, on=second)
            with pytest.raises(TimeoutError), socket.create_connection(one.address(80), 1):
                pass
        assert reaches(other, one)
        assert reaches(other, one, on=second)
        again = one.disconnect()
        one.remove(force=True)
        again.heal()
        again.heal()


@pytest.mark.parametrize("mode", ["none", "host"])
def test_there_is_nothing_to_disconnect(engine: Engine, mode: str) -> None:
    with engine.create("host", ["true"], network=mode) as c, pytest.raises(NetworkAttachError, match="no network"):
        c.disconnect()


def test_a_slow_line(network: Network, servers: list[Container]) -> None:
    one = servers[0]
    size = 500_000
    with network.bandwidth(servers, 1_000_000):
        begin = time.monotonic()
        assert transfer(one, size) == size
        assert time.monotonic() - begin > 0.8 * size / 1_000_000
        one.remove(force=True)
    assert not network._network.bridge.faults


def transfer(container: Container, size: int) -> int:
    """Bytes that come back through the published port."""

    received = 0
    with socket.create_connection(container.address(80), 60) as connection:
        thread = threading.Thread(target=connection.sendall, args=(bytes(size),))
        thread.start()
        while received < size:
            received += len(connection.recv(1 << 20))
        thread.join()
    return received


def test_a_delay_where_the_kernel_has_it(network: Network, servers: list[Container]) -> None:
    refused: list[FaultUnsupportedError] = []
    with ExitStack() as stack:
        try:
            stack.enter_context(network.delay(servers[0], 0.1, jitter=0.01))
        except FaultUnsupportedError as unsupported:
            refused.append(unsupported)
        begin = time.monotonic()
        assert reaches(servers[0], servers[1])
        assert refused or time.monotonic() - begin > 0.3
    for error in refused:
        assert error.needs == "CONFIG_NET_SCH_NETEM"
    assert not network._network.bridge.faults


def test_what_makes_no_sense(engine: Engine, network: Network, servers: list[Container]) -> None:
    one, other, _ = servers
    with engine.run("host", ["sleep", "1000"]) as stranger:
        attempts: tuple[Callable[[], object], ...] = (
            lambda: network.partition(stranger, one),
            lambda: network.partition([]),
            lambda: network.partition([one, other], other),
            lambda: network.loss(one, 0),
            lambda: network.loss(one, 1.5),
            lambda: network.loss(one, float("nan")),
            lambda: network.delay(one, 0),
            lambda: network.delay(one, -1),
            lambda: network.delay(one, float("inf")),
            lambda: network.delay(one, 1, jitter=2),
            lambda: network.delay(one, "1"),  # type: ignore[arg-type]
            lambda: network.bandwidth(one, 0),
            lambda: network.bandwidth(one, "fast"),
        )
        for bring_about in attempts:
            with pytest.raises(InvalidSpecError):
                bring_about()
    assert not network._network.bridge.faults


def test_faults_end_with_their_network_and_engine(engine: Engine) -> None:
    with Engine(engine.settings) as other:
        with other.network("frail") as network, other.run("host", ["sleep", "1000"], network="frail") as c:
            fault = network.partition(c)
            network.bandwidth(c, 1_000_000)
        fault.heal()
        with pytest.raises((InvalidSpecError, NetworkAttachError)):
            network.partition(c)
        with other.run("host", ["sleep", "1000"]) as c:
            forever = other.network("bridge").loss(c, 0.5)
            other.network("bridge").bandwidth(c, "1m")
            other.close()
    forever.heal()
