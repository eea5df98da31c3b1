"""The way out beside firewalls that forward nothing, such as Docker's (``iptables -P FORWARD DROP``).

A rule of ours can't save a packet that another's chain drops, and others' chains are not ours to change. But what a
process of this machine sends is not forwarded: so TCP connections that containers begin are redirected to a socket of
this machine, and our forwarder begins them anew from there; and it does the same for who comes from elsewhere to a
published port. A probe tells whether that is needed: a datagram to an
address that nobody has (RFC 5737) is sent through the uplink, and counted before and after all that may drop it; then
we drop it.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final

from pytest_pycontainer.errors import NetworkAttachError
from pytest_pycontainer.kernel import namespaces, rtnetlink
from pytest_pycontainer.kernel import nftables as nft
from pytest_pycontainer.kernel.netlink import Message, NetlinkError, NetlinkSocket
from pytest_pycontainer.kernel.nftables_reading import counted, tables_that_hook
from pytest_pycontainer.network.rules import UPLINK_PREFIX
from pytest_pycontainer.network.uplink import BRIDGE_INDEX

_NOBODY: Final = ipaddress.IPv4Address("192.0.2.113")
_DISCARD_PORT = 9
_DESTINATION = 16
_FIRST_OF_ALL = -400
_NEIGHBOURS = Path("/proc/sys/net/ipv4/neigh/bridge0")
_PATIENCE_SECONDS = 1.0
_MOMENT_SECONDS = 0.001


class WayOut:
    """A network's way beyond this machine. ``lock`` guards its sockets. Methods raise NetworkAttachError."""

    def __init__(
        self,
        uplink: str,
        netfilter: NetlinkSocket,
        switch: NetlinkSocket,
        namespace: int,
        gateway: ipaddress.IPv4Address,
        lock: AbstractContextManager[object],
        *,
        forwarded_by_machine: bool,
    ) -> None:
        self._uplink = uplink
        self._netfilter = netfilter
        self._switch = switch
        self._namespace = namespace
        self._gateway = gateway
        self._lock = lock
        self._forwarded_by_machine = forwarded_by_machine

    def is_blocked(self) -> bool:
        """Whether another's firewall drops what containers send beyond this machine.

        False also for a network or a machine that has no way out anyway.
        """
        if not self._forwarded_by_machine:
            return False
        with self._lock, _refusals():
            return _others_forward(self._netfilter) and self._probe()

    def redirect(self, port: int) -> None:
        """Has TCP connections that containers begin, to other machines, come to that port of the gateway.

        From then on the kernel does not lead published ports into containers, but for this machine's own processes:
        who else comes finds the socket that reserves the port.
        """
        not_forwarded = nft.insert_rule(
            self._uplink, "published", nft.if_ipv4(), nft.if_destination_is_ours(), nft.accept()
        )
        rule = nft.add_rule(
            self._uplink,
            "published",
            nft.if_ipv4(),
            nft.if_input(self._uplink),
            nft.if_protocol(socket.IPPROTO_TCP),
            nft.if_destination_is_anothers(),
            nft.unless_route_leads_to(UPLINK_PREFIX),  # networks of ours stay apart
            nft.redirect(port),
        )
        with self._lock, _refusals():
            nft.commit(self._netfilter, [not_forwarded, rule])

    def _probe(self) -> bool:
        table = f"{self._uplink}-probe"
        nft.commit(self._netfilter, _probe_table(table, self._uplink))
        try:
            self._route_to_nobody()
            with namespaces.call_inside(self._namespace, namespaces.NETWORK, _patient_socket) as sender:
                sender.sendto(b"", (str(_NOBODY), _DISCARD_PORT))
            deadline = time.monotonic() + _PATIENCE_SECONDS
            # All of its way is done within the sending, unless the kernel has much to do.
            while not counted(self._netfilter, table, "before") and time.monotonic() < deadline:
                time.sleep(_MOMENT_SECONDS)
            if counted(self._netfilter, table, "after"):
                return False
            time.sleep(_MOMENT_SECONDS)  # for one that is on its way between the two
            arrived, left = (counted(self._netfilter, table, name) for name in ("before", "after"))
            return arrived > 0 and left == 0
        finally:
            nft.commit(self._netfilter, [nft.delete_table(table)])

    def _route_to_nobody(self) -> None:
        """In the switch namespace, where it stays and is in nobody's way."""
        try:
            self._switch.request([rtnetlink.add_route(ipaddress.IPv4Network(_NOBODY), BRIDGE_INDEX, self._gateway)])
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        raise NetworkAttachError(error.step, error.detail) from error


def _others_forward(netfilter: NetlinkSocket) -> bool:
    """Whether anybody but us has a say in what is forwarded, in the calling thread's network."""
    if any(not table.startswith(UPLINK_PREFIX) for table in tables_that_hook(netfilter, nft.FORWARD)):
        return True
    with suppress(OSError):  # the older kind of iptables is not nftables
        return "filter" in Path("/proc/thread-self/net/ip_tables_names").read_text().split()
    return False


def _patient_socket() -> socket.socket:
    """For datagrams, in the calling thread's network, where the bridge asks often for hardware addresses.

    What it asks while one of its ports is still coming up is lost, and the kernel asks again only after a second.
    """
    for name, value in (("retrans_time_ms", 5), ("mcast_solicit", 200)):
        with suppress(OSError):  # then a lost question makes the probe fail, and nothing is found to be blocked
            (_NEIGHBOURS / name).write_text(str(value))
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def _probe_table(table: str, uplink: str) -> list[Message]:
    to_nobody = nft.if_ipv4() + nft.if_packet(nft.NETWORK_HEADER, _DESTINATION, _NOBODY.packed)
    return [
        nft.create_owned_table(table),
        nft.create_counter(table, "before"),
        nft.create_counter(table, "after"),
        nft.create_chain(table, "before", "filter", nft.FORWARD, _FIRST_OF_ALL),
        nft.add_rule(table, "before", nft.if_input(uplink), to_nobody, nft.count("before")),
        nft.create_chain(table, "after", "filter", nft.POSTROUTING, _FIRST_OF_ALL),
        nft.add_rule(table, "after", to_nobody, nft.count("after"), nft.drop()),
    ]
