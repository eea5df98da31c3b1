"""What an engine's nftables table says. As the nft command would print it, for the uplink ``pyc-0ad50700``::

    chain guard        { type filter hook prerouting priority raw }
        iifname UPLINK meta nfproto != ipv4 drop
        iifname UPLINK ip saddr != SUBNET drop
        iifname UPLINK ip daddr 127.0.0.0/8 drop
    chain published    { type nat hook prerouting priority dstnat }
    chain published-here { type nat hook output priority dstnat }
        dnat ip to meta l4proto . ip daddr . th dport map @ports
        fib daddr type local dnat ip to meta l4proto . th dport map @ports-anywhere
    chain forward      { type filter hook forward priority filter }
        oifname UPLINK ct state established,related accept
        oifname UPLINK ct status dnat accept
        oifname UPLINK drop
        iifname UPLINK drop
        iifname DEVICE oifname != "pyc-*" drop
    chain outgoing     { type nat hook postrouting priority srcnat }
        ip saddr SUBNET oifname != UPLINK masquerade
        oifname UPLINK ip saddr 127.0.0.0/8 masquerade
        oifname UPLINK ip saddr SUBNET ct status dnat masquerade

``guard``: the uplink routes 127.0.0.0/8, which published ports on loopback need, but no container may use that to talk
to the machine's loopback services (CVE-2020-8558) or to look like one of its processes; and no IPv6 at all comes in, so
that no container's router advertisement becomes the machine's route (CVE-2020-13401). A network with IPv6 has rules of
the same sense for that in the place of the first one::

    chain guard
        iifname UPLINK icmpv6 type { nd-router-advert, nd-redirect } drop
        iifname UPLINK ip6 saddr != SUBNET ip6 saddr != fe80::/10 drop
    chain forward
        iifname DEVICE oifname != "pyc-*" meta nfproto ipv6 drop
    chain outgoing
        ip6 saddr SUBNET oifname != UPLINK masquerade

``forward``: into a container go the answers to what it asked and its published ports, nothing else, no matter who
asks. The rule after that, and no masquerade, make an internal network of it: nothing from it goes beyond this machine.
The last rule is there only when forwarding on DEVICE, the way out, was off before us: then no packet may pass through
this machine that did not before.

``outgoing``: to the outside a container speaks with the machine's address; a process of this machine that connects to a
port published on loopback gets the gateway's, as the container can't answer to 127.0.0.1; and so does a container that
reaches another by its published port, as that would answer it directly.

In a router (``upstream``) that something leads out of, through DEVICE, containers reach the machine at the gateway's
address; and the router itself speaks to nobody out there: a packet that it does not know to be a container's must not
be answered with a reset. Older pastas forget the flag ACK where there is nothing else to say, and where a connection is
refused, and nobody believes them::

    chain guard
        iifname DEVICE tcp flags { 0x0, rst } tcp flags set that | ack
    chain published
        iifname UPLINK ip daddr GATEWAY dnat ip to MACHINE
    chain input          { type filter hook input priority filter }
        iifname DEVICE drop
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pytest_pycontainer.kernel import nftables as nft
from pytest_pycontainer.kernel.netlink import Message
from pytest_pycontainer.network.ports import TRANSPORTS, PublishedPort

UPLINK_PREFIX: Final = "pyc-"

_PORTS = "ports"
_PORTS_ANYWHERE = "ports-anywhere"
_LOOPBACK_OCTET = b"\x7f"

# Offsets in the IPv4 header, and in those of TCP and UDP alike.
_SOURCE = 12
_DESTINATION = 16
_DESTINATION_PORT = 2

_TCP_FLAGS = 13
_TCP_CHECKSUM = 16
_RESET = 0x04
_ACKNOWLEDGE = 0x10

_IPV6_SOURCE = 8
_ICMPV6 = 58
_ROUTER_ADVERTISEMENT = 134
_REDIRECT = 137
_LINK_LOCAL = ipaddress.IPv6Network("fe80::/10")


@dataclass(frozen=True, slots=True)
class Ipv6Rules:
    """What a table says for a network with IPv6; ``guarded_device`` as in ``create_table``."""

    subnet: ipaddress.IPv6Network
    guarded_device: str | None


@dataclass(frozen=True, slots=True)
class Outlet:
    """What leads out of a router: the interface ``device``, by which the machine is reached at ``machine``."""

    device: str
    machine: ipaddress.IPv4Address


def create_table(
    name: str,
    subnet: ipaddress.IPv4Network,
    guarded_device: str | None,
    *,
    internal: bool = False,
    ipv6: Ipv6Rules | None = None,
    outlet: Outlet | None = None,
) -> list[Message]:
    """The whole table. ``name`` is also the uplink's; ``guarded_device`` is DEVICE above, None without that rule.

    An ``internal`` network has no way out. Without ``ipv6`` none of that gets to this machine. In a router with an
    ``outlet`` containers reach the machine beyond it.
    """
    return [
        nft.create_owned_table(name),
        nft.create_map(
            name,
            _PORTS,
            key=(nft.TYPE_PROTOCOL, nft.TYPE_IPV4_ADDRESS, nft.TYPE_PORT),
            value=(nft.TYPE_IPV4_ADDRESS, nft.TYPE_PORT),
        ),
        nft.create_map(
            name,
            _PORTS_ANYWHERE,
            key=(nft.TYPE_PROTOCOL, nft.TYPE_PORT),
            value=(nft.TYPE_IPV4_ADDRESS, nft.TYPE_PORT),
        ),
        *_guard(name, subnet, ipv6),
        *_published(name, "published", nft.PREROUTING),
        *_published(name, "published-here", nft.OUTPUT),
        *_forward(name, guarded_device, internal=internal),
        *_outgoing(name, subnet, internal=internal),
        *([] if ipv6 is None else _ipv6(name, ipv6, internal=internal)),
        *([] if outlet is None else _lead_out(name, subnet[1], outlet)),
    ]


def _lead_out(table: str, gateway: ipaddress.IPv4Address, outlet: Outlet) -> list[Message]:
    to_gateway = nft.if_packet(nft.NETWORK_HEADER, _DESTINATION, gateway.packed)
    translate = nft.translate_destination_to(outlet.machine.packed)
    of_tcp = nft.if_ipv4() + nft.if_input(outlet.device) + nft.if_protocol(socket.IPPROTO_TCP)
    acknowledge = nft.flip_bits(nft.TRANSPORT_HEADER, _TCP_FLAGS - 1, bytes([0, _ACKNOWLEDGE]), _TCP_CHECKSUM)
    return [
        *(
            nft.add_rule(
                table, "guard", of_tcp, nft.if_packet(nft.TRANSPORT_HEADER, _TCP_FLAGS, bytes([flags])), acknowledge
            )
            for flags in (0, _RESET)
        ),
        nft.add_rule(table, "published", nft.if_ipv4(), nft.if_input(table), to_gateway, translate),
        nft.create_chain(table, "input", "filter", nft.INPUT, nft.PRIORITY_FILTER),
        nft.add_rule(table, "input", nft.if_input(outlet.device), nft.drop()),
    ]


def publish(table: str, port: PublishedPort, address: ipaddress.IPv4Address) -> Message:
    """Sends what arrives at the published port to the container at ``address``."""
    map_name, key = _key(port)
    return nft.add_element(table, map_name, key, (address.packed, _packed(port.container_port)))


def unpublish(table: str, port: PublishedPort) -> Message:
    map_name, key = _key(port)
    return nft.delete_element(table, map_name, key)


def _key(port: PublishedPort) -> tuple[str, Sequence[bytes]]:
    protocol = bytes([TRANSPORTS[port.protocol]])
    host_address = ipaddress.IPv4Address(port.host_address)
    if host_address.is_unspecified:
        return _PORTS_ANYWHERE, (protocol, _packed(port.host_port))
    return _PORTS, (protocol, host_address.packed, _packed(port.host_port))


def _packed(port: int) -> bytes:
    return port.to_bytes(2, "big")


def _in(subnet: ipaddress.IPv4Network, offset: int, *, equal: bool = True) -> bytes:
    network, mask = subnet.network_address.packed, subnet.netmask.packed
    return nft.if_packet_in(nft.NETWORK_HEADER, offset, network, mask, equal=equal)


def _from_loopback() -> bytes:
    return nft.if_packet(nft.NETWORK_HEADER, _SOURCE, _LOOPBACK_OCTET)


def _guard(table: str, subnet: ipaddress.IPv4Network, ipv6: Ipv6Rules | None) -> list[Message]:
    uplink = nft.if_input(table)
    to_loopback = nft.if_packet(nft.NETWORK_HEADER, _DESTINATION, _LOOPBACK_OCTET)
    return [
        nft.create_chain(table, "guard", "filter", nft.PREROUTING, nft.PRIORITY_RAW),
        *([nft.add_rule(table, "guard", uplink, nft.unless_ipv4(), nft.drop())] if ipv6 is None else []),
        nft.add_rule(table, "guard", uplink, nft.if_ipv4(), _in(subnet, _SOURCE, equal=False), nft.drop()),
        nft.add_rule(table, "guard", uplink, nft.if_ipv4(), to_loopback, nft.drop()),
    ]


def _published(table: str, chain: str, hook: int) -> list[Message]:
    registers = [nft.Register(position) for position in range(5)]
    protocol, address, port = registers[:3]
    to_address, to_port = registers[3:]
    by_address = (
        nft.load_protocol(protocol),
        nft.load(nft.NETWORK_HEADER, _DESTINATION, 4, address),
        nft.load(nft.TRANSPORT_HEADER, _DESTINATION_PORT, 2, port),
        nft.look_up(_PORTS, protocol, to_address),
    )
    anywhere = (
        nft.if_destination_is_ours(),
        nft.load_protocol(protocol),
        nft.load(nft.TRANSPORT_HEADER, _DESTINATION_PORT, 2, address),
        nft.look_up(_PORTS_ANYWHERE, protocol, to_address),
    )
    translate = nft.translate_destination(to_address, to_port)
    return [
        nft.create_chain(table, chain, "nat", hook, nft.PRIORITY_DESTINATION_NAT),
        nft.add_rule(table, chain, nft.if_ipv4(), *by_address, translate),
        nft.add_rule(table, chain, nft.if_ipv4(), *anywhere, translate),
    ]


def _forward(table: str, guarded_device: str | None, *, internal: bool) -> list[Message]:
    uplink = nft.if_output(table)
    rules = [
        nft.create_chain(table, "forward", "filter", nft.FORWARD, nft.PRIORITY_FILTER),
        nft.add_rule(table, "forward", uplink, nft.if_connection_state(nft.ESTABLISHED_OR_RELATED), nft.accept()),
        nft.add_rule(table, "forward", uplink, nft.if_connection_status(nft.DESTINATION_WAS_TRANSLATED), nft.accept()),
        nft.add_rule(table, "forward", uplink, nft.drop()),
    ]
    if internal:
        rules.append(nft.add_rule(table, "forward", nft.if_input(table), nft.drop()))
    if guarded_device is not None:
        elsewhere = nft.if_output(UPLINK_PREFIX, prefix=True, equal=False)
        rules.append(nft.add_rule(table, "forward", nft.if_ipv4(), nft.if_input(guarded_device), elsewhere, nft.drop()))
    return rules


def _outgoing(table: str, subnet: ipaddress.IPv4Network, *, internal: bool) -> list[Message]:
    ipv4 = nft.if_ipv4()
    uplink = nft.if_output(table)
    elsewhere = nft.if_output(table, equal=False)
    ours = _in(subnet, _SOURCE)
    translated = nft.if_connection_status(nft.DESTINATION_WAS_TRANSLATED)
    chain = nft.create_chain(table, "outgoing", "nat", nft.POSTROUTING, nft.PRIORITY_SOURCE_NAT)
    if internal:
        return [chain]
    return [
        chain,
        nft.add_rule(table, "outgoing", ipv4, ours, elsewhere, nft.masquerade()),
        nft.add_rule(table, "outgoing", ipv4, uplink, _from_loopback(), nft.masquerade()),
        nft.add_rule(table, "outgoing", ipv4, uplink, ours, translated, nft.masquerade()),
    ]


def _ipv6(table: str, ipv6: Ipv6Rules, *, internal: bool) -> list[Message]:
    uplink, family = nft.if_input(table), nft.if_ipv6()
    control = nft.if_protocol(_ICMPV6)
    strangers = _from_ipv6(ipv6.subnet, equal=False) + _from_ipv6(_LINK_LOCAL, equal=False)
    rules = [
        nft.add_rule(table, "guard", uplink, family, control, _if_control_type(kind), nft.drop())
        for kind in (_ROUTER_ADVERTISEMENT, _REDIRECT)
    ]
    rules.append(nft.add_rule(table, "guard", uplink, family, strangers, nft.drop()))
    if ipv6.guarded_device is not None:
        elsewhere = nft.if_output(UPLINK_PREFIX, prefix=True, equal=False)
        device = nft.if_input(ipv6.guarded_device)
        rules.append(nft.add_rule(table, "forward", family, device, elsewhere, nft.drop()))
    if not internal:
        ours, out = _from_ipv6(ipv6.subnet), nft.if_output(table, equal=False)
        rules.append(nft.add_rule(table, "outgoing", family, ours, out, nft.masquerade()))
    return rules


def _from_ipv6(subnet: ipaddress.IPv6Network, *, equal: bool = True) -> bytes:
    network, mask = subnet.network_address.packed, subnet.netmask.packed
    return nft.if_packet_in(nft.NETWORK_HEADER, _IPV6_SOURCE, network, mask, equal=equal)


def _if_control_type(kind: int) -> bytes:
    return nft.if_packet(nft.TRANSPORT_HEADER, 0, bytes([kind]))
