"""What a step prints: passed on line by line, the end of it kept for the error."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LINES_KEPT = 50


class StepOutput:
    """Takes output in pieces and hands whole lines to ``report``."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._unfinished = ""
        self._last: deque[str] = deque(maxlen=_LINES_KEPT)

    def feed(self, text: str) -> None:
        """Takes a piece."""
        *lines, self._unfinished = (self._unfinished + text).split("\n")
        for line in lines:
            self._take(line)

    def finish(self) -> None:
        """Says that the step has ended: what it left without a newline is a line too."""
        if self._unfinished:
            self._take(self._unfinished)
            self._unfinished = ""

    @property
    def tail(self) -> str:
        """The last fifty lines."""
        return "\n".join(self._last)

    def _take(self, line: str) -> None:
        line = line.removesuffix("\r")
        self._last.append(line)
        self._report(line)
