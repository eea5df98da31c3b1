"""nftables through netlink (``man 8 nft``): tables, chains, maps, rules and their expressions.

Everything here makes bytes; ``commit`` sends a list of changes that the kernel makes all at once or not at all.
Registers are the 4-byte ones: a value longer than 4 bytes fills those that follow. The numbers of attributes
are those of linux/netfilter/nf_tables.h, in the order of its lists.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pytest_pycontainer.kernel.netlink import CREATE, EXCLUSIVE, Message, NetlinkSocket, attribute, nested, text

NETFILTER: Final = 12
"""NETLINK_NETFILTER, the protocol number of the socket that ``commit`` takes."""

INET: Final = 1
IPV4: Final = 2
IPV6: Final = 10
BRIDGE: Final = 7

COUNTER: Final = 1

PREROUTING: Final = 0
INPUT: Final = 1
FORWARD: Final = 2
OUTPUT: Final = 3
POSTROUTING: Final = 4

PRIORITY_RAW: Final = -300
PRIORITY_DESTINATION_NAT: Final = -100
PRIORITY_FILTER: Final = 0
PRIORITY_SOURCE_NAT: Final = 100

NETWORK_HEADER: Final = 1
TRANSPORT_HEADER: Final = 2

ESTABLISHED_OR_RELATED: Final = 0x2 | 0x4
DESTINATION_WAS_TRANSLATED: Final = 0x20

_SUBSYSTEM = 10 << 8
_BATCH_BEGIN = 0x10
_BATCH_END = 0x11
_NEW_TABLE = _SUBSYSTEM | 0
_DELETE_TABLE = _SUBSYSTEM | 2
_NEW_CHAIN = _SUBSYSTEM | 3
_NEW_RULE = _SUBSYSTEM | 6
_DELETE_RULE = _SUBSYSTEM | 8
_NEW_SET = _SUBSYSTEM | 9
_NEW_ELEMENT = _SUBSYSTEM | 12
_DELETE_ELEMENT = _SUBSYSTEM | 14
_NEW_OBJECT = _SUBSYSTEM | 18

_APPEND = 0x800
_TABLE_OWNED = 0x2
_SET_IS_MAP = 0x8
_LIST_ELEMENT = 1
_DATA_VALUE = 1
_DATA_VERDICT = 2

_META_ETHERNET_TYPE = 1
_META_INPUT_NAME = 6
_META_OUTPUT_NAME = 7
_META_FAMILY = 15
_META_PROTOCOL = 16
_CT_STATE = 0
_CT_STATUS = 2
_ARP = 0x0806
_EQUAL = 0
_NOT_EQUAL = 1
_LESS = 2
_RANDOM = 1
_TO_NETWORK_ORDER = 1
_DROP = 0
_ACCEPT = 1
_VERDICT_REGISTER = 0
_NAT_DESTINATION = 1
_FIB_ADDRESS_TYPE = 3
_FIB_DESTINATION = 0x2
_FIB_LOCAL = 2
_FIB_UNICAST = 1
_FIB_OUTPUT_NAME = 2

_INTERFACE_NAME_SIZE = 16
_INTERNET_CHECKSUM = 1

# Numbers that the nft command gives to the types in a map, six bits each; the kernel only stores them, for its lists.
TYPE_IPV4_ADDRESS: Final = 7
TYPE_PROTOCOL: Final = 12
TYPE_PORT: Final = 13


def _big(kind: int, value: int) -> bytes:
    """Nftables holds the integers of its attributes in network order, a signed one as its two's complement."""
    return attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def _message(kind: int, step: str, *attributes: bytes, flags: int = 0, family: int = INET) -> Message:
    return Message(kind, struct.pack(">BBH", family, 0, 0) + b"".join(attributes), step, flags)


def commit(endpoint: NetlinkSocket, changes: Sequence[Message]) -> None:
    """Makes all changes at once. Raises NetlinkError for the first that was refused; then none was made."""
    header = struct.pack(">BBH", 0, 0, _SUBSYSTEM >> 8)
    begin = Message(_BATCH_BEGIN, header, "begin a change of nftables")
    end = Message(_BATCH_END, header, "end a change of nftables")
    endpoint.request([begin, *changes, end], acknowledged=-2)


# Objects. A table is of the family inet, which sees IPv4 and IPv6, unless it is said to be of another.


def create_owned_table(name: str, *, family: int = INET) -> Message:
    """A table that only this socket can change, and that the kernel deletes with it (Linux 5.12)."""
    step = f"create the nftables table {name}"
    return _message(_NEW_TABLE, step, text(1, name), _big(2, _TABLE_OWNED), flags=CREATE | EXCLUSIVE, family=family)


def delete_table(name: str) -> Message:
    return _message(_DELETE_TABLE, f"delete the nftables table {name}", text(1, name))


def create_chain(table: str, name: str, kind: str, hook: int, priority: int, *, family: int = INET) -> Message:
    """A base chain: ``kind`` is ``filter`` or ``nat``. What no rule decides is accepted."""
    where = nested(4, _big(1, hook), _big(2, priority))
    attributes = (text(1, table), text(3, name), where, _big(5, _ACCEPT), text(7, kind))
    return _message(
        _NEW_CHAIN, f"create the nftables chain {name}", *attributes, flags=CREATE | EXCLUSIVE, family=family
    )


def create_map(table: str, name: str, key: Sequence[int], value: Sequence[int]) -> Message:
    """A map between concatenations of types (``TYPE_…``), none longer than 4 bytes."""
    attributes = (
        text(1, table),
        text(2, name),
        _big(3, _SET_IS_MAP),
        _big(4, _concatenation(key)),
        _big(5, 4 * len(key)),
        _big(6, _concatenation(value)),
        _big(7, 4 * len(value)),
        _big(10, 1),  # an id that a batch may refer to; required, though we refer by name
    )
    return _message(_NEW_SET, f"create the nftables map {name}", *attributes, flags=CREATE | EXCLUSIVE)


def _concatenation(types: Sequence[int]) -> int:
    number = 0
    for one in types:
        number = number << 6 | one
    return number


def _element(key: Sequence[bytes], value: Sequence[bytes] = ()) -> bytes:
    parts = [nested(1, attribute(_DATA_VALUE, b"".join(_padded(part) for part in key)))]
    if value:
        parts.append(nested(2, attribute(_DATA_VALUE, b"".join(_padded(part) for part in value))))
    return nested(3, nested(_LIST_ELEMENT, *parts))


def _padded(part: bytes) -> bytes:
    return part.ljust(4, b"\0")


def add_element(table: str, map_name: str, key: Sequence[bytes], value: Sequence[bytes]) -> Message:
    attributes = (text(1, table), text(2, map_name), _element(key, value))
    return _message(_NEW_ELEMENT, f"add to the nftables map {map_name}", *attributes, flags=CREATE | EXCLUSIVE)


def delete_element(table: str, map_name: str, key: Sequence[bytes]) -> Message:
    attributes = (text(1, table), text(2, map_name), _element(key))
    return _message(_DELETE_ELEMENT, f"take from the nftables map {map_name}", *attributes)


def delete_rules(table: str, chain: str, *, family: int = INET) -> Message:
    """Empties a chain."""
    step = f"empty the nftables chain {chain}"
    return _message(_DELETE_RULE, step, text(1, table), text(2, chain), family=family)


def insert_rule(table: str, chain: str, *expressions: bytes) -> Message:
    """As ``add_rule``, but before all others."""
    attributes = (text(1, table), text(2, chain), nested(4, *expressions))
    return _message(_NEW_RULE, f"insert a rule into the nftables chain {chain}", *attributes, flags=CREATE)


def add_rule(table: str, chain: str, *expressions: bytes, family: int = INET) -> Message:
    """Appends a rule: its expressions in order, until one does not match."""
    attributes = (text(1, table), text(2, chain), nested(4, *expressions))
    return _message(
        _NEW_RULE, f"add a rule to the nftables chain {chain}", *attributes, flags=CREATE | _APPEND, family=family
    )


def create_counter(table: str, name: str) -> Message:
    attributes = (text(1, table), text(2, name), _big(3, COUNTER), nested(4))
    return _message(_NEW_OBJECT, f"create the nftables counter {name}", *attributes, flags=CREATE | EXCLUSIVE)


# Expressions


@dataclass(frozen=True, slots=True)
class Register:
    """A 4-byte register, counted from 0 to 15."""

    position: int = 0

    @property
    def number(self) -> int:
        return 8 + self.position  # linux/netfilter/nf_tables.h, NFT_REG32_00


_FIRST = Register()


def _expression(name: str, *attributes: bytes) -> bytes:
    return nested(_LIST_ELEMENT, text(1, name), nested(2, *attributes))


def _compare(value: bytes, *, equal: bool = True) -> bytes:
    operator = _EQUAL if equal else _NOT_EQUAL
    data = nested(3, attribute(_DATA_VALUE, value))
    return _expression("cmp", _big(1, _FIRST.number), _big(2, operator), data)


def _meta(key: int, register: Register = _FIRST) -> bytes:
    return _expression("meta", _big(1, register.number), _big(2, key))


def load_protocol(register: Register) -> bytes:
    """The transport protocol, one byte."""
    return _meta(_META_PROTOCOL, register)


def load(header: int, offset: int, length: int, register: Register = _FIRST) -> bytes:
    """Bytes of the packet, counted from the start of ``header``."""
    return _expression("payload", _big(1, register.number), _big(2, header), _big(3, offset), _big(4, length))


def if_ipv4() -> bytes:
    return _meta(_META_FAMILY) + _compare(bytes([IPV4]))


def if_ipv6() -> bytes:
    return _meta(_META_FAMILY) + _compare(bytes([IPV6]))


def if_protocol(protocol: int) -> bytes:
    """The transport protocol is that one."""
    return _meta(_META_PROTOCOL) + _compare(bytes([protocol]))


def unless_ipv4() -> bytes:
    return _meta(_META_FAMILY) + _compare(bytes([IPV4]), equal=False)


def unless_arp() -> bytes:
    """In the family bridge, which sees what asks for hardware addresses too."""
    return _meta(_META_ETHERNET_TYPE) + _compare(struct.pack(">H", _ARP), equal=False)


def _name(name: str, *, prefix: bool) -> bytes:
    return name.encode() if prefix else name.encode().ljust(_INTERFACE_NAME_SIZE, b"\0")


def if_input(name: str, *, equal: bool = True, prefix: bool = False) -> bytes:
    """The packet came in through the interface ``name``, or through one whose name starts so."""
    return _meta(_META_INPUT_NAME) + _compare(_name(name, prefix=prefix), equal=equal)


def if_output(name: str, *, equal: bool = True, prefix: bool = False) -> bytes:
    """The packet goes out through the interface ``name``, or through one whose name starts so."""
    return _meta(_META_OUTPUT_NAME) + _compare(_name(name, prefix=prefix), equal=equal)


def if_packet(header: int, offset: int, value: bytes, *, equal: bool = True) -> bytes:
    return load(header, offset, len(value)) + _compare(value, equal=equal)


def if_destination_is_ours() -> bytes:
    """The destination is an address of this machine."""
    lookup = _expression("fib", _big(1, _FIRST.number), _big(2, _FIB_ADDRESS_TYPE), _big(3, _FIB_DESTINATION))
    return lookup + _compare(struct.pack("=I", _FIB_LOCAL))


def _masked(bits: bytes, flipped: bytes = b"") -> bytes:
    mask = nested(4, attribute(_DATA_VALUE, bits))
    flip = nested(5, attribute(_DATA_VALUE, flipped or bytes(len(bits))))
    return _expression("bitwise", _big(1, _FIRST.number), _big(2, _FIRST.number), _big(3, len(bits)), mask, flip)


def flip_bits(header: int, offset: int, bits: bytes, checksum: int) -> bytes:
    """Changes these bits of the packet, and with them the checksum that is at that offset; all offsets are even."""
    write = _expression(
        "payload",
        _big(2, header),
        _big(3, offset),
        _big(4, len(bits)),
        _big(5, _FIRST.number),
        _big(6, _INTERNET_CHECKSUM),
        _big(7, checksum),
    )
    return load(header, offset, len(bits)) + _masked(b"\xff" * len(bits), bits) + write


def if_packet_in(header: int, offset: int, value: bytes, mask: bytes, *, equal: bool = True) -> bytes:
    """The packet's bytes at ``offset``, as far as ``mask`` goes, are ``value``."""
    return load(header, offset, len(value)) + _masked(mask) + _compare(value, equal=equal)


def _if_any_bit(key: int, bits: int) -> bytes:
    read = _expression("ct", _big(1, _FIRST.number), _big(2, key))
    return read + _masked(struct.pack("=I", bits)) + _compare(bytes(4), equal=False)


def if_connection_state(bits: int) -> bytes:
    return _if_any_bit(_CT_STATE, bits)


def if_connection_status(bits: int) -> bytes:
    return _if_any_bit(_CT_STATUS, bits)


def look_up(map_name: str, key: Register, value: Register) -> bytes:
    """Goes on only if the map has the key; then its value is in ``value``."""
    return _expression("lookup", text(1, map_name), _big(2, key.number), _big(3, value.number))


def translate_destination(address: Register, port: Register) -> bytes:
    """To the IPv4 address and the port in those registers."""
    return _expression("nat", _big(1, _NAT_DESTINATION), _big(2, IPV4), _big(3, address.number), _big(5, port.number))


def translate_destination_to(address: bytes) -> bytes:
    """To that IPv4 address, and the same port."""
    value = nested(2, attribute(_DATA_VALUE, address))
    load_address = _expression("immediate", _big(1, _FIRST.number), value)
    return load_address + _expression("nat", _big(1, _NAT_DESTINATION), _big(2, IPV4), _big(3, _FIRST.number))


def redirect(port: int) -> bytes:
    """To this machine, and that port."""
    value = nested(2, attribute(_DATA_VALUE, port.to_bytes(2, "big")))
    load_port = _expression("immediate", _big(1, _FIRST.number), value)
    return load_port + _expression("redir", _big(1, _FIRST.number))


def count(name: str) -> bytes:
    """Adds the packet to a counter of the table."""
    return _expression("objref", _big(1, COUNTER), text(2, name))


def if_destination_is_anothers() -> bytes:
    """The destination is an address of another machine, and of one alone."""
    lookup = _expression("fib", _big(1, _FIRST.number), _big(2, _FIB_ADDRESS_TYPE), _big(3, _FIB_DESTINATION))
    return lookup + _compare(struct.pack("=I", _FIB_UNICAST))


def unless_route_leads_to(prefix: str) -> bytes:
    """The way to the destination does not lead through an interface whose name starts so."""
    lookup = _expression("fib", _big(1, _FIRST.number), _big(2, _FIB_OUTPUT_NAME), _big(3, _FIB_DESTINATION))
    return lookup + _compare(prefix.encode(), equal=False)


def masquerade() -> bytes:
    """The source becomes the address of the interface that the packet leaves by."""
    return _expression("masq")


def if_by_chance(parts: int, of: int) -> bytes:
    """In ``parts`` cases ``of`` so many, at random."""
    register = _big(1, _FIRST.number)
    draw = _expression("numgen", register, _big(2, of), _big(3, _RANDOM))
    # A number is compared as bytes, from the left.
    swap = _expression(
        "byteorder", register, _big(2, _FIRST.number), _big(3, _TO_NETWORK_ORDER), _big(4, 4), _big(5, 4)
    )
    bound = nested(3, attribute(_DATA_VALUE, struct.pack(">I", parts)))
    return draw + swap + _expression("cmp", register, _big(2, _LESS), bound)


def _verdict(code: int) -> bytes:
    return _expression("immediate", _big(1, _VERDICT_REGISTER), nested(2, nested(_DATA_VERDICT, _big(1, code))))


def drop() -> bytes:
    return _verdict(_DROP)


def accept() -> bytes:
    return _verdict(_ACCEPT)
