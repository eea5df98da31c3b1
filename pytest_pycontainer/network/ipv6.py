"""IPv6 of a network that has it: its subnet, the addresses in it, and interfaces that are to have one.

A network's IPv6 subnet is one of unique local addresses (RFC 4193) that follows from its IPv4 subnet, and so is nobody
else's on this machine either; an address ends as the container's IPv4 address counts in its subnet.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

from pytest_pycontainer.errors import AddressInUseError, InvalidSpecError, NetworkAttachError
from pytest_pycontainer.kernel import rtnetlink
from pytest_pycontainer.kernel.netlink import Message, NetlinkSocket
from pytest_pycontainer.network.addresses import IPV6_PREFIX_LENGTH
from pytest_pycontainer.network.forwarding import IPV6, Forwarding

_CONF = Path("/proc/sys/net/ipv6/conf")
_PREFIX = 0xFD70_7963 << 96
_LINK_LOCAL = 0xFE80_0000_0000_0000_0000_0242 << 32
_ON = "1"


def require_ipv6() -> None:
    """Raises NetworkAttachError if this machine has no IPv6."""
    if not _CONF.is_dir():
        detail = "this machine's kernel has none; boot it without ipv6.disable=1"
        raise NetworkAttachError("give a network IPv6", detail)


def subnet_for(subnet: ipaddress.IPv4Network) -> ipaddress.IPv6Network:
    """The IPv6 subnet that goes with an IPv4 one."""
    return ipaddress.IPv6Network((_PREFIX | int(subnet.network_address) << 64, IPV6_PREFIX_LENGTH))


def is_forwarding() -> bool:
    """Whether this machine is a router for IPv6, by itself."""
    return (_CONF / "all" / "forwarding").read_text().strip() == _ON


def can_force_forwarding(device: str) -> bool:
    """Whether one interface can forward without making a router of the whole machine (Linux 6.17)."""
    return (_CONF / device / "force_forwarding").exists()


def force_forwarding(device: str) -> None:
    """Has an interface of ours forward what comes in by it. Raises NetworkAttachError."""
    try:
        (_CONF / device / "force_forwarding").write_text(_ON)
    except OSError as error:
        raise NetworkAttachError(f"turn on IPv6 forwarding on {device}", error.strerror or str(error)) from error


def claim_way_out(state: Path, machine: NetlinkSocket, *, internal: bool) -> tuple[Forwarding, bool]:
    """A share in what lets a network out by IPv6, and whether it gets out: this machine may have no way itself.

    Raises NetworkAttachError, and NetlinkError.
    """
    device = None if internal else rtnetlink.default_ipv6_device(machine)
    if device is None:
        return Forwarding.claim(state, None, IPV6), False
    if is_forwarding():
        return Forwarding.claim(state, None, IPV6), True
    can = can_force_forwarding(device.name)
    return Forwarding.claim(state, device.name if can else None, IPV6), can


class Ipv6Addresses:
    """Gives out the addresses of a subnet, each beside an IPv4 address of ``beside``. Not thread-safe.

    Without a ``subnet`` it is the one that goes with ``beside``. With ``gets_out`` containers have a default route.
    """

    def __init__(
        self, beside: ipaddress.IPv4Network, subnet: ipaddress.IPv6Network | None = None, *, gets_out: bool
    ) -> None:
        self.gets_out = gets_out
        self.subnet = subnet or subnet_for(beside)
        self.gateway = self.subnet[1]
        self._first = int(beside.network_address)
        self._used: dict[ipaddress.IPv4Address, ipaddress.IPv6Address] = {}

    def allocate(
        self, address: ipaddress.IPv4Address, wanted: ipaddress.IPv6Address | None = None
    ) -> ipaddress.IPv6Address:
        """The address that goes with an IPv4 one, or ``wanted``. Raises InvalidSpecError and AddressInUseError."""
        used = set(self._used.values())
        if wanted is None:
            number = int(address) - self._first
            while self.subnet[number] in used:  # somebody has asked for it
                number += 1 << 16
            chosen = self.subnet[number]
        else:
            chosen = wanted
            if chosen not in self.subnet or chosen == self.subnet[0]:
                raise InvalidSpecError("ip6", str(chosen), f"a host's address in {self.subnet}")
            owner = "the gateway's" if chosen == self.gateway else "another container's" if chosen in used else ""
            if owner:
                raise AddressInUseError(str(chosen), str(self.subnet), owner)
        self._used[address] = chosen
        return chosen

    def of(self, address: ipaddress.IPv4Address) -> ipaddress.IPv6Address | None:
        """The one that was given out beside an IPv4 address."""
        return self._used.get(address)

    def release(self, address: ipaddress.IPv4Address) -> None:
        """Makes the one beside an IPv4 address free again, if there is one."""
        self._used.pop(address, None)


def open_uplink(machine: NetlinkSocket, uplink: str, addresses: Ipv6Addresses) -> None:
    """Makes this machine's end of a network the gateway. Raises NetworkAttachError, and NetlinkError."""
    index = rtnetlink.link(machine, uplink).index
    own = ipaddress.IPv6Interface((addresses.gateway, IPV6_PREFIX_LENGTH))
    machine.request([rtnetlink.add_address(index, own)])
    if addresses.gets_out and not is_forwarding():
        force_forwarding(uplink)


def configure(
    index: int, interface: str, address: ipaddress.IPv6Address, beside: ipaddress.IPv4Address
) -> list[Message]:
    """Gives a container's interface its addresses, and one for its link, at once: nobody else can have them."""
    link_local = ipaddress.IPv6Address(_LINK_LOCAL | int(beside))
    return [
        rtnetlink.without_ipv6_address(index, interface),
        *(
            rtnetlink.add_address(index, ipaddress.IPv6Interface((one, IPV6_PREFIX_LENGTH)))
            for one in (address, link_local)
        ),
    ]
