"""The page that draws a run: one file of HTML that needs nothing else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pytest_pycontainer.reporting.recorder import ContainerLife, Step

_PAGE: Final = Path(__file__).with_name("timeline.html")
_DATA: Final = "@RUN@"
_MOMENTS: Final = ("asked", "created", "started", "ready", "removed", "begin", "end")


@dataclass(frozen=True, slots=True)
class TestRun:
    """One test of a run: ``call`` is from when to when its own code ran. Times as the recorder's."""

    id: str
    worker: str
    begin: float
    end: float
    call: tuple[float, float]
    outcome: str


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """What one process of a run has recorded."""

    worker: str
    steps: Sequence[Step]
    containers: Sequence[ContainerLife]


def write_timeline(
    file: Path, project: str, begin: float, end: float, tests: Iterable[TestRun], workers: Iterable[WorkerRecord]
) -> None:
    """Writes the page, in a directory that is made if need be. Raises OSError."""
    workers = list(workers)
    containers = [(life, record.worker) for record in workers for life in record.containers]
    used = Counter(test for life, _ in containers for test in life.tests)
    run = {
        "project": project,
        "epoch": begin,
        "end": _since(begin, end),
        "tests": [
            _relative(asdict(test), begin)
            | {"call": [_since(begin, moment) for moment in test.call], "containers": used[test.id]}
            for test in tests
        ],
        "steps": [
            _relative(asdict(step), begin) | {"worker": record.worker} for record in workers for step in record.steps
        ],
        "containers": [
            _relative(asdict(life), begin)
            | {"worker": worker, "samples": [[_since(begin, at), cpu, memory] for at, cpu, memory in life.samples]}
            for life, worker in containers
        ],
    }
    # In a script element a "<" could end it; JSON has another spelling.
    text = json.dumps(run, separators=(",", ":")).replace("<", "\\u003c")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_PAGE.read_text(encoding="utf-8").replace(_DATA, text), encoding="utf-8")


def _relative(values: dict[str, Any], begin: float) -> dict[str, Any]:
    """With moments counted from the run's beginning; 0 stays what has not come."""
    return values | {name: _since(begin, values[name]) for name in _MOMENTS if values.get(name)}


def _since(begin: float, moment: float) -> float:
    return round(max(0.0, moment - begin), 6)
