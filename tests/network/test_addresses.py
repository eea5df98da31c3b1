from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.errors import AddressInUseError, InvalidSpecError, NetworkAttachError
from pytest_pycontainer.network.addresses import (
    AddressPool,
    free_subnets,
    ipv6_obstacle,
    parse_ipv6_subnet,
    parse_pool,
    parse_subnet,
)

SUBNET = IPv4Network("10.213.7.0/24")


@pytest.mark.parametrize("pool", ["nonsense", "10.213.0.1/16", "fd00::/8", "10.213.0.0/25", ""])
def test_a_pool_must_be_an_ipv4_network_that_holds_a_subnet(pool: str) -> None:
    with pytest.raises(InvalidSpecError, match="pool of subnets"):
        parse_pool(pool)


def test_subnets_that_the_machine_uses_are_passed_over() -> None:
    taken = [IPv4Network(text) for text in ("10.213.0.0/24", "10.213.1.128/32", "10.213.2.0/23", "192.0.2.0/24")]
    assert next(free_subnets(parse_pool("10.213.0.0/16"), taken)) == IPv4Network("10.213.4.0/24")


def test_default_routes_even_in_two_halves_take_no_subnet() -> None:
    taken = [IPv4Network(text) for text in ("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1")]
    assert next(free_subnets(parse_pool("10.213.0.0/16"), taken)) == IPv4Network("10.213.0.0/24")


_networks = st.tuples(st.integers(0, 2**32 - 1), st.integers(2, 32)).map(lambda pair: IPv4Network(pair, strict=False))


@given(st.lists(_networks))
def test_no_free_subnet_overlaps_what_is_taken(taken: list[IPv4Network]) -> None:
    for subnet in free_subnets(parse_pool("10.0.0.0/20"), taken):
        assert not any(subnet.overlaps(other) for other in taken)


def test_an_address_rests_before_it_is_given_out_again() -> None:
    pool = AddressPool(SUBNET)
    first = pool.allocate()
    assert (pool.gateway, first) == (IPv4Address("10.213.7.1"), IPv4Address("10.213.7.2"))
    pool.release(first)
    others = [pool.allocate() for _ in range(251)]
    assert first not in others
    assert others[-1] == IPv4Address("10.213.7.253")
    assert pool.allocate() == first


def test_when_all_addresses_are_used_the_error_says_so() -> None:
    pool = AddressPool(SUBNET)
    given_out = {pool.allocate() for _ in range(252)}
    assert len(given_out) == 252
    with pytest.raises(NetworkAttachError, match=r"all 252 of 10\.213\.7\.0/24 are in use"):
        pool.allocate()
    pool.release(IPv4Address("10.213.7.99"))
    assert pool.allocate() == IPv4Address("10.213.7.99")


@pytest.mark.parametrize("subnet", ["10.5.0.0/16", "192.168.77.0/24", "10.5.0.8/29"])
def test_a_subnet_of_a_networks_own(subnet: str) -> None:
    assert str(parse_subnet(subnet)) == subnet
    pool = AddressPool(parse_subnet(subnet))
    assert {pool.gateway, pool.resolver, pool.allocate()} < set(pool.subnet.hosts())


@pytest.mark.parametrize(
    "subnet",
    ["", "10.5.0.1/24", "10.0.0.0/8", "10.5.0.0/30", "127.0.0.0/16", "224.0.0.0/24", "169.254.0.0/16", "fd00::/64"],
)
def test_what_is_no_subnet_for_containers(subnet: str) -> None:
    with pytest.raises(InvalidSpecError, match="subnet"):
        parse_subnet(subnet)


@pytest.mark.parametrize("subnet", ["", "fd00::1/64", "fd00::/48", "fe80::/64", "ff00::/64", "::/64", "10.5.0.0/24"])
def test_what_is_no_ipv6_subnet_for_containers(subnet: str) -> None:
    with pytest.raises(InvalidSpecError, match="ipv6"):
        parse_ipv6_subnet(subnet)


def test_what_is_in_the_way_of_an_ipv6_subnet() -> None:
    subnet = parse_ipv6_subnet("2001:db8:0:5::/64")
    routes = [IPv6Network(text) for text in ("::/0", "2000::/3", "2001:db8:0:4::/64")]
    assert ipv6_obstacle(routes, subnet) is None
    for text in ("2001:db8::/56", "2001:db8:0:5::1/128"):
        assert ipv6_obstacle([*routes, IPv6Network(text)], subnet) == IPv6Network(text)


def test_an_address_that_was_asked_for() -> None:
    pool = AddressPool(SUBNET)
    wanted = SUBNET[2]
    pool.claim(wanted)
    assert pool.allocate() == SUBNET[3]
    for taken, owner in (
        (wanted, "another container's"),
        (pool.gateway, "the gateway's"),
        (pool.resolver, "the name server's"),
    ):
        with pytest.raises(AddressInUseError, match=owner):
            pool.claim(taken)
    for elsewhere in (IPv4Address("10.213.8.2"), SUBNET[0], SUBNET[-1]):
        with pytest.raises(InvalidSpecError, match=r"a host.s address in 10\.213\.7\.0/24"):
            pool.claim(elsewhere)
    pool.release(wanted)
    pool.claim(wanted)
