from __future__ import annotations

import errno
import ipaddress
import os
import pickle
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.kernel import namespaces, netlink, nftables, rtnetlink
from pytest_pycontainer.kernel.netlink import NetlinkError, NetlinkSocket, attribute, nested, parse_attributes
from pytest_pycontainer.kernel.rtnetlink import VethEnd

T = TypeVar("T")


@pytest.fixture
def in_namespace() -> Iterator[Callable[[Callable[[], T]], T]]:
    """Runs a function in a new network namespace, that of a thread."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(namespaces.unshare, namespaces.NETWORK).result()
        yield lambda function: thread.submit(function).result()


@pytest.fixture
def routing(in_namespace: Callable[[Callable[[], NetlinkSocket]], NetlinkSocket]) -> Iterator[NetlinkSocket]:
    with closing(in_namespace(lambda: NetlinkSocket.open(rtnetlink.ROUTE))) as endpoint:
        yield endpoint


@pytest.fixture
def netfilter(in_namespace: Callable[[Callable[[], NetlinkSocket]], NetlinkSocket]) -> Iterator[NetlinkSocket]:
    with closing(in_namespace(lambda: NetlinkSocket.open(nftables.NETFILTER))) as endpoint:
        yield endpoint


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=300)))
def test_attributes_come_back_as_they_were_made(attributes: dict[int, bytes]) -> None:
    made = b"".join(attribute(kind, payload) for kind, payload in attributes.items())
    assert len(made) % 4 == 0
    assert parse_attributes(made) == attributes
    assert parse_attributes(parse_attributes(nested(7, made))[7]) == attributes


@given(st.binary(max_size=200))
def test_any_bytes_are_attributes_or_a_value_error(data: bytes) -> None:
    try:
        found = parse_attributes(data)
    except ValueError:
        return
    assert sum(len(payload) for payload in found.values()) <= len(data)


def test_a_refusal_names_the_step_the_errno_and_the_kernels_words(routing: NetlinkSocket) -> None:
    bridge = rtnetlink.create_bridge("bridge0", 77, 1400)
    with pytest.raises(NetlinkError) as caught:
        routing.request([bridge, rtnetlink.bring_up(77, "bridge0"), bridge])
    assert caught.value.errno == errno.EEXIST
    assert str(caught.value) == "create the bridge bridge0: File exists"
    route = rtnetlink.add_default_route(77, ipaddress.IPv4Address("192.0.2.1"))
    with pytest.raises(NetlinkError, match=r"Network is unreachable \(.*gateway.*\)"):
        routing.request([route])


def test_one_send_carries_many_messages_and_the_socket_stays_usable_after_a_refusal(routing: NetlinkSocket) -> None:
    missing = rtnetlink.delete_link(9999, "nothing")
    with pytest.raises(NetlinkError, match="delete the interface nothing"):
        routing.request([missing, missing, rtnetlink.create_bridge("bridge0", 77, 1400)])
    assert rtnetlink.link(routing, "bridge0") == rtnetlink.Link(77, "bridge0", 1400)


def test_a_dump_spans_several_answers(routing: NetlinkSocket) -> None:
    routing.request([rtnetlink.bring_up(1, "lo")])
    interfaces = [ipaddress.IPv4Interface(f"10.1.{number // 200}.{number % 200 + 1}/32") for number in range(1000)]
    routing.request([rtnetlink.add_address(1, interface) for interface in interfaces])
    assert set(interfaces) <= set(rtnetlink.addresses(routing))
    destinations = {route.destination for route in rtnetlink.routes(routing)}
    assert {interface.network for interface in interfaces} <= destinations


def test_no_default_route_is_no_device(routing: NetlinkSocket) -> None:
    assert rtnetlink.default_device(routing) is None


def test_the_default_device_is_that_of_the_default_route(routing: NetlinkSocket) -> None:
    routing.request(
        [
            rtnetlink.create_bridge("wan0", 77, 1234),
            rtnetlink.bring_up(77, "wan0"),
            rtnetlink.add_address(77, ipaddress.IPv4Interface("192.0.2.2/24")),
            rtnetlink.add_default_route(77, ipaddress.IPv4Address("192.0.2.1")),
        ]
    )
    assert rtnetlink.default_device(routing) == rtnetlink.Link(77, "wan0", 1234)


def test_both_ends_of_a_cable_get_the_indexes_asked_for(in_namespace: Callable[[Callable[[], T]], T]) -> None:
    def exchange() -> None:
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        with closing(NetlinkSocket.open(rtnetlink.ROUTE)) as routing:
            routing.request([rtnetlink.create_veth(VethEnd("a", 70), VethEnd("b", 71), own, 1400)])
            os.close(own)
            assert rtnetlink.link(routing, "a") == rtnetlink.Link(70, "a", 1400)
            assert rtnetlink.link(routing, "b") == rtnetlink.Link(71, "b", 1400)

    in_namespace(exchange)  # type: ignore[arg-type]


def test_an_answer_that_never_comes_is_a_timeout() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    class Deaf(socket.socket):
        """Takes the options of a netlink socket, and never answers."""

        def setsockopt(self, *arguments: object) -> None:
            del arguments

    with Deaf(fileno=ours.detach()) as endpoint, theirs, pytest.raises(TimeoutError):
        NetlinkSocket(endpoint, timeout=0.05).request([rtnetlink.bring_up(1, "lo")])


def test_messages_from_other_processes_are_no_answers(in_namespace: Callable[[Callable[[], T]], T]) -> None:
    def exchange() -> None:
        victim = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, rtnetlink.ROUTE)
        victim.bind((0, 0))
        with closing(NetlinkSocket(victim)) as endpoint:
            forged = struct.pack("=IHHIIi", 20, 2, 0, 1, 0, -errno.EPERM)
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, rtnetlink.ROUTE) as attacker:
                attacker.sendto(forged, (victim.getsockname()[0], 0))
            endpoint.request([rtnetlink.bring_up(1, "lo")])

    in_namespace(exchange)  # type: ignore[arg-type]


def test_a_batch_is_made_whole_or_not_at_all(netfilter: NetlinkSocket) -> None:
    broken = nftables.add_rule("table", "no-such-chain", nftables.drop())
    with pytest.raises(NetlinkError, match="add a rule to the nftables chain no-such-chain"):
        nftables.commit(netfilter, [nftables.create_owned_table("table"), broken])
    nftables.commit(netfilter, [nftables.create_owned_table("table")])


def test_an_owned_table_goes_with_its_socket(in_namespace: Callable[[Callable[[], T]], T]) -> None:
    def exchange() -> None:
        create = [nftables.create_owned_table("table")]
        with closing(NetlinkSocket.open(nftables.NETFILTER)) as other:
            with closing(NetlinkSocket.open(nftables.NETFILTER)) as owner:
                nftables.commit(owner, create)
                with pytest.raises(NetlinkError) as caught:
                    nftables.commit(other, create)
                assert caught.value.errno in (errno.EPERM, errno.EEXIST)
                with pytest.raises(NetlinkError):
                    nftables.commit(other, [nftables.delete_table("table")])
            nftables.commit(other, create)

    in_namespace(exchange)  # type: ignore[arg-type]


def test_an_error_survives_pickling() -> None:
    error = NetlinkError(errno.EPERM, "do it", "no")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.errno, copy.step, copy.detail, str(copy)) == (errno.EPERM, "do it", "no", "do it: no")


def test_numbers_are_in_the_machines_order() -> None:
    assert netlink.number(1, 1) == attribute(1, struct.pack("=I", 1))
