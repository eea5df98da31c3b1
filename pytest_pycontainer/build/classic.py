"""A build in the words of docker's classic builder, a line at a time."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from pytest_pycontainer.build import progress as events
from pytest_pycontainer.image import digest as digests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class ClassicLines:
    """Turns a build's events into lines for ``report``, and keeps stages apart that are built at once.

    Stages come out in the Dockerfile's order: the lines of a later one wait until those above it have ended. Called
    from several threads; ``report`` is called by one at a time.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._order: deque[int] = deque()
        self._waiting: dict[int, list[events.StageEvent]] = {}

    def __call__(self, event: events.Event) -> None:
        """Takes an event."""
        with self._lock:
            for shown in self._in_order(event):
                for line in _lines(shown):
                    self._report(line)

    def _in_order(self, event: events.Event) -> Iterator[events.Event]:
        if isinstance(event, events.BuildStarted):
            self._order.extend(event.stages)
            self._waiting = {stage: [] for stage in event.stages}
        if not isinstance(event, events.StageEvent):
            yield event
            return
        if event.stage in self._waiting and event.stage != self._order[0]:
            self._waiting[event.stage].append(event)
            return
        yield event
        while isinstance(event, events.StageEnded) and self._order and event.stage == self._order[0]:
            self._waiting.pop(self._order.popleft())
            if not self._order:
                return
            held, self._waiting[self._order[0]] = self._waiting[self._order[0]], []
            yield from held
            event = held[-1] if held else event


def _lines(event: events.Event) -> Iterator[str]:
    match event:
        case events.StepStarted():
            yield f"Step {event.number}/{event.total} : {event.text}"
        case events.TriggersStarted():
            yield f"# Executing {event.count} build trigger{'s' if event.count > 1 else ''}"
        case events.CacheUsed():
            yield " ---> Using cache"
        case events.ContainerStarted():
            yield f" ---> Running in {event.container}"
        case events.OutputLine():
            yield event.text
        case events.ContainerRemoved():
            yield f"Removing intermediate container {event.container}"
        case events.StepEnded(is_trigger=False):
            yield f" ---> {digests.short(event.image)}"
        case events.Warned():
            yield f"[Warning] {event.text}"
        case events.ImageBuilt():
            yield f"Successfully built {digests.short(event.image)}"
        case events.ImageTagged():
            yield f"Successfully tagged {event.name}"
