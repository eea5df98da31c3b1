from __future__ import annotations

import os
import pickle
import re
import socket
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer.errors import InvalidSpecError, PortInUseError, PrivilegedPortError
from pytest_pycontainer.network import ports
from pytest_pycontainer.network.ports import PublishedPort

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Address

    from pytest_pycontainer.network.bridge import Network
    from tests.network.conftest import Machine, Namespace

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


@pytest.fixture
def here(new_namespace: Callable[[], Namespace]) -> Namespace:
    return new_namespace()


def refusal(namespace: Namespace, address: str, port: int, protocol: str = "tcp") -> PortInUseError:
    with pytest.raises(PortInUseError) as caught:
        namespace.run(ports.reserve, address, port, protocol)
    return caught.value


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize(
    ("held", "wanted"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "0.0.0.0"), ("::", "127.0.0.1")],
)
def test_the_owner_of_a_port_in_use_is_named(here: Namespace, protocol: str, held: str, wanted: str) -> None:
    family = socket.AF_INET6 if ":" in held else socket.AF_INET
    with here.run(lambda: socket.socket(family, KINDS[protocol])) as holder:
        holder.bind((held, 7000))
        if protocol == "tcp":
            holder.listen()
        error = refusal(here, wanted, 7000, protocol)
    assert f"(pid {os.getpid()})" in error.owner
    assert str(error).startswith(f"port 7000 on {wanted} is in use by {error.owner};")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.address, copy.port, copy.owner) == (wanted, 7000, error.owner)


def test_the_owner_is_named_by_what_it_is_called(here: Namespace) -> None:
    program = "import socket, sys; s = socket.socket(fileno=int(sys.argv[1])); s.listen(); print(flush=True); input()"
    with here.run(socket.socket) as made:
        made.bind(("127.0.0.1", 7000))
        command = [sys.executable, "-c", program, str(made.fileno())]
        server = subprocess.Popen(
            command, pass_fds=[made.fileno()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    with server:
        assert server.stdout is not None
        server.stdout.readline()
        assert re.fullmatch(rf"\S+ \(pid {server.pid}\)", refusal(here, "127.0.0.1", 7000).owner)
        server.communicate("\n")


def test_connections_that_have_just_ended_are_named(here: Namespace) -> None:
    with here.run(socket.socket) as listener:
        listener.bind(("127.0.0.1", 7000))
        leave_ended_connection(here, listener)
    assert refusal(here, "127.0.0.1", 7000).owner == "connections that ended less than a minute ago"


def test_connections_that_have_just_ended_are_not_in_the_way_if_their_server_had_it_so(here: Namespace) -> None:
    with here.run(socket.create_server, ("127.0.0.1", 7000)) as listener:
        leave_ended_connection(here, listener)
    with pytest.raises(OSError, match="in use"), here.run(socket.socket) as other:
        other.bind(("127.0.0.1", 7000))
    with here.run(ports.reserve, "127.0.0.1", 7000, "tcp"):
        refusal(here, "127.0.0.1", 7000)
        with pytest.raises(OSError, match="in use"):
            here.run(socket.create_server, ("0.0.0.0", 7000))
        with pytest.raises(ConnectionRefusedError):
            here.ask("127.0.0.1", 7000)


def leave_ended_connection(here: Namespace, listener: socket.socket) -> None:
    """The listener's side ends it first, and keeps the port for a minute."""
    listener.listen()
    with here.run(socket.create_connection, listener.getsockname()) as client:
        listener.accept()[0].close()
        assert client.recv(1) == b""


def test_a_port_of_another_address_is_not_in_the_way(here: Namespace) -> None:
    with ExitStack() as stack:
        for host_address in ("127.0.0.1", "127.0.0.2"):
            stack.enter_context(here.run(ports.reserve, host_address, 7000, "tcp"))
        assert ports.owner("127.0.0.3", 7000, "tcp") == ""


def test_a_reserved_port_is_nobody_elses(here: Namespace) -> None:
    with here.run(ports.reserve, "127.0.0.1", None, "tcp") as reservation:
        port = reservation.getsockname()[1]
        refusal(here, "127.0.0.1", port)
        with pytest.raises(OSError, match="in use"):
            here.run(lambda: socket.create_server(("127.0.0.1", port)))
        with pytest.raises(ConnectionRefusedError):
            here.ask("127.0.0.1", port)
    with here.server("127.0.0.1", port):
        pass


@pytest.fixture
def address(network: Network) -> IPv4Address:
    return network.allocate()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"container_port": 0}, "invalid container port '0': wanted a port between 1 and 65535"),
        ({"container_port": 65536}, "invalid container port '65536'"),
        ({"host_port": 0}, "invalid host port '0'"),
        ({"host_port": -1}, "invalid host port '-1'"),
        ({"protocol": "sctp"}, "invalid protocol 'sctp': wanted tcp or udp"),
        ({"host_address": "localhost"}, "invalid host address 'localhost': wanted an address of this machine"),
        ({"host_address": "::1"}, "invalid host address '::1'"),
        ({"host_address": "203.0.113.77"}, "invalid host address '203.0.113.77': wanted an address of this machine"),
    ],
)
def test_what_cannot_be_published(
    machine: Machine, network: Network, address: IPv4Address, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidSpecError, match=f"^{re.escape(message)}"):
        machine.namespace.run(network.publish, address, **{"container_port": 80, **arguments})  # type: ignore[arg-type]


def test_a_port_is_published_once(machine: Machine, network: Network, address: IPv4Address) -> None:
    port = machine.namespace.run(network.publish, address, 80)
    assert port == PublishedPort(80, "tcp", "127.0.0.1", port.host_port)
    with pytest.raises(PortInUseError, match=f"port {port.host_port} on 127.0.0.1 is in use"):
        machine.namespace.run(network.publish, address, 81, host_port=port.host_port)
    same_number = machine.namespace.run(network.publish, address, 80, host_port=port.host_port, protocol="udp")
    assert same_number.host_port == port.host_port


def test_a_privileged_port_needs_the_privilege(here: Namespace) -> None:
    """The process may be root; the thread that asks is not."""
    with pytest.raises(PrivilegedPortError, match=r"port 80 on .* name one from 1024 on") as caught:
        here.run(_reserve_as_nobody, 80)
    assert (caught.value.address, caught.value.port, caught.value.first) == ("127.0.0.1", 80, 1024)


def _reserve_as_nobody(port: int) -> None:
    import ctypes
    import platform

    # setresuid of the C library changes all threads of the process; the system call itself only this one.
    number = {"x86_64": 117, "aarch64": 147}[platform.machine()]
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.syscall(ctypes.c_long(number), *(ctypes.c_long(value) for value in (65534, 65534, 65534))) == 0
    ports.reserve("127.0.0.1", port, "tcp")


def test_a_free_one_of_a_range(here: Namespace) -> None:
    with ExitStack() as stack:
        taken = stack.enter_context(here.run(ports.reserve, "127.0.0.1", 7000, "tcp"))
        second = stack.enter_context(here.run(ports.reserve, "127.0.0.1", range(7000, 7002), "tcp"))
        assert second.getsockname()[1] == 7001
        with pytest.raises(PortInUseError, match=r"all ports from 7000 to 7001 on 127.0.0.1 are in use, the first by"):
            here.run(ports.reserve, "127.0.0.1", range(7000, 7002), "tcp")
        taken.close()
        third = stack.enter_context(here.run(ports.reserve, "127.0.0.1", range(7000, 7002), "tcp"))
        assert third.getsockname()[1] == 7000


_TAKE_FREE_PORTS = """
import sys
from ipaddress import IPv4Address
from pytest_pycontainer.kernel import namespaces
from pytest_pycontainer.network import ports

namespaces.enter(int(sys.argv[1]), namespaces.NETWORK)
print(flush=True)
sys.stdin.readline()
taken = [ports.reserve("127.0.0.1", range(7000, 7100), "udp") for _ in range(25)]
print(*(one.getsockname()[1] for one in taken), flush=True)
sys.stdin.readline()
"""


def test_four_processes_that_take_a_hundred_ports_get_a_hundred(here: Namespace, resources: ExitStack) -> None:
    descriptor = here.value.descriptor
    command = [sys.executable, "-c", _TAKE_FREE_PORTS, str(descriptor)]
    processes = [
        resources.enter_context(
            subprocess.Popen(
                command, pass_fds=[descriptor], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
            )
        )
        for _ in range(4)
    ]
    lines = []
    for _ in range(2):  # all are ready, and then all go
        lines = [process.stdout.readline() for process in processes if process.stdout]
        for process in processes:
            assert process.stdin
            process.stdin.write("\n")
    assert sorted(int(port) for line in lines for port in line.split()) == list(range(7000, 7100))
