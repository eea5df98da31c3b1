"""Published ports, readiness, and the way out."""

from __future__ import annotations

import socket
import urllib.request
from pathlib import Path

import pytest

from pytest_pycontainer import Engine, wait
from pytest_pycontainer.errors import (
    ContainerExitedError,
    ContainerNotReadyError,
    InvalidSpecError,
    PortInUseError,
    PortNotPublishedError,
)

SERVER = ["python3", "-m", "http.server", "--directory", "/usr/share", "8000"]


def get(address: tuple[str, int]) -> str:
    with urllib.request.urlopen(f"http://{address[0]}:{address[1]}/", timeout=20) as answer:
        return str(answer.read().decode())


def test_a_published_port_leads_into_the_container(engine: Engine) -> None:
    with engine.run("host", SERVER, ports=[8000], wait=wait.port(8000)) as c:
        host, port = c.address(8000)
        assert host == "127.0.0.1"
        assert c.port("8000/tcp") == port
        assert "doc/" in get((host, port))
        assert "doc/" in get((c.ip_address, 8000))
        with pytest.raises(PortNotPublishedError, match="published: 8000/tcp"):
            c.address(9000)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port), 5)


def test_a_named_host_port(engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=f"port {port} on 127.0.0.1 is in use by .*py") as raised:
            engine.run("host", SERVER, ports=[f"{port}:8000"])
        assert raised.value.port == port
    with engine.run("host", SERVER, ports={8000: port}, wait=wait.port(8000)) as c:
        assert c.address(8000) == ("127.0.0.1", port)
        with pytest.raises(PortInUseError):
            engine.run("host", SERVER, ports=[f"{port}:8000"])
        assert "doc/" in get(c.address(8000))


def test_containers_reach_each_other_and_not_the_machines_loopback(engine: Engine) -> None:
    ask = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)"
    with engine.run("host", SERVER, wait=wait.port(8000)) as server, socket.create_server(("127.0.0.1", 0)) as local:
        with engine.run("host", ["python3", "-c", ask, server.ip_address, "8000"]) as client:
            assert client.wait(timeout=30) == 0
        with engine.run("host", ["python3", "-c", ask, "127.0.0.1", str(local.getsockname()[1])]) as client:
            assert client.wait(timeout=30) != 0


def test_without_a_network_there_is_the_loopback_alone(engine: Engine) -> None:
    with engine.run("host", ["ls", "/sys/class/net"], network="none") as c:
        c.wait(timeout=30)
        assert c.logs() == "lo\n"
        assert c.ip_address == ""


def test_waiting_for_a_port_ends_with_the_container(engine: Engine) -> None:
    before = engine.containers()
    with pytest.raises(ContainerExitedError, match="exited with code 4 before port 8000") as raised:
        engine.run("host", ["sh", "-c", "echo cannot open config; exit 4"], ports=[8000], wait=wait.port(8000))
    assert "cannot open config" in str(raised.value)
    assert engine.containers() == before


def test_waiting_for_a_port_has_a_limit(engine: Engine) -> None:
    with pytest.raises(ContainerNotReadyError, match=r"not within 0.3 s: port 8000 accepts"):
        engine.run("host", ["sleep", "1000"], ports=[8000], wait=wait.port(8000, timeout=0.3))


def test_waiting_for_the_log(engine: Engine) -> None:
    script = "sleep 0.1; printf 'now rea'; sleep 0.1; echo dy; sleep 0.05; echo now ready >&2; sleep 1000"
    with engine.run("host", ["sh", "-c", script], wait=wait.log(r"now \w+dy$")) as c:
        assert c.logs() in ("now ready\n", "now ready\nnow ready\n")
    with engine.run("host", ["sh", "-c", script], wait=wait.log("now ready", times=2)) as c:
        assert c.logs() == "now ready\nnow ready\n"


def test_waiting_for_the_log_fails_with_the_log(engine: Engine) -> None:
    with pytest.raises(ContainerExitedError, match="oh no"):
        engine.run("host", ["sh", "-c", "echo oh no; exit 1"], wait=wait.log("ready"))
    with pytest.raises(ContainerNotReadyError, match="its log has 'ready'"):
        engine.run("host", ["sleep", "1000"], wait=wait.log("ready", timeout=0.2))


def test_a_container_that_writes_faster_than_anybody_reads(engine: Engine) -> None:
    with pytest.raises(ContainerNotReadyError, match="its log has 'NOPE'"):
        engine.run("host", ["yes", "a line of moderate length"], wait=wait.log("NOPE", timeout=0.5))


def test_a_character_in_two_pieces_is_one(engine: Engine) -> None:
    script = "printf 'r\\303'; sleep 0.1; printf '\\251ady\\n'; sleep 1000"
    engine.run("host", ["sh", "-c", script], wait=wait.log("réady", timeout=20)).remove(force=True)


def test_what_can_never_be_waited_for_is_said_at_once() -> None:
    with pytest.raises(InvalidSpecError, match="regular expression"):
        wait.log("(")
    with pytest.raises(InvalidSpecError, match="port"):
        wait.port("53/sctp")


def test_ranges_of_ports(engine: Engine) -> None:
    with engine.run("host", SERVER, ports=["7900-7901:8000", "7910-7911:8001-8002"], wait=wait.port(8000)) as one:
        with engine.run("host", SERVER, ports={8000: "7900-7901"}, wait=wait.port(8000)) as other:
            assert {one.port(8000), other.port(8000)} == {7900, 7901}
            assert "doc/" in get(other.address(8000))
            with pytest.raises(PortInUseError, match="all ports from 7900 to 7901") as raised:
                engine.run("host", SERVER, ports=["7900-7901:8000"])
            assert (raised.value.port, raised.value.last) == (7900, 7901)
        assert (one.port(8001), one.port(8002)) == (7910, 7911)


def test_what_an_image_exposes_is_published_on_request(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM host\nEXPOSE 8000 5353/udp 7000-7001\n")
    image = engine.build(tmp_path)
    with engine.run(image, SERVER, ports=["7900:7000"], publish_all=True, wait=wait.port(8000)) as c:
        assert "doc/" in get(c.address(8000))
        assert c.port(7000) == 7900
        assert c.port(7001)
        assert c.port("5353/udp")
    with engine.run(image, SERVER) as c, pytest.raises(PortNotPublishedError):
        c.address(8000)
    engine.run(image, ["true"], publish_all=True, network="none").remove(force=True)
