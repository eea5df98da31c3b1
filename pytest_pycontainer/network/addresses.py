"""Which subnet a network takes, and which address a container gets."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Final

from pytest_pycontainer.errors import AddressInUseError, InvalidSpecError, NetworkAttachError

PREFIX_LENGTH: Final = 24
IPV6_PREFIX_LENGTH: Final = 64

# The number of an address in its subnet is a part of interfaces' indexes; and some address has to be left for others.
_LARGEST_SUBNET = 16
_SMALLEST_SUBNET = 29

# Some VPNs write the default route as two halves, to leave the real one alone; a subnet in them shadows nobody.
_LONGEST_DEFAULT_PREFIX = 1
_LONGEST_IPV6_DEFAULT = 3


def parse_pool(pool: str) -> ipaddress.IPv4Network:
    """The network that subnets are cut from. Raises InvalidSpecError."""
    try:
        network = ipaddress.IPv4Network(pool)
    except ValueError as error:
        raise InvalidSpecError("pool of subnets", pool, f"an IPv4 network such as 10.213.0.0/16 ({error})") from None
    if network.prefixlen > PREFIX_LENGTH:
        raise InvalidSpecError("pool of subnets", pool, f"a network of at least one /{PREFIX_LENGTH}")
    return network


def parse_subnet(subnet: str) -> ipaddress.IPv4Network:
    """A network's own subnet. Raises InvalidSpecError."""
    wanted = f"an IPv4 network such as 10.5.0.0/24, of /{_LARGEST_SUBNET} to /{_SMALLEST_SUBNET}"
    try:
        network = ipaddress.IPv4Network(subnet)
    except ValueError as error:
        raise InvalidSpecError("subnet", str(subnet), f"{wanted} ({error})") from None
    if not _LARGEST_SUBNET <= network.prefixlen <= _SMALLEST_SUBNET:
        raise InvalidSpecError("subnet", subnet, wanted)
    if network.is_loopback or network.is_multicast or network.is_unspecified or network.is_link_local:
        raise InvalidSpecError("subnet", subnet, f"{wanted}, that hosts can have")
    return network


def parse_ipv6_subnet(subnet: str) -> ipaddress.IPv6Network:
    """A network's own IPv6 subnet. Raises InvalidSpecError."""
    wanted = f"True, or an IPv6 network such as fd00:5::/{IPV6_PREFIX_LENGTH}, of that size, that hosts can have"
    try:
        network = ipaddress.IPv6Network(subnet)
    except ValueError as error:
        raise InvalidSpecError("ipv6", str(subnet), f"{wanted} ({error})") from None
    special = network.is_multicast or network.is_link_local or network.network_address.is_unspecified
    if network.prefixlen != IPV6_PREFIX_LENGTH or special:
        raise InvalidSpecError("ipv6", subnet, wanted)
    return network


def free_subnets(
    pool: ipaddress.IPv4Network, taken: Iterable[ipaddress.IPv4Network]
) -> Iterator[ipaddress.IPv4Network]:
    """The /24s of the pool that overlap nothing that the machine has or routes, in order."""
    obstacles = [network for network in taken if obstructs(network, pool)]
    for subnet in pool.subnets(new_prefix=PREFIX_LENGTH):
        if not any(subnet.overlaps(obstacle) for obstacle in obstacles):
            yield subnet


def obstructs(taken: ipaddress.IPv4Network, subnet: ipaddress.IPv4Network) -> bool:
    """Whether what the machine has or routes overlaps ``subnet``; default routes do not."""
    return taken.prefixlen > _LONGEST_DEFAULT_PREFIX and taken.overlaps(subnet)


def ipv6_obstacle(
    taken: Iterable[ipaddress.IPv6Network], subnet: ipaddress.IPv6Network
) -> ipaddress.IPv6Network | None:
    """What of ``taken`` overlaps ``subnet``; the routes to all of the Internet (2000::/3) do not."""
    return next((one for one in taken if one.prefixlen > _LONGEST_IPV6_DEFAULT and one.overlaps(subnet)), None)


class AddressPool:
    """Gives out the addresses of a subnet, but the gateway's, which is the first, and the resolver's, the last.

    Not thread-safe. The search goes on from the last one given out, so that an address rests before it is used again:
    others may still hold a connection to its last owner.
    """

    def __init__(self, subnet: ipaddress.IPv4Network) -> None:
        self.subnet = subnet
        self.gateway = subnet[1]
        self.resolver = subnet[-2]
        # Without the network's own, the gateway's, the resolver's and the broadcast address.
        self._hosts = subnet.num_addresses - 4
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

    def claim(self, address: ipaddress.IPv4Address) -> None:
        """Takes that very address. Raises InvalidSpecError if it is not in the subnet, AddressInUseError."""
        if address not in self.subnet or address in (self.subnet[0], self.subnet[-1]):
            raise InvalidSpecError("ip", str(address), f"a host's address in {self.subnet}")
        owners = {self.gateway: "the gateway's", self.resolver: "the name server's"}
        owner = owners.get(address, "another container's" if address in self._used else "")
        if owner:
            raise AddressInUseError(str(address), str(self.subnet), owner)
        self._used.add(address)

    def release(self, address: ipaddress.IPv4Address) -> None:
        """Makes the address free again; one that is free already stays so."""
        self._used.discard(address)
