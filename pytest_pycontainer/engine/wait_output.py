"""Waits for what a container writes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_pycontainer.engine.readiness import Condition, exited, not_ready
from pytest_pycontainer.runtime.logs import STDERR, STDOUT

if TYPE_CHECKING:
    from pytest_pycontainer.engine.container import Container

_SHOWN = 200


@dataclass(frozen=True, slots=True)
class LogWait(Condition):
    """Waits until the log holds ``pattern`` (a regular expression, searched line by line) ``times`` times.

    Of one ``stream``, ``stdout`` or ``stderr``, or of both.
    """

    pattern: re.Pattern[str]
    times: int = 1
    stream: str | None = None
    timeout: float | None = None

    @property
    def what(self) -> str:
        """See Condition."""
        times = f" {self.times} times" if self.times > 1 else ""
        return f"its log has {self.pattern.pattern!r}{times}" + (f" in {self.stream}" if self.stream else "")

    def look(self, container: Container, seconds: float) -> str | None:
        """See Condition."""
        del seconds  # it is on disk
        found, last = 0, b""
        for stream in self._streams():
            log = container.logs_bytes(stdout=stream == STDOUT, stderr=stream == STDERR)
            lines = log.split(b"\n")
            found += sum(map(self._matches, lines))
            last = next((line for line in reversed(lines) if line), last)
        return None if found >= self.times else self._seen_lines(found, last)

    def within(self, container: Container, seconds: float) -> None:
        """See Condition. What is written is told of, and not asked for."""
        rest: dict[int, bytes] = dict.fromkeys(self._streams(), b"")
        found, last = 0, b""
        for entries in container.follow_entries(seconds):
            if not entries:
                seen = self._seen_lines(found, next(filter(None, rest.values()), last))
                raise not_ready(container, self.what, seconds, seen)
            for entry in entries:
                if entry.stream not in rest:
                    continue
                *whole, rest[entry.stream] = (rest[entry.stream] + entry.data).split(b"\n")
                found += self._count(whole)
                last = whole[-1] if whole else last
            # A last line may be a prompt that never ends: it counts too, but stays to be completed.
            if found + self._count(rest.values()) >= self.times:
                return
        raise exited(container, self.what)

    def _streams(self) -> tuple[int, ...]:
        return {"stdout": (STDOUT,), "stderr": (STDERR,)}.get(self.stream or "", (STDOUT, STDERR))

    def _count(self, lines: Iterable[bytes]) -> int:
        return sum(map(self._matches, lines))

    def _matches(self, line: bytes) -> bool:
        return self.pattern.search(line.decode(errors="replace")) is not None

    def _seen_lines(self, found: int, last: bytes) -> str:
        if not last:
            return "nothing was written" + (f" to {self.stream}" if self.stream else "")
        times = f"{found} of {self.times} times; " if self.times > 1 else ""
        return f"{times}the last line {last.decode(errors='replace')[:_SHOWN]!r}"
