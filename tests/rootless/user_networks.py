"""What an ordinary user's networks have to do; run as one, with a port that another user has taken as its argument."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from pytest_pycontainer import Engine, wait
from pytest_pycontainer.errors import PortInUseError, PortNotOpenError, PrivilegedPortError

SERVER = """
import socket, threading

def answer_datagrams():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.bind(("", 8000))
        while True:
            data, peer = service.recvfrom(1 << 16)
            service.sendto(data.upper(), peer)

threading.Thread(target=answer_datagrams, daemon=True).start()
with socket.create_server((HOST, 8000)) as listener:
    while True:
        with listener.accept()[0] as connection:
            connection.sendall(connection.recv(100).upper())
"""


def ask(connection: socket.socket) -> bytes:
    with connection:
        connection.settimeout(60)
        connection.send(b"hello")
        return connection.recv(100)


def ask_at(address: tuple[str, int], kind: socket.SocketKind) -> bytes:
    connection = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, kind)
    connection.connect(address)
    return ask(connection)


def main(taken: int) -> None:
    assert os.geteuid() != 0
    with Engine() as engine:
        ports = ["8000", "[::1]::8000", "0.0.0.0::8000", "8000/udp"]
        server = engine.run(
            "host", ["python3", "-c", SERVER.replace("HOST", "''")], name="server", ports=ports, wait=wait.port(8000)
        )
        for host, host_port, _, protocol in server._published():
            kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
            assert ask_at((host.replace("0.0.0.0", "127.0.0.1"), host_port), kind) == b"HELLO"
        assert ask(server.connect(8000)) == ask(server.connect("8000/udp")) == b"HELLO"

        hidden = engine.run("host", ["python3", "-c", SERVER.replace("HOST", "'127.0.0.1'")], wait=wait.port(8000))
        assert ask(hidden.connect(8000)) == b"HELLO"
        with pytest.raises(PortNotOpenError, match=r"listened on: 8000/tcp"):
            hidden.connect(9)

        with pytest.raises(PortInUseError, match=f"port {taken} on 127.0.0.1 is in use by a process of the user root"):
            engine.run("host", ["sleep", "1000"], ports=[f"{taken}:80"])
        first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
        if first > 1:
            with pytest.raises(PrivilegedPortError, match=f"name one from {first} on"):
                engine.run("host", ["sleep", "1000"], ports=[f"{first - 1}:80"])

        network = engine.network(ipv6=True)
        client = engine.run("host", ["sleep", "1000"])
        network.connect(client)
        network.connect(server)
        found = client.exec(["getent", "ahosts", "server"], check=True).stdout
        assert server.ip6_address in found
        with network.partition(client, server):
            pass
        network.disconnect(server)
        assert ask_at(server.address("8000/udp"), socket.SOCK_DGRAM) == b"HELLO"

        os.kill(engine._resources.spawner.pid, signal.SIGKILL)
        assert server.wait(timeout=60) != 0
        again = engine.run(
            "host", ["python3", "-c", SERVER.replace("HOST", "''")], ports=[8000], network=network, wait=wait.port(8000)
        )
        assert ask_at(again.address(8000), socket.SOCK_STREAM) == b"HELLO"


if __name__ == "__main__":
    main(int(sys.argv[1]))
