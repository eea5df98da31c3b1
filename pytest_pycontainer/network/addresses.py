"""Which subnet a network takes, and which address a container gets."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Final

from pytest_pycontainer.errors import InvalidSpecError, NetworkAttachError

PREFIX_LENGTH: Final = 24

# Some VPNs write the default route as two halves, to leave the real one alone; a subnet in them shadows nobody.
_LONGEST_DEFAULT_PREFIX = 1


def parse_pool(pool: str) -> ipaddress.IPv4Network:
    """The network that subnets are cut from. Raises InvalidSpecError."""
    try:
        network = ipaddress.IPv4Network(pool)
    except ValueError as error:
        raise InvalidSpecError("pool of subnets", pool, f"an IPv4 network such as 10.213.0.0/16 ({error})") from None
    if network.prefixlen > PREFIX_LENGTH:
        raise InvalidSpecError("pool of subnets", pool, f"a network of at least one /{PREFIX_LENGTH}")
    return network


def free_subnets(
    pool: ipaddress.IPv4Network, taken: Iterable[ipaddress.IPv4Network]
) -> Iterator[ipaddress.IPv4Network]:
    """The /24s of the pool that overlap nothing that the machine has or routes, in order."""
    obstacles = [network for network in taken if network.prefixlen > _LONGEST_DEFAULT_PREFIX and network.overlaps(pool)]
    for subnet in pool.subnets(new_prefix=PREFIX_LENGTH):
        if not any(subnet.overlaps(obstacle) for obstacle in obstacles):
            yield subnet


class AddressPool:
    """Gives out the addresses of a subnet, but the gateway's, which is the first. Not thread-safe.

    The search goes on from the last one given out, so that an address rests before it is used again: others may still
    hold a connection to its last owner.
    """

    def __init__(self, subnet: ipaddress.IPv4Network) -> None:
        self.subnet = subnet
        self.gateway = subnet[1]
        self._hosts = subnet.num_addresses - 3  # without the network's, the gateway's and the broadcast address
        self._used: set[ipaddress.IPv4Address] = set()
        self._next = 0

    def allocate(self) -> ipaddress.IPv4Address:
        """The next free address. Raises NetworkAttachError if there is none."""
        for offset in range(self._hosts):
            position = (self._next + offset) % self._hosts
            address = self.subnet[2 + position]
            if address not in self._used:
                self._used.add(address)
                self._next = position + 1
                return address
        detail = f"all {self._hosts} of {self.subnet} are in use; remove containers, or open another network"
        raise NetworkAttachError("give out an address", detail)

    def release(self, address: ipaddress.IPv4Address) -> None:
        """Makes the address free again; one that is free already stays so."""
        self._used.discard(address)
