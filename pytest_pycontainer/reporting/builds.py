"""Builds on a terminal: what each stage is doing, since when, and what it printed last."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from rich.text import Text

from pytest_pycontainer.build import progress as events
from pytest_pycontainer.reporting.live_view import LiveView, Row

_LINES_SHOWN: Final = 4
"""Of a running step's output."""

_LINES_KEPT: Final = 20
"""Of a failed step's output."""


class BuildSteps:
    """Builds in a live view. Safe to use from several threads."""

    def __init__(self, view: LiveView) -> None:
        self._builds_view = view

    @contextmanager
    def building(self, name: str) -> Iterator[events.Progress]:
        """As BuildDisplay has it."""
        build = Build(name, time.monotonic)
        with self._builds_view.showing(build):
            yield build.note


class _State(Enum):
    RUNNING = "running"
    CACHED = "cached"
    DONE = "done"
    FAILED = "failed"


_RANKS: Final = {_State.FAILED: 0, _State.RUNNING: 0, _State.DONE: 1, _State.CACHED: 2}


@dataclass(slots=True)
class _Step:
    stage: str
    event: events.StepStarted
    begun: float
    took: float = 0.0
    state: _State = _State.RUNNING
    is_cached: bool = False
    output: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES_KEPT))


class Build:
    """One build's news. ``note`` is called by its threads, ``rows`` by the one that draws."""

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self.over = False
        self._name = name
        self._clock = clock
        self._begun = clock()
        self._lock = threading.Lock()
        self._names: dict[int, str] = {}
        self._steps: dict[int, _Step] = {}
        self._current: dict[int, _Step] = {}
        self._warnings: list[str] = []
        self._is_built = False

    def note(self, event: events.Event) -> None:
        """Takes an event."""
        with self._lock:
            match event:
                case events.BuildStarted():
                    self._names = dict(zip(event.stages, event.names, strict=True))
                case events.StepStarted():
                    name = self._names.get(event.stage, str(event.stage))
                    step = _Step(name, event, self._clock())
                    self._steps[event.number] = self._current[event.stage] = step
                case events.Warned():
                    self._warnings.append(event.text)
                case events.ImageBuilt():
                    self._is_built = True
                case events.StageEnded():
                    self._current.pop(event.stage, None)
                case events.StageEvent() if event.stage in self._current:
                    self._note_step(self._current[event.stage], event)

    def _note_step(self, step: _Step, event: events.StageEvent) -> None:
        match event:
            case events.CacheUsed():
                step.is_cached = True
            case events.ContainerStarted():
                step.is_cached = False
            case events.OutputLine():
                step.output.append(event.text)
            case events.StepEnded(is_trigger=False):
                self._end(step, _State.CACHED if step.is_cached else _State.DONE)
            case events.StepFailed():
                self._end(step, _State.FAILED)

    def _end(self, step: _Step, state: _State) -> None:
        step.state = state
        step.took = self._clock() - step.begun

    def rows(self, width: int) -> Iterator[Row]:
        """As Section has it: at the end a line for all, and a failed step with what it printed."""
        with self._lock:
            steps = [step for _, step in sorted(self._steps.items())]
            yield Row(self._heading(steps))
            yield from (Row(Text(f"[Warning] {text}", "yellow")) for text in self._warnings)
            for step in steps:
                if self.over and step.state is not _State.FAILED:
                    continue
                yield Row(self._line(step, width), _RANKS[step.state], step.state.value)
                shown = {_State.RUNNING: _LINES_SHOWN, _State.FAILED: _LINES_KEPT}.get(step.state, 0)
                for text in list(step.output)[-shown:] if shown else ():
                    yield Row(Text("    ").append(_printable(text), "dim"), _RANKS[step.state])

    def _heading(self, steps: list[_Step]) -> Text:
        total = steps[0].event.total if steps else 0
        ended = sum(step.state in (_State.DONE, _State.CACHED) for step in steps)
        cached = sum(step.state is _State.CACHED for step in steps)
        failed = any(step.state is _State.FAILED for step in steps)
        word = "Building"
        if self.over:
            word = "Built" if self._is_built else "Failed to build" if failed else "Gave up building"
        line = Text(f"{word} ", "red" if self.over and not self._is_built else "").append(self._name, "bold")
        return line.append(f": {ended} of {total} steps, {cached} cached, {_seconds(self._clock() - self._begun)}")

    def _line(self, step: _Step, width: int) -> Text:
        event = step.event
        left = Text(f" [{step.stage} {event.number}/{event.total}] {_printable(event.text.splitlines()[0])}")
        if step.state is _State.CACHED:
            right = Text("cached", "green")
        elif step.state is _State.DONE:
            right = Text(_seconds(step.took), "green")
        elif step.state is _State.FAILED:
            right = Text(f"failed after {_seconds(step.took)}", "red")
        else:
            right = Text(_seconds(self._clock() - step.begun), "cyan")
        if self.over:
            return left.append(" ").append_text(right)
        left.truncate(max(0, width - len(right) - 2), overflow="ellipsis")
        left.pad_right(max(1, width - len(right) - 1 - left.cell_len))
        return left.append_text(right)


def _printable(text: str) -> str:
    """Without what would move the cursor: a step may print anything."""
    return "".join(letter if letter.isprintable() else " " for letter in text.expandtabs(8))


def _seconds(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02}s"
