"""What a certificate says of itself (RFC 5280), for people: the standard library reads only those that it trusts.

The bytes come from whoever answered. Nothing here decides whether to trust them.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

_INTEGER: Final = 0x02
_OBJECT_IDENTIFIER: Final = 0x06
_OCTETS: Final = 0x04
_UTC_TIME: Final = 0x17
_WIDE_STRING: Final = 0x1E
_VERSION: Final = 0xA0
_EXTENSIONS: Final = 0xA3
_DNS_NAME: Final = 0x82
_IP_ADDRESS: Final = 0x87
_LONG_LENGTH: Final = 0x80
_NAMES_AT_MOST: Final = 20

_ATTRIBUTES: Final = {
    b"\x55\x04\x03": "CN",
    b"\x55\x04\x06": "C",
    b"\x55\x04\x07": "L",
    b"\x55\x04\x08": "ST",
    b"\x55\x04\x0a": "O",
    b"\x55\x04\x0b": "OU",
}
_ALTERNATIVE_NAMES: Final = b"\x55\x1d\x11"


@dataclass(frozen=True, slots=True)
class ShownCertificate:
    """A server's certificate; ``names`` are those that it is for, ``fingerprint`` is SHA-256's, as openssl has it."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    begins: datetime
    ends: datetime
    fingerprint: str

    def __str__(self) -> str:
        names = f" for {', '.join(self.names)}" if self.names else ""
        valid = f"valid from {self.begins:%Y-%m-%d %H:%M} to {self.ends:%Y-%m-%d %H:%M} UTC"
        return f"{self.subject}{names}, issued by {self.issuer}, {valid}, SHA-256 fingerprint {self.fingerprint}"


def read_certificate(der: bytes) -> ShownCertificate:
    """The certificate in ``der``. Raises ValueError for bytes that are none."""
    try:
        certificate = _only(_elements(der))
        fields = list(_elements(next(_elements(certificate))[1]))
        if fields[0][0] == _VERSION:
            fields = fields[1:]
        (serial, _), _, (_, issuer), (_, validity), (_, subject), *rest = fields
        if serial != _INTEGER:
            raise ValueError("it has no serial number")
        begins, ends = (_time(*element) for element in _elements(validity))
        names = tuple(name for tag, content in rest[1:] if tag == _EXTENSIONS for name in _alternative_names(content))
    except (IndexError, StopIteration) as problem:
        raise ValueError("it ends too early") from problem
    return ShownCertificate(_name(subject), _name(issuer), names[:_NAMES_AT_MOST], begins, ends, fingerprint(der))


def fingerprint(der: bytes) -> str:
    """SHA-256, as ``openssl x509 -fingerprint`` shows it."""
    return hashlib.sha256(der).digest().hex(":").upper()


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element (X.690, DER)."""
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & _LONG_LENGTH:
            digits = length & ~_LONG_LENGTH
            length = int.from_bytes(data[at : at + digits])
            at += digits
        if at + length > len(data):
            raise IndexError
        yield tag, data[at : at + length]
        at += length


def _only(elements: Iterator[tuple[int, bytes]]) -> bytes:
    return next(elements)[1]


def _name(content: bytes) -> str:
    """A distinguished name, as ``CN=a, O=b``."""
    parts = []
    for _, attributes in _elements(content):
        for _, attribute in _elements(attributes):
            (_, kind), (tag, value) = _elements(attribute)
            if kind in _ATTRIBUTES:
                text = value.decode("utf-16-be" if tag == _WIDE_STRING else "utf-8", "replace")
                parts.append(f"{_ATTRIBUTES[kind]}={_printable(text)}")
    return ", ".join(parts) or "nobody named"


def _time(tag: int, content: bytes) -> datetime:
    digits = content.decode("ascii", "replace")
    if tag == _UTC_TIME:  # RFC 5280, 4.1.2.5.1: two digits from 50 on are of the last century
        digits = ("20" if digits < "50" else "19") + digits
    return datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _alternative_names(extensions: bytes) -> Iterator[str]:
    for _, extension in _elements(_only(_elements(extensions))):
        parts = list(_elements(extension))
        if parts[0] != (_OBJECT_IDENTIFIER, _ALTERNATIVE_NAMES) or parts[-1][0] != _OCTETS:
            continue
        for tag, name in _elements(_only(_elements(parts[-1][1]))):
            if tag == _DNS_NAME:
                yield _printable(name.decode("ascii", "replace"))
            elif tag == _IP_ADDRESS:
                yield str(ipaddress.ip_address(name))


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
