"""The uplink: the cable between a network's bridge and what is upstream of it, and the table that guards it."""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from pytest_pycontainer.kernel import nftables, rtnetlink
from pytest_pycontainer.kernel.netlink import Message, NetlinkError, NetlinkSocket
from pytest_pycontainer.kernel.rtnetlink import VethEnd
from pytest_pycontainer.network import rules
from pytest_pycontainer.network.upstream import Upstream

# Interfaces get indexes that follow from the address, so that the messages that configure them need not wait to hear
# what the kernel chose. They start beyond those that it gives to the tunnels of a new namespace, and those of each of a
# container's interfaces beyond those of the one before: subnets have at most 0x10000 addresses.
_FIRST_INDEX: Final = 0x10000
BRIDGE_INDEX: Final = _FIRST_INDEX  # what the address of a whole /16 would have, and no host

_PORT = "uplink"


def interface_index(address: ipaddress.IPv4Address, number: int = 0) -> int:
    return _FIRST_INDEX * (number + 1) | int(address) & 0xFFFF


def uplink_name(subnet: ipaddress.IPv4Network) -> str:
    return rules.UPLINK_PREFIX + subnet.network_address.packed.hex()


def bring_up(index: int, name: str) -> Sequence[Message]:
    return rtnetlink.without_ipv6_address(index, name), rtnetlink.bring_up(index, name)


def delete_if_there(endpoint: NetlinkSocket, link: Message) -> None:
    """Deletes an interface that may be gone already, with its namespace or with the cable's other end."""
    try:
        endpoint.request([link])
    except NetlinkError as error:
        if error.errno != errno.ENODEV:
            raise


def claim(
    subnet: ipaddress.IPv4Network,
    table: Sequence[Message],
    upstream: Upstream,
    switch: NetlinkSocket,
    resources: ExitStack,
) -> bool:
    """Makes the table and the uplink, and leaves their undoing in ``resources``; False if another engine was faster."""
    name = uplink_name(subnet)
    route, netfilter = upstream.route, upstream.netfilter
    with ExitStack() as undo:
        # The table comes first: whatever its rules hold back never finds an uplink without them.
        try:
            nftables.commit(netfilter, table)
            undo.callback(nftables.commit, netfilter, [nftables.delete_table(name)])
            index = _create_uplink(name, subnet, upstream, switch)
        except NetlinkError as error:
            # An owned table of another engine answers EPERM, to whoever does not own it, before EEXIST.
            if error.errno in (errno.EEXIST, errno.EPERM, errno.EBUSY):
                return False
            raise
        undo.callback(delete_if_there, route, rtnetlink.delete_link(index, name))
        address = ipaddress.IPv4Interface((subnet[1], subnet.prefixlen))
        settings = {rtnetlink.FORWARDING: 1, rtnetlink.ROUTE_LOCALNET: 1}
        route.request(
            [
                rtnetlink.configure_ipv4(index, name, settings),
                *bring_up(index, name),
                rtnetlink.add_address(index, address),
            ]
        )
        rtnetlink.settle(switch, interface_index(subnet[1]), _PORT)
        resources.push(undo.pop_all())
    return True


def _create_uplink(name: str, subnet: ipaddress.IPv4Network, upstream: Upstream, switch: NetlinkSocket) -> int:
    """The cable out of the bridge; the index of its outer end, which is still down."""
    here = VethEnd(_PORT, index=interface_index(subnet[1]), master=BRIDGE_INDEX)
    switch.request([rtnetlink.create_veth(here, VethEnd(name), upstream.namespace, upstream.mtu)])
    switch.request(bring_up(here.index, here.name))
    return rtnetlink.link(upstream.route, name).index
