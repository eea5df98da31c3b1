"""``Container.connect``: straight into a container's network."""

from __future__ import annotations

import pickle
import socket
import threading
from pathlib import Path

import pytest

from pytest_pycontainer import Engine, wait
from pytest_pycontainer.errors import (
    ContainerNotFoundError,
    ContainerNotReadyError,
    ContainerNotRunningError,
    InvalidSpecError,
    PortNotOpenError,
    WaitTimeoutError,
)

ECHO = """
import socket, sys
family, address, kind = sys.argv[1:]
listener = socket.socket(getattr(socket, family), getattr(socket, kind))
listener.bind((address or socket.gethostbyname(socket.gethostname()), 8000))
if kind == "SOCK_DGRAM":
    print("ready", flush=True)
    while True:
        data, peer = listener.recvfrom(100)
        listener.sendto(f"{peer[0]} {data.decode()}".encode(), peer)
listener.listen()
while True:
    connection, peer = listener.accept()
    connection.sendall(peer[0].encode())
    connection.close()
"""


def server(address: str, family: str = "AF_INET", kind: str = "SOCK_STREAM") -> list[str]:
    return ["python3", "-c", ECHO, family, address, kind]


def answer(connection: socket.socket) -> str:
    with connection:
        return b"".join(iter(lambda: connection.recv(100), b"")).decode()


@pytest.mark.parametrize("network", ["bridge", "none"])
def test_a_server_on_the_loopback_alone(engine: Engine, network: str) -> None:
    with engine.run("host", server("127.0.0.1"), network=network, wait=wait.port(8000)) as c:
        assert answer(c.connect(8000)) == "127.0.0.1"
        assert answer(c.connect("8000/tcp", timeout=None)) == "127.0.0.1"


def test_a_server_wherever_it_listens(engine: Engine) -> None:
    with engine.run("host", server(""), wait=wait.port(8000)) as c:
        assert answer(c.connect(8000)) == c.ip_address
    with engine.run("host", server("0.0.0.0"), wait=wait.port(8000)) as c:
        assert answer(c.connect(8000)) == "127.0.0.1"
    with engine.run("host", server("::", "AF_INET6"), wait=wait.port(8000)) as c:
        assert answer(c.connect(8000)) == "::1"


def test_datagrams(engine: Engine) -> None:
    command = server("127.0.0.1", kind="SOCK_DGRAM")
    with engine.run("host", command, wait=wait.log("ready")) as c, c.connect("8000/udp") as connection:
        connection.send(b"x")
        assert connection.recv(100) == b"127.0.0.1 x"


def test_each_container_has_its_own(engine: Engine) -> None:
    """And this process's threads stay where they are."""
    own = Path("/proc/thread-self/ns/net").readlink()
    with (
        engine.run("host", server(""), wait=wait.port(8000)) as one,
        engine.run("host", server(""), wait=wait.port(8000)) as other,
    ):
        threads = []
        answers: list[tuple[str, str]] = []
        for container in (one, other) * 10:
            ask = lambda c=container: answers.append((c.ip_address, answer(c.connect(8000))))  # noqa: E731
            threads.append(threading.Thread(target=ask))
            threads[-1].start()
        for thread in threads:
            thread.join()
        assert len(answers) == 20
        assert all(address == answered for address, answered in answers)
    assert Path("/proc/thread-self/ns/net").readlink() == own
    with socket.create_server(("127.0.0.1", 0)) as here, socket.create_connection(here.getsockname()):
        pass


def test_another_engine_of_the_machine_connects_too(engine: Engine) -> None:
    with engine.run("host", server("127.0.0.1"), wait=wait.port(8000)) as c, Engine(engine.settings) as other:
        assert answer(other.find(c.id).connect(8000)) == "127.0.0.1"


def test_where_nothing_listens(engine: Engine) -> None:
    with engine.run("host", server("127.0.0.1"), wait=wait.port(8000)) as c:
        message = rf"nothing in '{c.name}' listens on port 81/tcp \(listened on: 8000/tcp\); wait.port\(81\) waits"
        with pytest.raises(PortNotOpenError, match=message) as raised:
            c.connect(81)
        assert raised.value.others == ("8000/tcp",)
        assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
        with pytest.raises(PortNotOpenError, match=r"port 8000/udp \(listened on: none\)$"):
            c.connect("8000/udp")
        for bad in (0, "http", "80-81"):
            with pytest.raises(InvalidSpecError):
                c.connect(bad)


def test_a_server_that_does_not_accept(engine: Engine) -> None:
    """Whose queue is full: it holds one more than it was told to."""
    script = "import socket, signal; s = socket.create_server(('127.0.0.1', 8000), backlog=0); signal.pause()"
    with engine.run("host", ["python3", "-c", script], wait=wait.port(8000)) as c:

        def connect_again_and_again() -> None:
            for _ in range(5):
                c.connect(8000, timeout=0.2)

        with pytest.raises(WaitTimeoutError, match=r"connecting to '.*' took longer than 0.2 s"):
            connect_again_and_again()


def test_only_into_what_runs(engine: Engine) -> None:
    with engine.create("host", server("127.0.0.1")) as c:
        with pytest.raises(ContainerNotRunningError, match=r"cannot connect to .* it is created"):
            c.connect(8000)
        c.start()
        wait.port(8000).until_ready(c, 20)
        c.kill()
        c.wait(timeout=20)
        with pytest.raises(ContainerNotRunningError, match="it is exited"):
            c.connect(8000)
        c.start()
        wait.port(8000).until_ready(c, 20)
        assert answer(c.connect(8000)) == "127.0.0.1"
    with pytest.raises(ContainerNotFoundError):
        c.connect(8000)


def test_waiting_for_a_port_that_is_not_published_has_a_limit(engine: Engine) -> None:
    with pytest.raises(ContainerNotReadyError, match=r"not within 0.2 s: port 8000 accepts"):
        engine.run("host", ["sleep", "1000"], network="none", wait=wait.port(8000, timeout=0.2))
