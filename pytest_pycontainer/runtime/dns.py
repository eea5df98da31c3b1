"""DNS messages (RFC 1035, RFC 6891): reading a query, and writing the answers that a resolver gives itself."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from pytest_pycontainer.runtime.values import dataclass

A: Final = 1
PTR: Final = 12
AAAA: Final = 28
ANY: Final = 255
_OPT = 41
_INTERNET = 1

NO_ERROR: Final = 0
FORMAT_ERROR: Final = 1
SERVER_FAILURE: Final = 2
NO_SUCH_NAME: Final = 3
NOT_IMPLEMENTED: Final = 4
REFUSED: Final = 5

LARGEST_MESSAGE: Final = 0xFFFF

_HEADER = struct.Struct(">HHHHHH")
_QUESTION = struct.Struct(">HH")
_RECORD = struct.Struct(">HHIH")
_RESPONSE = 0x8000
_OPERATION = 0x7800
_TRUNCATED = 0x0200
_RECURSION_DESIRED = 0x0100
_RECURSION_AVAILABLE = 0x0080
_CODE = 0x000F

_POINTER = 0xC0
_LONGEST_NAME = 255
_TO_QUESTION = b"\xc0\x0c"  # the name of the question, which follows the header
_PLAIN_SIZE = 512
_LARGEST_DATAGRAM = 4096


class MalformedMessageError(Exception):
    """Not a query that can be answered; ``answer`` is what to send all the same, empty for nothing."""

    def __init__(self, answer: bytes = b"") -> None:
        super().__init__(answer)
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Query:
    """One question of a client.

    ``name`` is in lower case, without the dot at its end; a dot in a label is escaped. ``question`` is its section as
    it came. ``size`` is what the client takes in one datagram; with ``extended`` (EDNS) it said so.
    """

    packet: bytes
    name: str
    kind: int
    group: int
    question: bytes
    size: int
    extended: bool

    @property
    def is_internet(self) -> bool:
        """Whether it is of the class that has addresses."""
        return self.group in (_INTERNET, ANY)


def parse_query(packet: bytes) -> Query:
    """Reads a query. Raises MalformedMessageError."""
    if len(packet) < _HEADER.size:
        raise MalformedMessageError
    _, flags, questions, answers, authorities, additional = _HEADER.unpack_from(packet)
    if flags & _RESPONSE:
        raise MalformedMessageError  # an answer to that could be answered again
    if flags & _OPERATION:
        raise MalformedMessageError(_failure(packet, NOT_IMPLEMENTED))
    try:
        if questions != 1:
            raise ValueError("not one question")
        labels, offset = _read_name(packet, _HEADER.size)
        kind, group = _QUESTION.unpack_from(packet, offset)
        end = offset + _QUESTION.size
        size = _payload_size(packet, end, answers + authorities + additional)
    except (ValueError, struct.error):
        raise MalformedMessageError(_failure(packet, FORMAT_ERROR)) from None
    name = ".".join(label.replace(b".", b"\\.").decode("latin-1") for label in labels).lower()
    question = packet[_HEADER.size : end]
    return Query(packet, name, kind, group, question, size or _PLAIN_SIZE, size is not None)


def _read_name(packet: bytes, offset: int) -> tuple[list[bytes], int]:
    """The labels of an uncompressed name, and where it ends: nothing is there yet for a query to point to."""
    labels = []
    start = offset
    while length := packet[offset] if offset < len(packet) else -1:
        if length < 0 or length & _POINTER or offset + 1 + length - start >= _LONGEST_NAME:
            raise ValueError("no name")
        label = packet[offset + 1 : offset + 1 + length]
        if len(label) < length:
            raise ValueError("a label is cut off")
        labels.append(label)
        offset += 1 + length
    return labels, offset + 1


def _payload_size(packet: bytes, offset: int, records: int) -> int | None:
    """What an OPT record says of the size of datagrams, None without one."""
    for _ in range(records):
        while offset < len(packet) and 0 < packet[offset] < _POINTER:
            offset += 1 + packet[offset]
        offset += 2 if offset < len(packet) and packet[offset] >= _POINTER else 1
        kind, size, _, length = _RECORD.unpack_from(packet, offset)
        if kind == _OPT:
            return min(max(int(size), _PLAIN_SIZE), _LARGEST_DATAGRAM)
        offset += _RECORD.size + length
    return None


def answer(query: Query, code: int, records: Sequence[bytes] = (), *, seconds: int = 0) -> bytes:
    """An answer to ``query``: ``records`` are the contents of records of its kind, valid for ``seconds``."""
    content = b"".join(
        _TO_QUESTION + _RECORD.pack(query.kind, _INTERNET, seconds, len(record)) + record for record in records
    )
    return _begin(query, code, len(records)) + query.question + content + _option(query)


def fit(query: Query, message: bytes) -> bytes:
    """The answer as it goes into one datagram to that client: if it is too long, told to be asked for by TCP."""
    if len(message) <= query.size:
        return message
    return _begin(query, NO_ERROR, 0, truncated=True) + query.question + _option(query)


def _begin(query: Query, code: int, answers: int, *, truncated: bool = False) -> bytes:
    identifier, flags = struct.unpack_from(">HH", query.packet)
    flags = _RESPONSE | flags & _RECURSION_DESIRED | _RECURSION_AVAILABLE | (_TRUNCATED if truncated else 0) | code
    return _HEADER.pack(identifier, flags, 1, answers, 0, int(query.extended))


def _option(query: Query) -> bytes:
    return b"\0" + _RECORD.pack(_OPT, _LARGEST_DATAGRAM, 0, 0) if query.extended else b""


def _failure(packet: bytes, code: int) -> bytes:
    identifier, flags = struct.unpack_from(">HH", packet)
    flags = _RESPONSE | flags & (_OPERATION | _RECURSION_DESIRED) | _RECURSION_AVAILABLE | code
    return _HEADER.pack(identifier, flags, 0, 0, 0, 0)


def encode_name(name: str) -> bytes:
    """A name as records have it. Raises ValueError for one that DNS has no room for."""
    labels = [label.encode() for label in name.split(".")]
    encoded = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    if len(encoded) > _LONGEST_NAME or not all(0 < len(label) < 0x40 for label in labels):
        raise ValueError(f"{name!r} is too long for a name")
    return encoded


def with_identifier(packet: bytes, identifier: bytes) -> bytes:
    """The same message under another of the two-byte numbers that answers are known by."""
    return identifier + packet[len(identifier) :]


def answers_to(query: Query, message: bytes, identifier: bytes) -> bool:
    """Whether ``message`` answers the question of ``query``, asked under ``identifier``."""
    if len(message) < _HEADER.size or message[:2] != identifier:
        return False
    _, flags, questions, *_ = _HEADER.unpack_from(message)
    # Some servers leave the question out of a failure.
    same = message[_HEADER.size :].startswith(query.question) if questions else bool(flags & _CODE)
    return bool(flags & _RESPONSE) and same


def is_failure(message: bytes) -> bool:
    """Whether another server might know better."""
    return message[3] & _CODE in (SERVER_FAILURE, NOT_IMPLEMENTED, REFUSED)


def address_of_pointer(name: str) -> bytes | None:
    """The address that a reverse lookup of ``name`` asks for; None if it is not one."""
    labels = name.split(".")
    try:
        if labels[-2:] == ["in-addr", "arpa"] and len(labels) == 6:
            return bytes(int(label) for label in reversed(labels[:4]))
        if labels[-2:] == ["ip6", "arpa"] and len(labels) == 34:
            return bytes.fromhex("".join(reversed(labels[:32])))
    except ValueError:
        return None
    return None
