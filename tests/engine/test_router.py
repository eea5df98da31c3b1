"""Networks that end in a router of the engine's own, as an ordinary user's have to: root can have such, too."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pytest_pycontainer import Engine, wait
from pytest_pycontainer.engine.extensions import Extensions
from pytest_pycontainer.engine.resources import Resources
from pytest_pycontainer.errors import NoWayOutError, PortInUseError, SubnetInUseError
from pytest_pycontainer.kernel.netlink import NetlinkSocket
from pytest_pycontainer.kernel.rtnetlink import ROUTE, addresses
from tests.engine.test_forwarder import SERVER, rest

SERVE = ["python3", "-c", SERVER]


@pytest.fixture
def routed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """One whose router nothing leads out of: no program for that is found."""
    monkeypatch.setenv("PATH", "")
    with Engine(engine.settings) as routed:
        routed._resources = Resources(engine.settings, Extensions(), routed=True)
        yield routed


def talk(address: tuple[str, int]) -> bytes:
    with socket.create_connection(address, 60) as connection:
        connection.sendall(b"echo\nhello")
        connection.shutdown(socket.SHUT_WR)
        return rest(connection)


def shout(address: tuple[str, int]) -> bytes:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(60)
        client.connect(address)
        client.send(b"hello")
        return client.recv(100)


def test_ports_on_every_kind_of_address(routed: Engine) -> None:
    ports = ["8000", "[::1]::8000", "0.0.0.0::8000", "127.0.0.1::8000/udp", "[::]::8000/udp"]
    with routed.run("host", SERVE, ports=ports, wait=wait.port(8000)) as server:
        published = server._published()
        assert len(published) == len(ports)
        for host, host_port, _, protocol in published:
            ask, answer = (talk, b"hello") if protocol == "tcp" else (shout, b"HELLO")
            assert ask((host.replace("0.0.0.0", "127.0.0.2"), host_port)) == answer


def test_a_port_has_one_owner(routed: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=rf"by .*\(pid {os.getpid()}\)"):
            routed.run("host", ["sleep", "1000"], ports=[f"{port}:80"])
    with routed.run("host", ["sleep", "1000"], ports=[f"{port}:80"]):
        with pytest.raises(PortInUseError):
            routed.run("host", ["sleep", "1000"], ports=[f"{port}:80"])
        with routed.run("host", ["sleep", "1000"], ports=[f"{port}:80/udp"]):
            pass
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_containers_find_and_reach_each_other_within_a_network_alone(routed: Engine) -> None:
    first, second = routed.network("first"), routed.network("second", subnet="10.99.7.0/24", ipv6=True)
    server = routed.run("host", SERVE, name="server", network="second", wait=wait.port(8000))
    client = routed.run("host", ["sleep", "1000"], network=first)
    ask = "import socket; s = socket.create_connection(({!r}, 8000), 2); s.sendall(b'echo\\nx'); print(s.recv(1))"
    assert client.exec(["python3", "-c", ask.format(server.ip_address)]).exit_code != 0
    second.connect(client)
    for host in ("server", server.ip_address):
        assert client.exec(["python3", "-c", ask.format(host)], check=True).stdout == "b'x'\n"
    assert (
        "refused" in client.exec(["python3", "-c", ask.format(server.ip6_address)]).stderr
    )  # it listens on IPv4 alone
    second.disconnect(client)
    assert client.exec(["python3", "-c", ask.format("server")]).exit_code != 0


def test_a_subnet_is_nobodys_here(routed: Engine) -> None:
    routed.network("first", subnet="10.99.7.0/24")
    with pytest.raises(SubnetInUseError):
        routed.network("second", subnet="10.99.7.0/25")
    with closing(NetlinkSocket.open(ROUTE)) as machine:
        own = next(one.network for one in addresses(machine) if 16 <= one.network.prefixlen <= 29)
    with pytest.raises(SubnetInUseError):
        routed.network("third", subnet=str(own))


def test_a_partition_and_its_end(routed: Engine) -> None:
    with routed.run("host", SERVE, ports=[8000], wait=wait.port(8000)) as server:
        with server.disconnect(), socket.create_connection(server.address(8000), 60) as connection:
            connection.sendall(b"echo\nx")
            connection.settimeout(0.2)
            with pytest.raises(TimeoutError):
                connection.recv(1)
        assert talk(server.address(8000)) == b"hello"


def test_nothing_leads_out_without_a_program_for_that(routed: Engine, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(NoWayOutError, match=r"network 'outside' can't lead beyond this machine: .* install pasta"):
        routed.network("outside", internal=False)
    assert [(one.levelno, "install pasta" in one.getMessage()) for one in caplog.records] == [(logging.WARNING, True)]
    with routed.run("host", ["sleep", "1000"]) as container:
        connect = "import socket; socket.create_connection(('198.51.100.1', 80), 20)"
        assert "Network is unreachable" in container.exec(["python3", "-c", connect]).stderr
    assert len(caplog.records) == 1


def test_a_build_then_uses_the_network_of_this_machine(routed: Engine, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM host\nRUN readlink /proc/self/ns/net > /net\n")
    with routed.run(routed.build(tmp_path), ["cat", "/net"]) as container:
        assert container.wait(timeout=60) == 0
        assert container.logs().strip() == str(Path("/proc/self/ns/net").readlink())


def test_a_program_that_does_not_lead_out_says_why(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pasta = tmp_path / "pasta"
    pasta.write_text("#!/bin/sh\necho some trouble >&2\nexit 1\n")
    pasta.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with Engine(engine.settings) as routed:
        routed._resources = Resources(engine.settings, Extensions(), routed=True)
        with pytest.raises(NoWayOutError, match=f"{re.escape(str(pasta))}: some trouble"):
            routed.network("outside", internal=False)


def test_a_forwarder_that_was_killed_is_replaced(routed: Engine) -> None:
    server = routed.run("host", SERVE, ports=[8000], wait=wait.port(8000))
    (forwarder,) = in_the_router(routed)
    os.kill(forwarder, signal.SIGKILL)
    with routed.run("host", SERVE, ports=[8000], wait=wait.port(8000)) as other:
        for one in (server, other):
            assert talk(one.address(8000)) == b"hello"


def in_the_router(routed: Engine) -> list[int]:
    """The processes whose network is the router."""
    assert routed._resources.router is not None
    router = os.fstat(routed._resources.router.namespace).st_ino
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                found += [int(process.name)] if (process / "ns/net").stat().st_ino == router else []
            except OSError:
                continue
    return found
