"""Connections that the kernel keeps track of (linux/netfilter/nfnetlink_conntrack.h)."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Callable, Iterator

from pytest_pycontainer.kernel.netlink import Message, NetlinkError, NetlinkSocket, attribute, nested, parse_attributes

_SUBSYSTEM = 1 << 8
_GET = _SUBSYSTEM | 1
_DELETE = _SUBSYSTEM | 2

_TUPLE_ORIGINAL = 1
_ID = 12
_FILTER = 25
_TUPLE_ADDRESSES = 1
_TUPLE_PROTOCOL = 2
_IPV4_DESTINATION = 2
_PROTOCOL_NUMBER = 1
_DESTINATION_PORT = 3
_FILTER_ORIGINAL = 1
_BY_PROTOCOL_AND_DESTINATION_PORT = 1 << 3 | 1 << 5

_NESTED = 0x8000
_FAMILY_HEADER = struct.pack(">BBH", socket.AF_INET, 0, 0)


def forget_connections(
    endpoint: NetlinkSocket, protocol: int, port: int, concerned: Callable[[ipaddress.IPv4Address], bool]
) -> None:
    """Forgets the IPv4 connections that were begun to ``port`` of an address that is ``concerned``.

    ``endpoint`` is of protocol NETFILTER. Each one's next packet begins a new connection, and is translated as that.
    Raises NetlinkError.
    """
    for identity, destination in _connections(endpoint, protocol, port):
        if concerned(destination):
            try:
                endpoint.request([Message(_DELETE, _FAMILY_HEADER + identity, "forget a connection")])
            except NetlinkError as error:
                if error.errno != errno.ENOENT:  # it has just ended
                    raise


def _connections(endpoint: NetlinkSocket, protocol: int, port: int) -> Iterator[tuple[bytes, ipaddress.IPv4Address]]:
    """What names each of them to the kernel, and the destination that its first packet had."""
    wanted = nested(
        _TUPLE_ORIGINAL,
        nested(
            _TUPLE_PROTOCOL,
            attribute(_PROTOCOL_NUMBER, bytes([protocol])),
            attribute(_DESTINATION_PORT, port.to_bytes(2, "big")),
        ),
    )
    # A filter is Linux 5.8's; what an older kernel lists besides is left out here.
    by = nested(_FILTER, attribute(_FILTER_ORIGINAL, struct.pack("=I", _BY_PROTOCOL_AND_DESTINATION_PORT)))
    for _, body in endpoint.dump(Message(_GET, _FAMILY_HEADER + wanted + by, "list connections")):
        found = parse_attributes(body[len(_FAMILY_HEADER) :])
        parts = parse_attributes(found[_TUPLE_ORIGINAL])
        numbers = parse_attributes(parts[_TUPLE_PROTOCOL])
        destination_port = int.from_bytes(numbers.get(_DESTINATION_PORT, b""), "big")
        if numbers[_PROTOCOL_NUMBER][0] != protocol or destination_port != port:
            continue
        identity = attribute(_TUPLE_ORIGINAL | _NESTED, found[_TUPLE_ORIGINAL]) + attribute(_ID, found[_ID])
        yield identity, ipaddress.IPv4Address(parse_attributes(parts[_TUPLE_ADDRESSES])[_IPV4_DESTINATION])
