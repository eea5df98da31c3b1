"""Which sockets there are (``man 7 sock_diag``)."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from pytest_pycontainer.kernel.netlink import Message, NetlinkSocket

TIME_WAIT: Final = 6  # include/net/tcp_states.h
CLOSED: Final = 7  # also that of a UDP socket that is not connected
LISTENING: Final = 10

SOCK_DIAG: Final = 4
"""NETLINK_SOCK_DIAG, the protocol number of a socket that ``sockets_with_ports`` takes."""

_BY_FAMILY = 20
_EVERY_STATE = 0xFFFFFFFF
_REQUEST = struct.Struct("=BBBxI48x")
_ANSWER = struct.Struct("=BBBB2s2s16s16sI8xIIIII")


@dataclass(frozen=True, slots=True)
class BoundSocket:
    """``inode`` is what /proc/PID/fd shows; 0 for one that no process holds any more. ``user`` is its owner."""

    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int
    state: int
    inode: int
    user: int


def bound_sockets(protocol: int) -> Iterator[BoundSocket]:
    """The sockets of ``protocol`` (IPPROTO_TCP or IPPROTO_UDP) that have a port, in the calling thread's namespace.

    Those that neither listen nor are connected are among them since Linux 6.8. Raises NetlinkError, ENOENT on a kernel
    without this interface.
    """
    with closing(NetlinkSocket.open(SOCK_DIAG)) as endpoint:
        yield from sockets_with_ports(endpoint, protocol)


def sockets_with_ports(endpoint: NetlinkSocket, protocol: int) -> Iterator[BoundSocket]:
    """As ``bound_sockets``, in the namespace that ``endpoint`` was opened in."""
    for family in (socket.AF_INET, socket.AF_INET6):
        request = _REQUEST.pack(family, protocol, 0, _EVERY_STATE)
        for _, body in endpoint.dump(Message(_BY_FAMILY, request, "list sockets")):
            yield _read(body)


def _read(body: bytes) -> BoundSocket:
    family, state, _, _, port, _, source, *_, user, inode = _ANSWER.unpack_from(body)
    if family == socket.AF_INET:
        return BoundSocket(ipaddress.IPv4Address(source[:4]), int.from_bytes(port, "big"), state, inode, user)
    address = ipaddress.IPv6Address(source)
    return BoundSocket(address.ipv4_mapped or address, int.from_bytes(port, "big"), state, inode, user)
