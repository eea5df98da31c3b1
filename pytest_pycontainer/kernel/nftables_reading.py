"""What is there of nftables, read through netlink."""

from __future__ import annotations

import struct

from pytest_pycontainer.kernel import nftables
from pytest_pycontainer.kernel.netlink import Message, NetlinkSocket, attribute, parse_attributes, text

_SUBSYSTEM = 10 << 8
_GET_CHAIN = _SUBSYSTEM | 4
_GET_OBJECT = _SUBSYSTEM | 19
_TABLE = 1
_HOOK = 4
_HOOK_NUMBER = 1
_OBJECT_DATA = 4
_COUNTED_PACKETS = 2


def counted(endpoint: NetlinkSocket, table: str, name: str) -> int:
    """The packets that a counter has seen. Raises NetlinkError."""
    kind = attribute(3, struct.pack(">I", nftables.COUNTER))
    body = struct.pack(">BBH", nftables.INET, 0, 0) + text(1, table) + text(2, name) + kind
    _, answer = endpoint.get(Message(_GET_OBJECT, body, f"read the nftables counter {name}"))
    data = parse_attributes(parse_attributes(answer[4:])[_OBJECT_DATA])
    return int.from_bytes(data[_COUNTED_PACKETS], "big")


def tables_that_hook(endpoint: NetlinkSocket, hook: int) -> set[str]:
    """The tables that have a chain for IPv4 packets at that hook. Raises NetlinkError."""
    found = set()
    for _, body in endpoint.dump(Message(_GET_CHAIN, bytes(4), "list the nftables chains")):
        attributes = parse_attributes(body[4:])
        if body[0] in (nftables.INET, nftables.IPV4) and _HOOK in attributes:
            place = parse_attributes(attributes[_HOOK])
            if int.from_bytes(place[_HOOK_NUMBER], "big") == hook:
                found.add(attributes[_TABLE].rstrip(b"\0").decode(errors="replace"))
    return found
