"""A service between two networks: clients reach it, and it alone reaches the database, by name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_pycontainer import Container, Engine, Network, wait

# Each answers with one word; the service passes on what the database says.
DATABASE = """
import socket
server = socket.create_server(("", 5432))
print("ready", flush=True)
while True:
    client, _ = server.accept()
    client.sendall(b"forty-two")
    client.close()
"""
SERVICE = """
import socket
server = socket.create_server(("", 80))
print("ready", flush=True)
while True:
    client, _ = server.accept()
    try:
        client.sendall(b"the answer is " + socket.create_connection(("database", 5432), 5).recv(100))
    except OSError:
        client.sendall(b"nobody knows")
    client.close()
"""
ASK = """
import socket, sys
host, port, seconds = sys.argv[1:]
print(socket.create_connection((host, int(port)), float(seconds)).recv(100).decode())
"""


@pytest.fixture(scope="module")
def front(pycontainer: Engine) -> Iterator[Network]:
    with pycontainer.network() as network:
        yield network


@pytest.fixture(scope="module")
def back(pycontainer: Engine) -> Iterator[Network]:
    """Nothing in it reaches the outside."""
    with pycontainer.network(internal=True) as network:
        yield network


@pytest.fixture(scope="module")
def database(pycontainer: Engine, back: Network) -> Iterator[Container]:
    command = ["python3", "-c", DATABASE]
    with pycontainer.run("host", command, network=back, network_aliases=["database"], wait=wait.log("ready")) as c:
        yield c


@pytest.fixture(scope="module")
def service(pycontainer: Engine, front: Network, back: Network) -> Iterator[Container]:
    networks = {front: {"aliases": ["service"]}, back: None}
    with pycontainer.run("host", ["python3", "-c", SERVICE], networks=networks, wait=wait.log("ready")) as c:
        yield c


@pytest.fixture
def client(pycontainer: Engine, front: Network) -> Iterator[Container]:
    with pycontainer.run("host", ["sleep", "infinity"], network=front) as c:
        yield c


@pytest.mark.usefixtures("service", "database")
def test_a_client_is_answered(client: Container) -> None:
    assert client.exec(["python3", "-c", ASK, "service", "80", "10"]).stdout == "the answer is forty-two\n"


def test_a_client_does_not_reach_the_database(client: Container, database: Container) -> None:
    assert client.exec(["getent", "hosts", "database"]).exit_code != 0
    assert client.exec(["python3", "-c", ASK, database.ip_address, "5432", "0.3"]).exit_code != 0


@pytest.mark.usefixtures("database")
def test_a_service_without_its_database(client: Container, service: Container, back: Network) -> None:
    back.disconnect(service)
    assert client.exec(["python3", "-c", ASK, "service", "80", "10"]).stdout == "nobody knows\n"
    back.connect(service)
    assert client.exec(["python3", "-c", ASK, "service", "80", "10"]).stdout == "the answer is forty-two\n"
