from __future__ import annotations

import errno
import ipaddress
import pickle
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer.errors import FaultUnsupportedError, NetworkAttachError
from pytest_pycontainer.kernel import traffic_control
from pytest_pycontainer.kernel.netlink import Message, NetlinkError, parse_attributes
from pytest_pycontainer.network.bridge import Network
from pytest_pycontainer.network.faults import Bandwidth, Delay, Fault, Interface, Loss, Partition

if TYPE_CHECKING:
    from pytest_pycontainer.kernel.rtnetlink import NetworkNamespace
    from tests.network.conftest import Attached, Machine, Namespace

MakeContainer = Callable[[], "Attached"]

SHORT = 0.2
"""Seconds after which a connection that is dropped on the way is believed to be."""

_GET_DISCIPLINE = 38

SO_RCVBUFFORCE = 33


@contextmanager
def nobody(_: ipaddress.IPv4Address) -> Iterator[None]:
    """For faults that have nothing to do inside of a container."""
    yield None


def interfaces(*containers: Attached) -> Callable[..., object]:
    """Lends the namespaces of these containers."""

    @contextmanager
    def lend(address: ipaddress.IPv4Address) -> Iterator[tuple[NetworkNamespace, Interface]]:
        (container,) = (one for one in containers if one.address == address)
        yield container.namespace.value, Network.container_interface(address)

    return lend


def reaches(one: Attached, other: Attached) -> bool:
    with other.namespace.server() as port:
        return one.namespace.ask(str(other.address), port) == str(one.address)


def is_cut_off(one: Attached, other: Attached) -> bool:
    with other.namespace.server() as port:
        try:
            one.namespace.ask(str(other.address), port, SHORT)
        except TimeoutError:
            return True
        return False


def disciplines(namespace: Namespace) -> list[str]:
    """What is said of how the interfaces of a namespace send, but the kernel's own."""
    found = namespace.routing().dump(Message(_GET_DISCIPLINE, bytes(20), "list disciplines"))
    kinds = [parse_attributes(body[20:])[1].rstrip(b"\0").decode() for _, body in found]
    return sorted(kind for kind in kinds if kind not in ("noqueue", "bfifo"))


@contextmanager
def fault(network: Network, fault: Fault, lend: Callable[..., object] = nobody) -> Iterator[None]:
    network.add_fault(fault, lend)  # type: ignore[arg-type]
    yield
    network.remove_fault(fault, lend)  # type: ignore[arg-type]


def test_a_partition_between_two(network: Network, attach: MakeContainer) -> None:
    one, other, third = attach(), attach(), attach()
    assert reaches(one, other)
    with fault(network, Partition({one.address}, {other.address})):
        assert is_cut_off(one, other)
        assert is_cut_off(other, one)
        assert reaches(one, third)
        assert reaches(third, other)
    assert reaches(one, other)
    assert reaches(other, one)


def test_a_partition_between_groups_and_from_everybody(
    machine: Machine, network: Network, attach: MakeContainer
) -> None:
    a, b, c, d = (attach() for _ in range(4))
    with fault(network, Partition({a.address, b.address}, {c.address, d.address})):
        assert reaches(a, b)
        assert reaches(c, d)
        assert is_cut_off(b, c)
        assert is_cut_off(d, a)
    with fault(network, Partition({a.address, b.address}, None)):
        assert reaches(a, b)
        assert reaches(c, d)
        assert is_cut_off(a, c)
        with machine.outside.server() as port:
            assert c.namespace.ask(machine.OUTSIDE_ADDRESS, port) == machine.ADDRESS
            with pytest.raises(TimeoutError):
                a.namespace.ask(machine.OUTSIDE_ADDRESS, port, SHORT)
        with a.namespace.server(port=80), pytest.raises(TimeoutError):
            machine.namespace.ask(str(a.address), 80, SHORT)


def test_a_connection_outlives_a_partition(network: Network, attach: MakeContainer) -> None:
    one, other = attach(), attach()
    listener = other.namespace.run(lambda: socket.create_server(("0.0.0.0", 80)))
    connection = one.namespace.run(lambda: socket.create_connection((str(other.address), 80), 5))
    accepted, _ = listener.accept()
    with listener, connection, accepted:
        accepted.settimeout(SHORT)
        with fault(network, Partition({one.address}, {other.address})):
            connection.sendall(b"held up")
            with pytest.raises(TimeoutError):
                accepted.recv(100)
        accepted.settimeout(20)
        assert accepted.recv(100) == b"held up"


def test_partitions_are_undone_each_for_itself(network: Network, attach: MakeContainer) -> None:
    one, other = attach(), attach()
    first, second = (Partition({one.address}, {other.address}) for _ in range(2))
    network.add_fault(first, nobody)
    network.add_fault(second, nobody)
    network.remove_fault(first, nobody)
    network.remove_fault(first, nobody)
    assert is_cut_off(one, other)
    network.remove_fault(second, nobody)
    assert reaches(one, other)


def test_the_next_owner_of_an_address_has_no_faults(
    network: Network, attach: MakeContainer, new_namespace: Callable[[], Namespace]
) -> None:
    one, other = attach(), attach()
    partition = Partition({one.address}, {other.address})
    network.add_fault(partition, nobody)
    network.add_fault(Loss({other.address}, 1_000_000), nobody)
    network.detach(other.address)
    network.release(other.address)
    network.attach(network.allocate(other.address), (namespace := new_namespace()).value)
    successor = type(other)(namespace, other.address)
    assert reaches(one, successor)
    network.remove_fault(partition, nobody)
    assert reaches(successor, one)


def lost(one: Attached, other: Attached, datagrams: int = 2000) -> float:
    """The share of datagrams that do not get from one to the other."""
    with one.namespace.datagram_socket() as sender, other.namespace.datagram_socket() as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 26)
        receiver.bind(("0.0.0.0", 9000))
        sender.connect((str(other.address), 9000))
        sender.send(b"whose hardware address is looked up by this")
        time.sleep(0.05)  # the kernel keeps only a few datagrams while it asks, and asks again only after a second
        receiver.setblocking(False)
        _count(receiver)
        for _ in range(datagrams):
            sender.send(b"x")
        return 1 - _count(receiver) / datagrams


def _count(receiver: socket.socket) -> int:
    count = 0
    while True:
        try:
            receiver.recv(100)
        except BlockingIOError:
            return count
        count += 1


def test_losses_both_ways(network: Network, attach: MakeContainer) -> None:
    one, other, third = attach(), attach(), attach()
    for pair in ((one, other), (other, one), (third, one)):
        assert lost(*pair) == 0
    with fault(network, Loss({one.address}, 300_000)):
        assert 0.2 < lost(one, other) < 0.4
        assert 0.2 < lost(other, one) < 0.4
        assert lost(third, other) == 0
        with fault(network, Loss({other.address}, 300_000)):
            assert 0.41 < lost(one, other) < 0.61
    assert lost(one, other) == 0


def transfer(one: Attached, other: Attached, size: int) -> float:
    """Seconds that so many bytes take."""
    listener = other.namespace.run(lambda: socket.create_server(("0.0.0.0", 80)))
    connection = one.namespace.run(lambda: socket.create_connection((str(other.address), 80), 5))
    accepted, _ = listener.accept()
    with listener, accepted, connection:
        thread = threading.Thread(target=connection.sendall, args=(bytes(size),))
        begin = time.monotonic()
        thread.start()
        received = 0
        while received < size:
            received += len(accepted.recv(1 << 20))
        thread.join()
        return time.monotonic() - begin


def test_a_slow_line_both_ways(network: Network, attach: MakeContainer, machine: Machine) -> None:
    one, other = attach(), attach()
    lend = interfaces(one, other)
    size = 2_000_000
    with fault(network, Bandwidth({one.address}, 4_000_000), lend):
        assert disciplines(one.namespace) == ["tbf"]
        assert disciplines(machine.switch) == ["tbf"]
        # It takes at least so long, on a machine however fast, and however slow that is.
        assert transfer(one, other, size) > 0.8 * size / 4_000_000
        assert transfer(other, one, size) > 0.8 * size / 4_000_000
        with fault(network, Bandwidth({one.address, other.address}, 8_000_000), lend):
            assert transfer(one, other, size) > 0.8 * size / 4_000_000
        assert disciplines(other.namespace) == []
        assert disciplines(one.namespace) == ["tbf"]
    assert disciplines(one.namespace) == disciplines(machine.switch) == []


def test_a_rate_beyond_four_gigabytes(network: Network, attach: MakeContainer) -> None:
    one, other = attach(), attach()
    with fault(network, Bandwidth({one.address}, 10_000_000_000), interfaces(one)):
        assert transfer(one, other, 10_000_000)


def test_a_delay_or_what_the_kernel_lacks_for_it(network: Network, attach: MakeContainer, machine: Machine) -> None:
    one, other = attach(), attach()
    lend = interfaces(one, other)
    delay = Delay({one.address}, 100_000_000, 0)
    with fault(network, Bandwidth({one.address}, 10_000_000), lend):
        if error := refusal(network, delay, lend):
            assert (error.fault, error.needs) == ("a delay", "CONFIG_NET_SCH_NETEM")
            assert str(error).startswith("this kernel can't do a delay on a network: it needs CONFIG_NET_SCH_NETEM (")
            assert str(pickle.loads(pickle.dumps(error))) == str(error)
        else:
            assert disciplines(one.namespace) == ["netem", "tbf"]
            begin = time.monotonic()
            assert reaches(one, other)
            assert time.monotonic() - begin > 0.2
            network.remove_fault(delay, lend)  # type: ignore[arg-type]
        assert disciplines(one.namespace) == disciplines(machine.switch) == ["tbf"]


def refusal(network: Network, fault: Fault, lend: Callable[..., object]) -> FaultUnsupportedError | None:
    try:
        network.add_fault(fault, lend)  # type: ignore[arg-type]
    except FaultUnsupportedError as error:
        return error
    return None


def test_a_delay_reads_as_the_tc_command_writes_it() -> None:
    """What ``tc qdisc replace dev lo root handle 1: netem limit 100000 delay 100ms 10ms`` sends, but that it counts in
    ticks of 64 ns where there are nanoseconds since Linux 4.16.
    """
    message = traffic_control.delay(1, "lo", 100_000_000, 10_000_000)
    family, index, own, parent, _ = struct.unpack_from("=BxxxiIII", message.body)
    assert (message.kind, message.flags & 0x500) == (36, 0x500)
    assert (family, index, own, parent) == (0, 1, 65536, 4294967295)
    attributes = parse_attributes(message.body[20:])
    assert attributes[1] == b"netem\0"
    assert attributes[2][:24] == bytes.fromhex("00000000a0860100" + "00" * 16)
    more = parse_attributes(attributes[2][24:])
    assert {kind: int.from_bytes(value, "little") for kind, value in more.items()} == {10: 100_000_000, 11: 10_000_000}


def test_a_rate_reads_as_the_tc_command_writes_it() -> None:
    """As ``tc qdisc replace dev lo root handle 1: tbf rate 1mbps burst 16kb limit 100kb``."""
    message = traffic_control.limit_rate(1, "lo", 1_000_000, burst=16 << 10, queue=100 << 10)
    attributes = parse_attributes(message.body[20:])
    options = parse_attributes(attributes[2])
    assert attributes[1] == b"tbf\0"
    rate, limit, burst_time, mtu = struct.unpack("=8xI12xIII", options[1])
    assert (rate, limit, burst_time * 64, mtu) == (1_000_000, 102_400, 16_384_000, 0)
    assert options[6] == (16 << 10).to_bytes(4, "little")


def test_a_refused_fault_leaves_everything_as_it_was(network: Network, attach: MakeContainer) -> None:
    one, other = attach(), attach()
    with fault(network, Partition({one.address}, {other.address})):

        @contextmanager
        def refused(_: ipaddress.IPv4Address) -> Iterator[None]:
            raise NetlinkError(errno.EPERM, "look into the container", "not permitted")
            yield

        with pytest.raises(NetworkAttachError, match="not permitted"):
            network.add_fault(Bandwidth({one.address}, 1_000_000), refused)
        assert is_cut_off(one, other)
    assert reaches(one, other)


def test_of_a_closed_network_nothing_is_left_to_undo(machine: Machine, attach: MakeContainer, network: Network) -> None:
    one, other = attach(), attach()
    partition = Partition({one.address}, {other.address})
    network.add_fault(partition, nobody)
    machine.namespace.run(network.close)
    assert machine.switch.tables() == set()
    network.remove_fault(partition, nobody)
    with pytest.raises(NetworkAttachError, match="the network is closed"):
        network.add_fault(partition, nobody)
