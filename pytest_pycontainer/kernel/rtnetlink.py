"""Routing netlink: links, addresses and routes (``man 7 rtnetlink``).

Functions that change something return the message that does it, so that many go to the kernel in one send. Functions
that read take the socket.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from dataclasses import dataclass
from typing import Final

from pytest_pycontainer.kernel.netlink import (
    CREATE,
    EXCLUSIVE,
    Message,
    NetlinkError,
    NetlinkSocket,
    attribute,
    nested,
    number,
    parse_attributes,
    text,
)

ROUTE: Final = 0
"""NETLINK_ROUTE, the protocol number of a routing socket."""

_NEW_LINK = 16
_DELETE_LINK = 17
_GET_LINK = 18
_NEW_ADDRESS = 20
_GET_ADDRESS = 22
_NEW_ROUTE = 24
_GET_ROUTE = 26

_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE_HEADER = struct.Struct("=BBBBBBBBI")

_IFF_UP = 0x1

_IFLA_ADDRESS = 1
_IFLA_IFNAME = 3
_IFLA_MTU = 4
_IFLA_MASTER = 10
_IFLA_LINKINFO = 18
_IFLA_AF_SPEC = 26
_IFLA_NET_NS_FD = 28
_IFLA_EXT_MASK = 29
_SKIP_STATISTICS = 8  # RTEXT_FILTER_SKIP_STATS
_IFLA_NUM_TX_QUEUES = 31
_IFLA_NUM_RX_QUEUES = 32
_IFLA_INFO_KIND = 1
_IFLA_INFO_DATA = 2
_VETH_INFO_PEER = 1
_IFLA_BR_MCAST_SNOOPING = 23
_IFLA_INET_CONF = 1
_IFLA_INET6_ADDR_GEN_MODE = 8
_NO_ADDRESS_GENERATION = 1

FORWARDING: Final = 1
ROUTE_LOCALNET: Final = 26

_IPV4 = 4

_IFA_F_NODAD = 0x02
_IFA_ADDRESS = 1
_IFA_LOCAL = 2
_IFA_BROADCAST = 4

_RTA_DST = 1
_RTA_OIF = 4
_RTA_GATEWAY = 5
_RTA_PRIORITY = 6
_TABLE_MAIN = 254
_PROTOCOL_BOOT = 3
_SCOPE_UNIVERSE = 0
_UNICAST = 1


@dataclass(frozen=True, slots=True)
class NetworkNamespace:
    """A network namespace that can be worked on without entering it.

    ``descriptor`` is an open /proc/PID/ns/net; ``route_socket`` an AF_NETLINK socket of protocol NETLINK_ROUTE that was
    made inside. Both belong to whoever made this value.
    """

    descriptor: int
    route_socket: socket.socket


@dataclass(frozen=True, slots=True)
class VethEnd:
    """One end of a virtual cable. ``index`` 0 lets the kernel choose; ``hardware_address`` empty likewise.

    ``master`` is the index of the bridge whose port this end becomes, 0 for none.
    """

    name: str
    index: int = 0
    hardware_address: bytes = b""
    master: int = 0


def _link(body: bytes, index: int = 0, *, up: bool = False) -> bytes:
    flags = _IFF_UP if up else 0
    return _LINK.pack(socket.AF_UNSPEC, 0, index, flags, flags) + body


def _end(end: VethEnd, mtu: int) -> bytes:
    body = text(_IFLA_IFNAME, end.name) + number(_IFLA_MTU, mtu)
    # By default there is a pair for each processor, each with files in /sys; a cable in memory gains little.
    body += number(_IFLA_NUM_TX_QUEUES, 1) + number(_IFLA_NUM_RX_QUEUES, 1)
    if end.hardware_address:
        body += attribute(_IFLA_ADDRESS, end.hardware_address)
    if end.master:
        body += number(_IFLA_MASTER, end.master)
    return body


def create_bridge(name: str, index: int, mtu: int, hardware_address: bytes = b"") -> Message:
    """A bridge that floods multicast as a plain switch does: with snooping, IGMP timers decide who hears what.

    Without a ``hardware_address`` it has the lowest of its ports', another one whenever these change.
    """
    info = attribute(_IFLA_INFO_KIND, b"bridge") + nested(_IFLA_INFO_DATA, attribute(_IFLA_BR_MCAST_SNOOPING, b"\0"))
    body = text(_IFLA_IFNAME, name) + number(_IFLA_MTU, mtu) + nested(_IFLA_LINKINFO, info)
    if hardware_address:
        body += attribute(_IFLA_ADDRESS, hardware_address)
    return Message(_NEW_LINK, _link(body, index), f"create the bridge {name}", CREATE | EXCLUSIVE)


def create_veth(here: VethEnd, there: VethEnd, namespace: int, mtu: int) -> Message:
    """A cable from the socket's namespace to the one open as ``namespace``. Both names must be free there (EEXIST).

    Both ends are down: the kernel can't bring up an end whose other end is not there yet.
    """
    # An index for the far end counts only if the near end has one too (drivers/net/veth.c, veth_newlink).
    peer = _link(_end(there, mtu), there.index) + number(_IFLA_NET_NS_FD, namespace)
    info = attribute(_IFLA_INFO_KIND, b"veth") + nested(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, peer))
    body = _end(here, mtu) + nested(_IFLA_LINKINFO, info)
    step = f"create the interface {there.name}"
    return Message(_NEW_LINK, _link(body, here.index), step, CREATE | EXCLUSIVE)


def without_ipv6_address(index: int, name: str) -> Message:
    """Spares an interface the link-local address, and its traffic, that the kernel gives it as it comes up."""
    ipv6 = nested(socket.AF_INET6, attribute(_IFLA_INET6_ADDR_GEN_MODE, bytes([_NO_ADDRESS_GENERATION])))
    return Message(_NEW_LINK, _link(nested(_IFLA_AF_SPEC, ipv6), index), f"configure {name}")


def bring_up(index: int, name: str) -> Message:
    return Message(_NEW_LINK, _link(b"", index, up=True), f"bring {name} up")


def configure_ipv4(index: int, name: str, settings: dict[int, int]) -> Message:
    """Sets values of /proc/sys/net/ipv4/conf/NAME, by number (linux/ip.h, IPV4_DEVCONF_…)."""
    values = nested(_IFLA_INET_CONF, *(number(key, value) for key, value in settings.items()))
    return Message(_NEW_LINK, _link(nested(_IFLA_AF_SPEC, nested(socket.AF_INET, values)), index), f"configure {name}")


def delete_link(index: int, name: str) -> Message:
    return Message(_DELETE_LINK, _link(b"", index), f"delete the interface {name}")


def add_address(index: int, interface: ipaddress.IPv4Interface | ipaddress.IPv6Interface) -> Message:
    """Gives an interface an address; an IPv6 one counts at once: nobody is asked whether he has it."""
    family, flags = (socket.AF_INET, 0) if interface.version == _IPV4 else (socket.AF_INET6, _IFA_F_NODAD)
    body = _ADDRESS.pack(family, interface.network.prefixlen, flags, _SCOPE_UNIVERSE, index)
    body += attribute(_IFA_LOCAL, interface.ip.packed) + attribute(_IFA_ADDRESS, interface.ip.packed)
    if interface.version == _IPV4:
        body += attribute(_IFA_BROADCAST, interface.network.broadcast_address.packed)
    return Message(_NEW_ADDRESS, body, f"give out the address {interface}", CREATE | EXCLUSIVE)


def add_route(
    destination: ipaddress.IPv4Network | ipaddress.IPv6Network,
    index: int,
    gateway: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> Message:
    """What goes to ``destination`` leaves by the interface ``index`` for ``gateway``."""
    family, length = socket.AF_INET if destination.version == _IPV4 else socket.AF_INET6, destination.prefixlen
    body = _ROUTE_HEADER.pack(family, length, 0, 0, _TABLE_MAIN, _PROTOCOL_BOOT, _SCOPE_UNIVERSE, _UNICAST, 0)
    body += attribute(_RTA_DST, destination.network_address.packed)
    body += attribute(_RTA_GATEWAY, gateway.packed) + number(_RTA_OIF, index)
    return Message(_NEW_ROUTE, body, f"add the route to {destination} through {gateway}", CREATE | EXCLUSIVE)


def add_default_route(index: int, gateway: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Message:
    everywhere = ipaddress.ip_network("0.0.0.0/0" if gateway.version == _IPV4 else "::/0")
    return add_route(everywhere, index, gateway)


@dataclass(frozen=True, slots=True)
class Link:
    index: int
    name: str
    mtu: int


def link(endpoint: NetlinkSocket, name: str) -> Link:
    """The interface of that name. Raises NetlinkError, ENODEV if there is none."""
    return _read_link(endpoint.get(Message(_GET_LINK, _link(text(_IFLA_IFNAME, name)), f"find the interface {name}")))


def settle(endpoint: NetlinkSocket, index: int, name: str) -> None:
    """Has all that hangs on an interface, such as a bridge, know by the return that its cable's other end is up.

    The kernel tells them some time after that, and until then a bridge drops what comes; since Linux 6.8 it does so
    before it answers who asks for the interface. Raises NetlinkError.
    """
    short = number(_IFLA_EXT_MASK, _SKIP_STATISTICS)
    endpoint.get(Message(_GET_LINK, _link(short, index), f"ask for {name}"))


def _link_by_index(endpoint: NetlinkSocket, index: int) -> Link:
    return _read_link(endpoint.get(Message(_GET_LINK, _link(b"", index), f"find interface number {index}")))


def _read_link(answer: tuple[int, bytes]) -> Link:
    _, body = answer
    found = parse_attributes(body[_LINK.size :])
    _, _, index, _, _ = _LINK.unpack_from(body)
    (mtu,) = struct.unpack("=I", found[_IFLA_MTU])
    return Link(index, found[_IFLA_IFNAME].rstrip(b"\0").decode(errors="surrogateescape"), mtu)


@dataclass(frozen=True, slots=True)
class Route:
    """An IPv4 route; ``device`` is the index of its interface, 0 for one that has none or several."""

    destination: ipaddress.IPv4Network
    device: int
    priority: int
    main: bool


def routes(endpoint: NetlinkSocket) -> list[Route]:
    """Every IPv4 route of every table of the socket's namespace, those to its own addresses among them."""
    request = _ROUTE_HEADER.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
    return [
        _read_route(body) for kind, body in _dump(endpoint, _GET_ROUTE, request, "list routes") if kind == _NEW_ROUTE
    ]


def _read_route(body: bytes) -> Route:
    _, prefix, _, _, table, _, _, kind, _ = _ROUTE_HEADER.unpack_from(body)
    found = parse_attributes(body[_ROUTE_HEADER.size :])
    destination = ipaddress.IPv4Network((found.get(_RTA_DST, bytes(4)), prefix))
    return Route(
        destination,
        _integer(found.get(_RTA_OIF)),
        _integer(found.get(_RTA_PRIORITY)),
        main=table == _TABLE_MAIN and kind == _UNICAST,
    )


def _integer(value: bytes | None) -> int:
    return 0 if value is None else int(struct.unpack("=I", value)[0])


def addresses(endpoint: NetlinkSocket) -> list[ipaddress.IPv4Interface]:
    """Every IPv4 address of the socket's namespace, also those of interfaces that are down."""
    request = _ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0)
    answers = _dump(endpoint, _GET_ADDRESS, request, "list addresses")
    return [_read_address(body) for kind, body in answers if kind == _NEW_ADDRESS]


def _read_address(body: bytes) -> ipaddress.IPv4Interface:
    prefix = body[1]
    found = parse_attributes(body[_ADDRESS.size :])
    return ipaddress.IPv4Interface((found.get(_IFA_LOCAL) or found[_IFA_ADDRESS], prefix))


def _dump(endpoint: NetlinkSocket, kind: int, request: bytes, step: str) -> list[tuple[int, bytes]]:
    return endpoint.dump(Message(kind, request, step))


def ipv6_routes(endpoint: NetlinkSocket) -> list[ipaddress.IPv6Network]:
    """Where every IPv6 route of the socket's namespace leads, those to its own addresses and networks among them."""
    request = _ROUTE_HEADER.pack(socket.AF_INET6, 0, 0, 0, 0, 0, 0, 0, 0)
    found = []
    for kind, body in _dump(endpoint, _GET_ROUTE, request, "list IPv6 routes"):
        if kind == _NEW_ROUTE:
            destination = parse_attributes(body[_ROUTE_HEADER.size :]).get(_RTA_DST, bytes(16))
            found.append(ipaddress.IPv6Network((destination, body[1])))
    return found


def default_ipv6_device(endpoint: NetlinkSocket) -> Link | None:
    """As ``default_device``, for IPv6."""
    request = _ROUTE_HEADER.pack(socket.AF_INET6, 0, 0, 0, 0, 0, 0, 0, 0)
    defaults: list[Route] = []
    for kind, body in _dump(endpoint, _GET_ROUTE, request, "list IPv6 routes"):
        if kind == _NEW_ROUTE and body[1] == 0:  # of the whole of IPv6
            defaults.append(_read_route(body))
    return default_device(endpoint, defaults)


def default_device(endpoint: NetlinkSocket, known: list[Route] | None = None) -> Link | None:
    """The interface of the default route of the main table with the best priority, or None without such a route."""
    every = routes(endpoint) if known is None else known
    defaults = [route for route in every if route.main and route.destination.prefixlen == 0 and route.device]
    for route in sorted(defaults, key=lambda route: route.priority):
        try:
            return _link_by_index(endpoint, route.device)
        except NetlinkError as error:
            if error.errno != errno.ENODEV:  # the interface, and its route, may go between the two questions
                raise
    return None
