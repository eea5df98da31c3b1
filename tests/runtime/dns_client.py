"""The other side of DNS, for tests: queries as clients send them, and answers as they read them."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass


def query(name: str, kind: int = 1, *, identifier: int = 0x1234, size: int | None = None, group: int = 1) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label)
    packet = struct.pack(">HHHHHH", identifier, 0x0100, 1, 0, 0, int(size is not None))
    packet += labels + b"\0" + struct.pack(">HH", kind, group)
    if size is not None:
        packet += b"\0" + struct.pack(">HHIH", 41, size, 0, 0)
    return packet


@dataclass(frozen=True)
class Answer:
    identifier: int
    code: int
    truncated: bool
    question: bytes
    records: list[bytes]
    extended: bool

    @property
    def addresses(self) -> list[str]:
        families = {4: socket.AF_INET, 16: socket.AF_INET6}
        return [socket.inet_ntop(families[len(record)], record) for record in self.records]


def read(message: bytes) -> Answer:
    """Reads an answer whose names are all written as a pointer, or as the root."""
    identifier, flags, questions, answers, authorities, additional = struct.unpack_from(">HHHHHH", message)
    assert flags & 0x8000
    assert flags & 0x0080
    assert not authorities
    offset = 12
    for _ in range(questions):
        while message[offset]:
            offset += 1 + message[offset]
        offset += 5
    question = message[12:offset]
    records = []
    for _ in range(answers):
        assert message[offset : offset + 2] == b"\xc0\x0c"
        _, _, _, length = struct.unpack_from(">HHIH", message, offset + 2)
        records.append(message[offset + 12 : offset + 12 + length])
        assert len(records[-1]) == length
        offset += 12 + length
    assert len(message) - offset == 11 * additional
    return Answer(identifier, flags & 0xF, bool(flags & 0x0200), question, records, bool(additional))
