"""Queueing disciplines: what an interface does with packets before it sends them (``man 8 tc``, linux/pkt_sched.h).

Functions return the message that makes a change, for a routing socket of the interface's namespace.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

from pytest_pycontainer.kernel.netlink import CREATE, Message, attribute, nested, text

_NEW_DISCIPLINE = 36
_DELETE_DISCIPLINE = 37
_REPLACE = 0x100  # NLM_F_REPLACE

_HEADER = struct.Struct("=BxxxiIII")
_KIND = 1
_OPTIONS = 2

ROOT: Final = 0xFFFFFFFF
"""The place of the one discipline that every packet passes."""

_NETEM_OPTIONS = struct.Struct("=IIIIII")
_NETEM_LATENCY = 10
_NETEM_JITTER = 11

_RATE = struct.Struct("=BBHhHI")
_TBF_OPTIONS = struct.Struct(f"={_RATE.size}s{_RATE.size}sIII")
_TBF_PARAMETERS = 1
_TBF_RATE = 4
_TBF_BURST = 6
_ETHERNET = 1  # for the kernel to compute times itself, without a table from us
_LARGEST_OLD_RATE = 0xFFFFFFFF
_TICK_NANOSECONDS = 64  # PSCHED_SHIFT


def handle(major: int) -> int:
    """The name that a discipline goes by."""
    return major << 16


def first_class(major: int) -> int:
    """The place below the discipline ``handle(major)``."""
    return major << 16 | 1


def _message(kind: int, index: int, own: int, parent: int, step: str, *attributes: bytes, flags: int = 0) -> Message:
    header = _HEADER.pack(socket.AF_UNSPEC, index, own, parent, 0)
    return Message(kind, header + b"".join(attributes), step, flags)


def delay(
    index: int, name: str, nanoseconds: int, jitter_nanoseconds: int = 0, *, own: int = handle(1), parent: int = ROOT
) -> Message:
    """Holds each packet back (``netem``); with a jitter, by a time that varies by so much in both directions."""
    packets_at_most = 100_000  # those on their way at a time; the kernel's 1000 is little for a fast network
    options = _NETEM_OPTIONS.pack(0, packets_at_most, 0, 0, 0, 0)
    options += attribute(_NETEM_LATENCY, struct.pack("=q", nanoseconds))
    options += attribute(_NETEM_JITTER, struct.pack("=q", jitter_nanoseconds))
    attributes = text(_KIND, "netem"), attribute(_OPTIONS, options)
    step = f"delay what {name} sends"
    return _message(_NEW_DISCIPLINE, index, own, parent, step, *attributes, flags=CREATE | _REPLACE)


def limit_rate(
    index: int, name: str, bytes_per_second: int, *, burst: int, queue: int, own: int = handle(1), parent: int = ROOT
) -> Message:
    """Sends no faster (``tbf``), but for ``burst`` bytes at once; ``queue`` bytes wait at most, more are dropped."""
    rate = _RATE.pack(0, _ETHERNET, 0, 0, 0, min(bytes_per_second, _LARGEST_OLD_RATE))
    burst_time = min(burst * 1_000_000_000 // bytes_per_second // _TICK_NANOSECONDS, 0xFFFFFFFF)
    parameters = _TBF_OPTIONS.pack(rate, bytes(_RATE.size), queue, burst_time, 0)
    options = attribute(_TBF_PARAMETERS, parameters) + attribute(_TBF_BURST, struct.pack("=I", burst))
    if bytes_per_second > _LARGEST_OLD_RATE:
        options += attribute(_TBF_RATE, struct.pack("=Q", bytes_per_second))
    attributes = text(_KIND, "tbf"), nested(_OPTIONS, options)
    step = f"limit the rate of {name}"
    return _message(_NEW_DISCIPLINE, index, own, parent, step, *attributes, flags=CREATE | _REPLACE)


def at_once(index: int, name: str) -> Message:
    """Sends again as if nothing had been said. The kernel answers ENOENT, or EINVAL, if nothing had."""
    return _message(_DELETE_DISCIPLINE, index, 0, ROOT, f"let {name} send as before")
