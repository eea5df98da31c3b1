"""Netlink: messages, attributes, and a socket that sends them and waits for what the kernel answers.

The kernel works through a netlink request while it is being sent (``man 7 netlink``), so an answer is there as soon as
``send`` returns; the time limit only guards against a socket that is not what it is taken for.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

REQUEST: Final = 0x1
ACKNOWLEDGE: Final = 0x4
DUMP: Final = 0x300
EXCLUSIVE: Final = 0x200
CREATE: Final = 0x400

_ERROR = 2
_DONE = 3
_INTERRUPTED_DUMP = 0x10
_CAPPED = 0x100
_HAS_ATTRIBUTES = 0x200
_ERROR_TEXT = 1

_NESTED = 0x8000
_KIND_MASK = 0x3FFF

_SOL_NETLINK = 270
_CAP_ACKNOWLEDGE = 10
_EXTENDED_ACKNOWLEDGE = 11

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_STATUS = struct.Struct("=i")
_LARGEST_ANSWER = 64 * 1024
_DUMP_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Message:
    """One request. ``body`` is the family's own header and its attributes; ``step`` says what it does, for errors."""

    kind: int
    body: bytes
    step: str
    flags: int = 0


class NetlinkError(OSError):
    """The kernel refused a request: ``errno``, the ``step`` it refused, and ``detail``, its words."""

    def __init__(self, number: int, step: str, detail: str) -> None:
        super().__init__(number, detail)
        self.step = step
        self.detail = detail

    def __reduce__(self) -> tuple[type[NetlinkError], tuple[object, ...]]:
        return type(self), (self.errno, self.step, self.detail)

    def __str__(self) -> str:
        return f"{self.step}: {self.detail}"


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to the four bytes that the next has to start at."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute made of attributes."""
    return attribute(kind | _NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """An attribute that holds a NUL-terminated string."""
    return attribute(kind, os.fsencode(value) + b"\0")


def number(kind: int, value: int) -> bytes:
    """An attribute that holds 32 bits in this machine's order, as routing messages have them."""
    return attribute(kind, struct.pack("=I", value))


def parse_attributes(data: bytes) -> dict[int, bytes]:
    """What ``attribute`` made, by kind; of several of one kind the last. Raises ValueError for a broken length."""
    found = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size or offset + length > len(data):
            raise ValueError(f"a netlink attribute at byte {offset} of {len(data)} claims {length} bytes")
        found[kind & _KIND_MASK] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += length + (-length % 4)
    return found


class NetlinkSocket:
    """Sends requests over an AF_NETLINK socket and matches the answers.

    It sets the time limit of ``endpoint`` to ``timeout`` seconds, and closes it only when ``close`` is called: a socket
    inside another namespace stays its owner's. One thread at a time.
    """

    def __init__(self, endpoint: socket.socket, *, timeout: float = 10.0) -> None:
        self._endpoint = endpoint
        self._timeout = timeout
        self._sequence = 0
        endpoint.settimeout(timeout)
        endpoint.setsockopt(_SOL_NETLINK, _CAP_ACKNOWLEDGE, 1)
        endpoint.setsockopt(_SOL_NETLINK, _EXTENDED_ACKNOWLEDGE, 1)

    @classmethod
    def open(cls, protocol: int, *, timeout: float = 10.0) -> NetlinkSocket:
        """One of its own, in the network namespace of the calling thread."""
        endpoint = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        try:
            endpoint.bind((0, 0))
            return cls(endpoint, timeout=timeout)
        except BaseException:
            endpoint.close()
            raise

    def close(self) -> None:
        self._endpoint.close()

    def request(self, messages: Sequence[Message], *, acknowledged: int = -1) -> None:
        """Sends all in one go and returns when the kernel has done all.

        A routing socket goes on after a message that failed; a netfilter batch is all or nothing. ``acknowledged`` is
        the index of the last message that the kernel answers (a batch's end is not). Raises NetlinkError for the first
        that was refused, TimeoutError if no answer came.
        """
        first = self._sequence + 1
        last_answered = range(len(messages))[acknowledged]
        packets = []
        for index, message in enumerate(messages):
            flags = message.flags | REQUEST | (ACKNOWLEDGE if index == last_answered else 0)
            packets.append(self._packet(message, flags))
        self._endpoint.send(b"".join(packets))
        for sequence, kind, flags, body in self._answers():
            index = sequence - first
            if kind != _ERROR or not 0 <= index < len(messages):
                continue
            self._raise_if_refused(messages[index], flags, body)
            if index == last_answered:
                return

    def get(self, message: Message) -> tuple[int, bytes]:
        """The kind and body of the one message that answers. Raises NetlinkError."""
        self._endpoint.send(self._packet(message, message.flags | REQUEST))
        for sequence, kind, flags, body in self._answers():
            if sequence != self._sequence:
                continue
            if kind == _ERROR:
                self._raise_if_refused(message, flags, body)
            return kind, body
        raise AssertionError("answers end with an exception only")

    def dump(self, message: Message) -> list[tuple[int, bytes]]:
        """The kind and body of every object that answers; asked again if they changed meanwhile.

        Raises NetlinkError.
        """
        for _ in range(_DUMP_ATTEMPTS):
            found, whole = self._dump_once(message)
            if whole:
                return found
        raise NetlinkError(errno.EINTR, message.step, "what was listed kept changing")

    def _dump_once(self, message: Message) -> tuple[list[tuple[int, bytes]], bool]:
        self._endpoint.send(self._packet(message, message.flags | REQUEST | DUMP))
        found = []
        whole = True
        for sequence, kind, flags, body in self._answers():
            if sequence != self._sequence:
                continue
            whole = whole and not flags & _INTERRUPTED_DUMP
            if kind in (_ERROR, _DONE):
                self._raise_if_refused(message, flags, body)
                break
            found.append((kind, body))
        return found, whole

    def _packet(self, message: Message, flags: int) -> bytes:
        self._sequence += 1
        header = _HEADER.pack(_HEADER.size + len(message.body), message.kind, flags, self._sequence, 0)
        return header + message.body + b"\0" * (-len(message.body) % 4)

    def _answers(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Sequence, kind, flags and body of each message that comes, without end. Raises TimeoutError."""
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            data, _, flags, sender = self._endpoint.recvmsg(_LARGEST_ANSWER)
            if flags & socket.MSG_TRUNC:
                raise OSError(errno.EMSGSIZE, f"a netlink answer is longer than {_LARGEST_ANSWER} bytes")
            if sender[0] != 0:  # any process may send to a netlink socket; only the kernel answers
                continue
            yield from _split(data)
        raise TimeoutError(errno.ETIMEDOUT, f"no netlink answer within {self._timeout:g} s")

    @staticmethod
    def _raise_if_refused(message: Message, flags: int, body: bytes) -> None:
        status = _STATUS.unpack_from(body)[0] if len(body) >= _STATUS.size else 0
        if status < 0:
            raise NetlinkError(-status, message.step, _refusal(-status, flags, body))


def _split(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size or offset + length > len(data):
            raise OSError(errno.EBADMSG, f"a netlink message at byte {offset} of {len(data)} claims {length} bytes")
        yield sequence, kind, flags, data[offset + _HEADER.size : offset + length]
        offset += length + (-length % 4)


def _refusal(status: int, flags: int, body: bytes) -> str:
    """The errno in words, and the kernel's own sentence where it gave one (Linux 4.12, "extended ACK")."""
    words = os.strerror(status)
    if not flags & _HAS_ATTRIBUTES:
        return words
    (refused_length,) = struct.unpack_from("=I", body, _STATUS.size)
    refused = _HEADER.size if flags & _CAPPED else refused_length + (-refused_length % 4)
    sentence = parse_attributes(body[_STATUS.size + refused :]).get(_ERROR_TEXT, b"").rstrip(b"\0")
    return f"{words} ({sentence.decode(errors='replace')})" if sentence else words
