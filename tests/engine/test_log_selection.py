"""Times and bounds of logs, as callers write them."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.engine.log_selection import Moment, parse_log_options, parse_moment, select
from pytest_pycontainer.errors import InvalidSpecError
from pytest_pycontainer.runtime.spec import LogLimits

_NOW = 1_700_000_000_123_456_789
_SECOND = 1_000_000_000
_NOON = 1_767_268_800 * _SECOND  # 2026-01-01T12:00:00Z


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("10m", _NOW - 600 * _SECOND),
        ("1h30m", _NOW - 5400 * _SECOND),
        ("1.5h", _NOW - 5400 * _SECOND),
        ("-10s", _NOW + 10 * _SECOND),
        ("250ms", _NOW - 250_000_000),
        ("3us4ns", _NOW - 3004),
        (timedelta(minutes=10), _NOW - 600 * _SECOND),
        (1_767_268_800, _NOON),
        (1_767_268_800.5, _NOON + 500_000_000),
        ("1767268800", _NOON),
        ("1767268800.000000001", _NOON + 1),
        ("2026-01-01T12:00:00Z", _NOON),
        ("2026-01-01T12:00:00.25Z", _NOON + 250_000_000),
        ("2026-01-01T12:00:00.123456789Z", _NOON + 123_456_789),
        ("2026-01-01T14:00:00+02:00", _NOON),
        ("2026-01-01T12:00Z", _NOON),
        ("2026-01-01T12Z", _NOON),
        ("2026-01-01 12:00:00Z", _NOON),
        ("2026-01-01Z", _NOON - 12 * 3600 * _SECOND),
        (datetime(2026, 1, 1, 12, tzinfo=UTC), _NOON),
        (datetime(2026, 1, 1, 14, tzinfo=timezone(timedelta(hours=2))), _NOON),
    ],
)
def test_a_time_is_understood(moment: Moment, expected: int) -> None:
    assert parse_moment("since", moment, _NOW) == expected


def test_a_time_without_a_zone_is_this_machines() -> None:
    local = datetime(2026, 1, 1, 12)
    assert parse_moment("since", local, _NOW) == int(local.timestamp()) * _SECOND
    assert parse_moment("since", "2026-01-01T12:00:00", _NOW) == int(local.timestamp()) * _SECOND


@pytest.mark.parametrize("moment", ["", "yesterday", "10 m", "2026-13-01", "2026-01-01T25", "10mm", "T12", "1e5"])
def test_what_is_no_time_is_refused(moment: str) -> None:
    with pytest.raises(InvalidSpecError, match="invalid since"):
        parse_moment("since", moment, _NOW)


@pytest.mark.parametrize("moment", [None, True, float("nan"), float("inf"), b"10m", ["10m"]])
def test_what_has_no_such_type_is_refused(moment: object) -> None:
    with pytest.raises(InvalidSpecError):
        parse_moment("until", moment, _NOW)  # type: ignore[arg-type]


@given(st.text())
def test_any_text_is_a_time_or_refused(text: str) -> None:
    with suppress(InvalidSpecError):
        assert isinstance(parse_moment("since", text, _NOW), int)


@given(st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1)))
def test_texts_and_datetimes_are_the_same(moment: datetime) -> None:
    assert parse_moment("since", moment.isoformat(), _NOW) == parse_moment("since", moment, _NOW)


def test_a_tail_is_a_number_of_lines() -> None:
    with pytest.raises(InvalidSpecError, match="tail"):
        select(tail=-1)


@pytest.mark.parametrize(
    ("options", "limits"),
    [
        (None, LogLimits()),
        ({}, LogLimits()),
        ({"max-size": "10m", "max-file": 3}, LogLimits(10 << 20, 3)),
        (["max-size=1k"], LogLimits(1024, 5)),
        ({"max-size": -1}, LogLimits(None, 5)),
        ({"max-file": "1"}, LogLimits(20 << 20, 1)),
    ],
)
def test_bounds_are_understood(options: dict[str, str] | None, limits: LogLimits) -> None:
    assert parse_log_options(options) == limits


@pytest.mark.parametrize(
    "options",
    [{"max-size": "0"}, {"max-size": "big"}, {"max-file": "0"}, {"max-file": "-1"}, {"compress": "true"}, ["max-size"]],
)
def test_bounds_that_make_no_sense_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(InvalidSpecError):
        parse_log_options(options)
