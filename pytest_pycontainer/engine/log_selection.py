"""What of a container's log is wanted: streams, times, the last lines, as callers say it."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias, TypedDict

from pytest_pycontainer.engine import arguments
from pytest_pycontainer.errors import InvalidSpecError
from pytest_pycontainer.image.duration import parse_duration
from pytest_pycontainer.runtime.logs import STDERR, STDOUT
from pytest_pycontainer.runtime.spec import LogLimits

Moment: TypeAlias = datetime | timedelta | float | str
"""A time: a datetime, how long ago, seconds since the epoch, or docker's texts: ``10m``, RFC 3339, seconds."""

_NANOSECONDS = 1_000_000_000
_SECONDS = re.compile(r"(?P<whole>\d+)(?:\.(?P<fraction>\d{1,9}))?", re.ASCII)
_DATE = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)"
    r"(?:[Tt ](?P<hour>\d\d)(?::(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,9})\d*)?)?)?)?"
    r"(?P<zone>[Zz]|[+-]\d\d:\d\d)?",
    re.ASCII,
)
_WANTED = "a datetime, a timedelta, seconds since the epoch, '10m', or as RFC 3339 has it: '2026-01-31T12:00:00Z'"


@dataclass(frozen=True, slots=True)
class LogSelection:
    """Which entries: of these ``streams``, read at or between two times (nanoseconds since the epoch), and of these
    the last lines, if need be without their beginning: ``tail_bytes`` at most.
    """

    streams: frozenset[int] = frozenset((STDOUT, STDERR))
    since: int = 0
    until: int | None = None
    tail: int | None = None
    tail_bytes: int | None = None

    def has(self, moment: int, stream: int) -> bool:
        """Whether it takes what was read from ``stream`` at that time."""
        return stream in self.streams and self.since <= moment and (self.until is None or moment <= self.until)


class SelectionOptions(TypedDict, total=False):
    """What ``select`` takes."""

    stdout: bool
    stderr: bool
    since: Moment | None
    until: Moment | None
    tail: int | None


def select(
    *,
    stdout: bool = True,
    stderr: bool = True,
    since: Moment | None = None,
    until: Moment | None = None,
    tail: int | None = None,
) -> LogSelection:
    """What a caller wants to see. Raises InvalidSpecError."""
    if tail is not None and (not isinstance(tail, int) or tail < 0):
        raise InvalidSpecError("tail", repr(tail), "a number of lines, or None for all")
    now = time.time_ns()
    return LogSelection(
        frozenset(stream for stream, wanted in ((STDOUT, stdout), (STDERR, stderr)) if wanted),
        0 if since is None else parse_moment("since", since, now),
        None if until is None else parse_moment("until", until, now),
        tail,
    )


def parse_moment(field: str, moment: Moment, now: int) -> int:
    """Nanoseconds since the epoch; ``now`` is what a duration is counted back from.

    Without a zone, a time is this machine's. Raises InvalidSpecError.
    """
    try:
        if isinstance(moment, datetime):
            return _of_datetime(moment)
        if isinstance(moment, timedelta):
            return now - moment // timedelta(microseconds=1) * 1000
        if isinstance(moment, int | float) and not isinstance(moment, bool):
            return int(moment * _NANOSECONDS)
        if isinstance(moment, str):
            return _parse_text(moment.strip(), now)
    except (ValueError, OverflowError) as error:
        raise InvalidSpecError(field, str(moment), f"{_WANTED} ({error})") from error
    raise InvalidSpecError(field, repr(moment), _WANTED)


def _of_datetime(moment: datetime) -> int:
    since_epoch = moment.astimezone(UTC) - datetime.fromtimestamp(0, UTC)
    return since_epoch // timedelta(microseconds=1) * 1000


def _parse_text(text: str, now: int) -> int:
    if seconds := _SECONDS.fullmatch(text):
        return int(seconds["whole"]) * _NANOSECONDS + _fraction(seconds["fraction"])
    if date := _DATE.fullmatch(text):
        zone = (date["zone"] or "").upper().replace("Z", "+00:00")
        clock = f"{date['hour'] or '00'}:{date['minute'] or '00'}:{date['second'] or '00'}"
        return _of_datetime(datetime.fromisoformat(f"{date['date']}T{clock}{zone}")) + _fraction(date["fraction"])
    return now + parse_duration(text[1:]) if text.startswith("-") else now - parse_duration(text.removeprefix("+"))


def _fraction(digits: str | None) -> int:
    return int((digits or "").ljust(9, "0"))


def parse_log_options(options: arguments.Environment | None) -> LogLimits:
    """Docker's ``max-size`` and ``max-file``, in a mapping or as ``NAME=value``. Raises InvalidSpecError."""
    default = LogLimits()
    if options is None:
        return default
    given = arguments.parse_environment(options, "log_opt")
    if unknown := set(given) - {"max-size", "max-file"}:
        raise InvalidSpecError("log_opt", ", ".join(sorted(unknown)), "max-size or max-file")
    size, files = given.get("max-size"), given.get("max-file", str(default.files))
    if not files.isdecimal() or int(files) < 1:
        raise InvalidSpecError("log_opt max-file", files, "a number from 1")
    if size is None:
        return LogLimits(default.file_bytes, int(files))
    file_bytes = None if size == "-1" else arguments.parse_bytes("log_opt max-size", size)
    if file_bytes == 0:
        raise InvalidSpecError("log_opt max-size", size, "more than nothing, or -1 for no bound")
    return LogLimits(file_bytes, int(files))
