"""The slowest of what was done for containers, as a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_pycontainer.reporting.recorder import Step


def duration_lines(steps: Iterable[Step], most: int) -> Iterator[str]:
    """A line for each of the ``most`` slowest (0: all): how long, what, and which fixture or test it was for."""
    ordered = sorted(steps, key=lambda step: step.seconds, reverse=True)
    for step in ordered[: most or None]:
        failed = " (in vain)" if step.failed else ""
        reason = step.fixture or step.test
        yield f"{step.seconds:8.3f}s {step.kind:<5} {step.subject}{failed}" + (f"  ({reason})" if reason else "")
