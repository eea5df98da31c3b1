"""Durations as docker writes them, which is as Go does: ``1m30s``, ``500ms``, ``1.5h``."""

from __future__ import annotations

import re
from fractions import Fraction

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # the micro sign
    "μs": 1_000,  # the letter mu
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_WHOLE = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)


def parse_duration(text: str) -> int:
    """Nanoseconds, of a text without a sign; ``0`` needs no unit. Raises ValueError."""
    if text == "0":
        return 0
    if _WHOLE.fullmatch(text) is None:
        raise ValueError(f"{text} is no duration; wanted numbers with units, such as 1m30s or 500ms")
    # Fractions, as 0.1 is none of the numbers that a float can be.
    return int(sum(Fraction(number) * _NANOSECONDS[unit] for number, unit in _PART.findall(text)))
