"""Sizes, times and addresses as docker prints them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_BINARY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")

# A unit, its hours, and how many hours there are before the next one is used.
_LONG_TIMES = (
    ("hours", 1, 2 * 24),
    ("days", 24, 14 * 24),
    ("weeks", 7 * 24, 60 * 24),
    ("months", 30 * 24, 2 * 365 * 24),
    ("years", 365 * 24, None),
)


def size(count: int) -> str:
    """Bytes in powers of 1000, with three digits that count: ``1.23MB``."""
    return _scaled(count, 1000, 3, _UNITS)


def binary_size(count: int) -> str:
    """Bytes in powers of 1024, with four digits that count: ``1.234MiB``."""
    return _scaled(count, 1024, 4, _BINARY_UNITS)


def _scaled(count: int, base: int, digits: int, units: tuple[str, ...]) -> str:
    value, unit = float(count), 0
    while value >= base and unit < len(units) - 1:
        value /= base
        unit += 1
    return f"{float(f'{value:.{digits}g}'):g}{units[unit]}"  # 999.9 is rounded to one with an exponent


def duration(seconds: float) -> str:
    """A length of time in words, as docker says it: ``About a minute``."""
    whole = int(seconds)
    if whole < 60:
        return "Less than a second" if whole < 1 else f"{whole} second{'s' if whole > 1 else ''}"
    if whole < 60 * 60:
        return "About a minute" if whole < 2 * 60 else f"{whole // 60} minutes"
    hours = round(seconds / 3600)
    if hours == 1:
        return "About an hour"
    name, length = next((name, length) for name, length, end in _LONG_TIMES if end is None or hours < end)
    return f"{hours // length} {name}"


def ago(moment: datetime) -> str:
    """How long ago it was, in words: ``2 hours ago``."""
    return f"{duration(time.time() - moment.timestamp())} ago"


def local_time(moment: datetime) -> str:
    """When it was, in this machine's time zone: ``2026-01-31 12:00:00 +0100 CET``."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S %z %Z}"


def address(host: str, port: int) -> str:
    """Where a port is: ``127.0.0.1:80``, ``[::1]:80``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
