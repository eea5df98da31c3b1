from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.errors import AddressInUseError, InvalidSpecError
from pytest_pycontainer.network.ipv6 import Ipv6Addresses, subnet_for

BESIDE = IPv4Network("10.213.7.0/24")


def test_an_address_goes_with_that_of_the_other_kind() -> None:
    addresses = Ipv6Addresses(BESIDE, gets_out=False)
    assert str(addresses.subnet) == "fd70:7963:ad5:700::/64"
    assert addresses.gateway == addresses.subnet[1]
    assert addresses.allocate(BESIDE[5]) == addresses.subnet[5]
    assert addresses.of(BESIDE[5]) == addresses.subnet[5]
    addresses.release(BESIDE[5])
    addresses.release(BESIDE[5])
    assert addresses.of(BESIDE[5]) is None


def test_an_address_that_was_asked_for() -> None:
    addresses = Ipv6Addresses(BESIDE, gets_out=False)
    assert addresses.allocate(BESIDE[5], addresses.subnet[6]) == addresses.subnet[6]
    assert addresses.allocate(BESIDE[6]) not in (addresses.subnet[6], addresses.subnet[5])
    for taken, owner in ((addresses.subnet[6], "another"), (addresses.gateway, "gateway")):
        with pytest.raises(AddressInUseError, match=owner):
            addresses.allocate(BESIDE[7], taken)
    for elsewhere in (IPv6Address("fd00::1"), addresses.subnet[0]):
        with pytest.raises(InvalidSpecError, match="a host's address"):
            addresses.allocate(BESIDE[7], elsewhere)
    assert addresses.of(BESIDE[7]) is None


@given(st.integers(0, 2**24 - 1), st.integers(0, 2**24 - 1))
def test_two_networks_never_share_a_subnet(one: int, other: int) -> None:
    subnets = [subnet_for(IPv4Network((number << 8, 24))) for number in (one, other)]
    assert (one == other) == (subnets[0] == subnets[1])
    assert all(subnet.is_private for subnet in subnets)
