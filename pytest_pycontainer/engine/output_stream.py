"""Reading what a process writes, while it runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Protocol

from pytest_pycontainer.engine.process_streams import Output
from pytest_pycontainer.errors import WaitTimeoutError


class Source(Protocol):
    """What fills an output's buffer."""

    def take(self, take: Callable[[], bytes | None], timeout: float | None) -> bytes | None:
        """What ``take`` gives, once it gives anything; None after ``timeout`` seconds."""


class OutputStream:
    """Standard output or error of a process, as it comes. Text is UTF-8; what is not, are replacement characters.

    Every call takes a ``timeout`` in seconds and raises WaitTimeoutError after it, with nothing lost: what has come is
    there for the next call. Safe to use from several threads.
    """

    def __init__(self, container: str, streams: Source, output: Output) -> None:
        self._container = container
        self._streams = streams
        self._output = output
        self._searched = 0  # up to here there is no end of a line in the buffer

    def read(self, timeout: float | None = None) -> str:
        """All that is still to come, up to the end."""
        return self.read_bytes(timeout=timeout).decode(errors="replace")

    def read_bytes(self, size: int | None = None, timeout: float | None = None) -> bytes:
        """At most ``size`` bytes, as soon as there are any, or all up to the end; nothing once it has ended."""

        def take() -> bytes | None:
            buffer = self._output.buffer
            if self._output.ended or (size is not None and buffer):
                return self._take(len(buffer) if size is None else size)
            return None

        return self._await("reading the output of a process in", take, timeout)

    def readline(self, timeout: float | None = None) -> str:
        """The next line with its end; the last one may have none, and after that it is empty."""
        return self.readline_bytes(timeout).decode(errors="replace")

    def readline_bytes(self, timeout: float | None = None) -> bytes:
        """As ``readline``, as it was written."""

        def take() -> bytes | None:
            buffer = self._output.buffer
            end = buffer.find(b"\n", self._searched)
            if end >= 0:
                return self._take(end + 1)
            self._searched = len(buffer)
            return self._take(len(buffer)) if self._output.ended else None

        return self._await("waiting for a line from a process in", take, timeout)

    def read_until(self, pattern: str, timeout: float | None = None) -> str:
        """What comes up to the end of the first match of ``pattern``, a regular expression (as ``re.search``).

        Raises EOFError if the output ends without one; what has come is there for the next call then, too.
        """
        wanted = re.compile(pattern.encode())

        def take() -> bytes | None:
            buffer = self._output.buffer
            if found := wanted.search(buffer):
                return self._take(found.end())
            if self._output.ended:
                raise EOFError(
                    f"the output ended without {pattern!r}: {bytes(buffer[-2000:]).decode(errors='replace')}"
                )
            return None

        return self._await(f"waiting for {pattern!r} from a process in", take, timeout).decode(errors="replace")

    def __iter__(self) -> Iterator[str]:
        """The lines, with their ends, as they come; without a time limit."""
        return self.lines()

    def lines(self, timeout: float | None = None) -> Iterator[str]:
        """The lines, with their ends, as they come. ``timeout`` is that of each."""
        while line := self.readline(timeout):
            yield line

    def _take(self, size: int) -> bytes:
        taken = bytes(self._output.buffer[:size])
        del self._output.buffer[:size]
        self._searched = 0
        return taken

    def _await(self, doing: str, take: Callable[[], bytes | None], timeout: float | None) -> bytes:
        taken = self._streams.take(take, timeout)
        if taken is None:
            raise WaitTimeoutError(self._container, doing, timeout or 0.0)
        return taken
