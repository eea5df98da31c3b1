"""Sizes, times and columns as docker prints them."""

from __future__ import annotations

import pytest

from pytest_pycontainer.cli.table import lay_out
from pytest_pycontainer.cli.units import address, binary_size, duration, size

MINUTE, HOUR, DAY = 60, 3600, 24 * 3600


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1kB"),
        (1234, "1.23kB"),
        (999_999, "1000kB"),
        (72_800_000, "72.8MB"),
        (1_260_000_000, "1.26GB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_sizes_by_powers_of_two() -> None:
    assert (binary_size(0), binary_size(1024), binary_size(1536 * 1024)) == ("0B", "1KiB", "1.5MiB")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.9, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (MINUTE, "About a minute"),
        (2 * MINUTE, "2 minutes"),
        (59 * MINUTE, "59 minutes"),
        (HOUR, "About an hour"),
        (2 * HOUR, "2 hours"),
        (47 * HOUR, "47 hours"),
        (3 * DAY, "3 days"),
        (15 * DAY, "2 weeks"),
        (61 * DAY, "2 months"),
        (3 * 365 * DAY, "3 years"),
    ],
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_addresses() -> None:
    assert (address("127.0.0.1", 80), address("::1", 80)) == ("127.0.0.1:80", "[::1]:80")


def test_columns() -> None:
    assert lay_out([("NAME", "LONGER HEADING", "LAST"), ("a", "b", "what comes"), ("a long name", "x", "")]) == [
        "NAME          LONGER HEADING   LAST",
        "a             b                what comes",
        "a long name   x                ",
    ]
    assert lay_out([]) == []
    assert lay_out([("one",), ("two",)]) == ["one", "two"]
