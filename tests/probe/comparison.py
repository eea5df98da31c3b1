"""Two reports of the probe, side by side."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.probe.containers import Report

_ABSENT = "—"


@dataclass(frozen=True, slots=True)
class Difference:
    """One place of the reports (names with `` > `` between), what Docker's says there, and what ours says."""

    place: str
    docker: str
    ours: str

    def __str__(self) -> str:
        return f"{self.place}: docker {self.docker}, ours {self.ours}"


@dataclass(frozen=True, slots=True)
class Deliberate:
    """A difference that is meant: expressions for the place and for both sides, in which variants, and why."""

    reason: str
    place: str
    docker: str = ".*"
    ours: str = ".*"
    variants: str = ".*"

    def covers(self, variant: str, difference: Difference) -> bool:
        pairs = (
            (self.variants, variant),
            (self.place, difference.place),
            (self.docker, difference.docker),
            (self.ours, difference.ours),
        )
        return all(re.fullmatch(expression, text, re.DOTALL) for expression, text in pairs)


def differences(docker: Report, ours: Report) -> list[Difference]:
    """Where they are not equal."""
    theirs, own = dict(flat(docker)), dict(flat(ours))
    return [
        Difference(place, theirs.get(place, _ABSENT), own.get(place, _ABSENT))
        for place in dict.fromkeys((*theirs, *own))
        if theirs.get(place) != own.get(place)
    ]


def sort_out(
    variant: str, found: Iterable[Difference], meant: Iterable[Deliberate]
) -> tuple[list[Difference], dict[str, list[Difference]]]:
    """What nobody meant, and what is meant, by its reason."""
    unexpected, deliberate = [], dict[str, list[Difference]]()
    for difference in found:
        reason = next((each.reason for each in meant if each.covers(variant, difference)), None)
        if reason is None:
            unexpected.append(difference)
        else:
            deliberate.setdefault(reason, []).append(difference)
    return unexpected, deliberate


def flat(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Each place of a report (names with `` > `` between), and what it says there, as a text."""
    if isinstance(value, Mapping) and value:
        for name, below in value.items():
            yield from flat(below, f"{place} > {name}" if place else name)
    else:
        yield place, value if isinstance(value, str) else repr(value)
