"""Who is found by what name, and by whom."""

from __future__ import annotations

import socket

import pytest

from pytest_pycontainer.runtime import dns
from pytest_pycontainer.runtime.dns import parse_query
from pytest_pycontainer.runtime.name_changes import ForgetContainer, LeaveNetwork, NameContainer, ServeNetwork
from pytest_pycontainer.runtime.naming import NameTable
from tests.runtime.dns_client import Answer, query, read


class Names:
    """Two networks, ``front`` (10.1.0.0/24) and ``back`` (10.2.0.0/24), with ``web`` in both."""

    def __init__(self) -> None:
        self.exited: set[str] = set()
        self.table = NameTable(self.exited.__contains__)
        for number, name in enumerate(("front", "back"), 1):
            self.table.change(ServeNetwork(name, name, bytes([10, number, 0, 1]), 24))
        self.add("front", "web", "10.1.0.2", "www")
        self.add("back", "web", "10.2.0.2")
        self.add("front", "one", "10.1.0.3", "all")
        self.add("back", "two", "10.2.0.4", "all")

    def add(self, network: str, name: str, address: str, *aliases: str) -> None:
        self.table.change(NameContainer(network, name, f"/{name}", (name, *aliases), (socket.inet_aton(address),)))

    def ask(self, name: str, asker: str, kind: int = dns.A) -> Answer | None:
        network = "front" if asker.startswith("10.1.") else "back"
        found = self.table.answer(parse_query(query(name, kind)), network, socket.inet_aton(asker))
        return None if found is None else read(found)

    def addresses(self, name: str, asker: str) -> list[str] | None:
        found = self.ask(name, asker)
        return None if found is None else sorted(found.addresses)


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.mark.parametrize(
    ("name", "asker", "found"),
    [
        ("one", "10.1.0.2", ["10.1.0.3"]),
        ("ONE.Front", "10.1.0.2", ["10.1.0.3"]),
        ("one.back", "10.1.0.2", None),
        ("www", "10.1.0.3", ["10.1.0.2"]),
        ("www", "10.2.0.4", None),
        ("two", "10.1.0.3", None),  # in another network
        ("two", "10.1.0.2", ["10.2.0.4"]),  # who is in both sees both, wherever it asks
        ("one", "10.2.0.2", ["10.1.0.3"]),
        ("all", "10.1.0.2", ["10.1.0.3", "10.2.0.4"]),
        ("all", "10.1.0.3", ["10.1.0.3"]),
        ("web", "10.1.0.3", ["10.1.0.2"]),
        ("one", "10.1.0.77", ["10.1.0.3"]),  # nobody we know, but in that network
        ("example.org", "10.1.0.2", None),
        ("host.docker.internal", "10.1.0.2", ["10.1.0.1"]),
        ("host.docker.internal", "10.2.0.2", ["10.2.0.1"]),
    ],
)
def test_names_are_those_of_the_networks_of_who_asks(
    names: Names, name: str, asker: str, found: list[str] | None
) -> None:
    assert names.addresses(name, asker) == found


def test_each_of_one_name_is_the_first_in_its_turn(names: Names) -> None:
    firsts = [found.addresses[0] for _ in range(4) if (found := names.ask("all", "10.1.0.2")) is not None]
    assert firsts[0] != firsts[1]
    assert firsts[2:] == firsts[:2]


def test_what_has_exited_is_not_found(names: Names) -> None:
    names.exited.add("/one")
    assert names.addresses("all", "10.1.0.2") == ["10.2.0.4"]
    found = names.ask("one", "10.1.0.2")
    assert found is not None
    assert found.code == dns.NO_SUCH_NAME


def test_a_name_without_such_a_record_is_a_name_all_the_same(names: Names) -> None:
    for kind in (dns.AAAA, 15):
        found = names.ask("one", "10.1.0.2", kind)
        assert found is not None
        assert (found.code, found.records) == (dns.NO_ERROR, [])
    assert names.table.answer(parse_query(query("one", group=3)), "front", socket.inet_aton("10.1.0.2")) is None


@pytest.mark.parametrize(
    ("address", "asker", "code", "name"),
    [
        ("3.0.1.10", "10.1.0.2", dns.NO_ERROR, "one.front"),
        ("4.0.2.10", "10.1.0.2", dns.NO_ERROR, "two.back"),
        ("1.0.1.10", "10.1.0.2", dns.NO_ERROR, "host.docker.internal"),
        ("9.0.1.10", "10.1.0.2", dns.NO_SUCH_NAME, ""),
    ],
)
def test_addresses_have_names(names: Names, address: str, asker: str, code: int, name: str) -> None:
    found = names.ask(f"{address}.in-addr.arpa", asker, dns.PTR)
    assert found is not None
    assert found.code == code
    assert found.records == ([dns.encode_name(name)] if name else [])


def test_other_addresses_are_for_others_to_know(names: Names) -> None:
    assert names.ask("4.3.2.1.in-addr.arpa", "10.1.0.2", dns.PTR) is None
    assert names.ask("4.0.2.10.in-addr.arpa", "10.1.0.3", dns.PTR) is None


def test_what_is_forgotten_is_not_found(names: Names) -> None:
    names.table.change(ForgetContainer("front", "one"))
    names.table.change(ForgetContainer("front", "one"))
    assert names.addresses("one", "10.1.0.2") is None
    names.table.change(LeaveNetwork("back"))
    assert names.addresses("two", "10.1.0.2") is None
    names.add("back", "late", "10.2.0.9")
    assert names.addresses("late", "10.2.0.2") is None


def test_servers_are_those_of_who_asks(names: Names) -> None:
    address = socket.inet_aton("10.1.0.9")
    names.table.change(NameContainer("front", "own", "/own", ("own",), (address,), ("192.0.2.53",)))
    assert names.table.servers_for("front", address) == ("192.0.2.53",)
    assert names.table.servers_for("front", socket.inet_aton("10.1.0.2")) == ()


def test_who_has_no_way_out_asks_nobody_outside(names: Names) -> None:
    """CVE-2024-29018: what is asked would get out, and what is answered get in."""
    names.table.change(ServeNetwork("inner", "inner", bytes([10, 3, 0, 1]), 24, internal=True))
    inner, both = socket.inet_aton("10.3.0.2"), socket.inet_aton("10.3.0.3")
    names.table.change(NameContainer("inner", "x", "/x", ("x",), (inner,), ("192.0.2.53", "10.3.0.9", "fd00::1")))
    names.add("inner", "web", "10.3.0.3")
    assert names.table.servers_for("inner", inner) == ("10.3.0.9",)
    assert names.table.servers_for("inner", socket.inet_aton("10.3.0.77")) is None
    assert names.table.servers_for("inner", both) == ()  # it is in others, too
    names.table.change(NameContainer("inner", "x", "/x", ("x",), (inner,), ("192.0.2.53",)))
    assert names.table.servers_for("inner", inner) is None
