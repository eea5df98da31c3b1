"""Ports on IPv6 addresses, which a process of ours leads into containers as faithfully as the kernel would."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pytest_pycontainer import Container, Engine, wait
from pytest_pycontainer.errors import InvalidSpecError, PortInUseError

# A line says what the server is to do with the connection.
SERVER = """
import socket, struct, threading, time

def serve(connection):
    with connection, connection.makefile("rb") as lines:
        word, _, argument = lines.readline().decode().strip().partition(" ")
        if word == "echo":
            while data := lines.read1(1 << 16):
                connection.sendall(data)
        elif word == "send":
            piece = bytes(range(256)) * 256
            for _ in range(int(argument) // len(piece)):
                connection.sendall(piece)
        elif word == "count":
            count = 0
            while data := lines.read1(1 << 20):
                count += len(data)
            connection.sendall(str(count).encode())
        elif word == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif word == "linger":
            try:
                connection.sendall(b"here")
                lines.read()
                print(argument, "ended", flush=True)
            except ConnectionResetError:
                print(argument, "reset", flush=True)
        elif word == "sleep":
            time.sleep(1000)

def echo_datagrams():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.bind(("", 8000))
        while True:
            data, peer = service.recvfrom(1 << 16)
            service.sendto(data.upper(), peer)

threading.Thread(target=echo_datagrams, daemon=True).start()
with socket.create_server(("", 8000), backlog=1000) as listener:
    while True:
        threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()
"""


@pytest.fixture(scope="module")
def server(engine: Engine) -> Iterator[Container]:
    ports = ["[::1]::8000", "[::]::8000/udp", "127.0.0.1::8000"]
    with engine.run("host", ["python3", "-c", SERVER], ports=ports, wait=wait.port(8000)) as server:
        yield server


def ask(container: Container, line: str) -> socket.socket:
    host, port = container.address(8000)
    assert host == "::1"
    connection = socket.create_connection((host, port), 30)
    connection.sendall(line.encode() + b"\n")
    return connection


def rest(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(1 << 20), b""))


def test_both_ways_and_half_closed(server: Container) -> None:
    with ask(server, "echo") as connection:
        for word in (b"one", b"two"):
            connection.sendall(word)
            assert connection.recv(100) == word
        connection.sendall(b"last")
        connection.shutdown(socket.SHUT_WR)
        assert rest(connection) == b"last"


def test_much_in_either_direction(server: Container) -> None:
    size = 64 << 20
    with ask(server, f"send {size}") as connection:
        assert rest(connection) == bytes(range(256)) * (size // 256)
    with ask(server, "count") as connection:
        connection.sendall(bytes(size))
        connection.shutdown(socket.SHUT_WR)
        assert rest(connection) == str(size).encode()
    with ask(server, "echo") as connection:

        def send() -> None:
            connection.sendall(bytes(size))
            connection.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=send)
        thread.start()
        assert rest(connection) == bytes(size)
        thread.join()


def test_who_does_not_read_holds_up_who_writes(server: Container) -> None:
    with ask(server, "sleep") as connection:
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connection.sendall(bytes(1 << 30))


def test_connections_that_the_server_ended_do_not_keep_a_named_port(engine: Engine) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as free:
        port = free.getsockname()[1]
    for _ in range(2):
        ports = [f"[::1]:{port}:8000"]
        with engine.run("host", ["python3", "-c", SERVER], ports=ports, wait=wait.port(8000)) as server:
            with ask(server, "send 0") as connection:
                assert rest(connection) == b""
            server.restart(timeout=0)
            assert server.address(8000) == ("::1", port)


def test_a_reset_reaches_the_client(server: Container) -> None:
    def be_reset() -> None:
        with ask(server, "reset") as connection:
            rest(connection)

    with pytest.raises(ConnectionResetError):
        be_reset()


def test_a_client_that_vanishes_is_told_of(server: Container) -> None:
    with ask(server, "linger 1") as connection:
        assert connection.recv(4) == b"here"
    wait.log("^1 ended").until_ready(server, 20)
    with ask(server, "linger 2") as connection:
        assert connection.recv(4) == b"here"
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait.log("^2 reset").until_ready(server, 20)


def test_many_at_once(server: Container) -> None:
    connections = [ask(server, "echo") for _ in range(200)]
    for number, connection in enumerate(connections):
        connection.sendall(str(number).encode())
    for number, connection in enumerate(connections):
        assert connection.recv(100) == str(number).encode()
        connection.close()


def test_datagrams_of_several_clients(server: Container) -> None:
    host, port = server.address("8000/udp")
    assert host == "::1"
    clients = [socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) for _ in range(5)]
    for client in clients:
        client.settimeout(20)
        client.connect((host, port))  # takes answers from there alone
    for word in (b"one", b"two"):
        for number, client in enumerate(clients):
            client.send(word + b"%d" % number)
        for number, client in enumerate(clients):
            assert client.recv(100) == word.upper() + b"%d" % number
    for client in clients:
        client.close()


def ask_port_80(container: Container) -> None:
    with socket.create_connection(container.address(80), 20) as connection:
        connection.recv(1)


def test_where_nobody_listens_yet(engine: Engine) -> None:
    with engine.run("host", ["sleep", "1000"], ports=["[::1]::80", "[::1]::80/udp"]) as c:
        with pytest.raises(ConnectionResetError):
            ask_port_80(c)
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
            for _ in range(3):
                client.sendto(b"x", c.address("80/udp"))
        address = c.address(80)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, 20)


def test_the_host_port_belongs_to_one(engine: Engine) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=rf"port {port} on ::1 is in use by .*\(pid {os.getpid()}\)"):
            engine.run("host", ["sleep", "1000"], ports=[f"[::1]:{port}:80"])
        with pytest.raises(PortInUseError):
            engine.run("host", ["sleep", "1000"], ports=[f"[::]:{port}:80"])
    for address in ("2001:db8::1", "fe80::1"):
        with pytest.raises(InvalidSpecError, match=f"host address '{address}': wanted an address of this machine"):
            engine.run("host", ["sleep", "1000"], ports=[f"[{address}]:8080:80"])
    with engine.run("host", ["sleep", "1000"], ports=[f"[::]:{port}:80", f"0.0.0.0:{port}:80"]):
        pass


def test_who_is_connected_is_reset_when_the_container_has_gone(engine: Engine) -> None:
    with engine.run("host", ["python3", "-c", SERVER], ports=["[::1]::8000"], wait=wait.port(8000)) as c:
        connection = ask(c, "sleep")
    with connection, suppress(ConnectionResetError):
        assert rest(connection) == b""


def test_a_forwarder_that_was_killed_is_replaced(engine: Engine) -> None:
    command, port = ["python3", "-c", SERVER], ["[::1]::8000"]
    with Engine(engine.settings) as other:
        other.run("host", command, ports=port, wait=wait.port(8000))
        (forwarder,) = holders_of_ipv6_ports(other)
        os.kill(forwarder, signal.SIGKILL)
        with other.run("host", command, ports=port, wait=wait.port(8000)):
            for container in other.containers():
                with ask(container, "echo") as connection:
                    connection.sendall(b"x")
                    assert connection.recv(1) == b"x"


def holders_of_ipv6_ports(engine: Engine) -> list[int]:
    """The processes, but this one, that listen where the engine's containers are published on ::1."""
    from pytest_pycontainer.kernel.sockdiag import bound_sockets

    ports = {container.port(8000) for container in engine.containers()}
    inodes = {f"socket:[{one.inode}]" for one in bound_sockets(socket.IPPROTO_TCP) if one.port in ports}
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            with suppress(OSError):
                links = [str(link.readlink()) for link in (process / "fd").iterdir()]
                found += [int(process.name)] if inodes.intersection(links) else []
    return found
