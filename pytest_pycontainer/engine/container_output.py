"""What a container has written."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_pycontainer.engine.handle import ContainerHandle
from pytest_pycontainer.engine.log import follow_log, read_last_lines, read_log
from pytest_pycontainer.runtime import logs
from pytest_pycontainer.runtime.logs import LogEntry

_TAIL_LINES = 30


class ContainerOutput(ContainerHandle):
    """The part of ``Container`` that gives what it has written."""

    def logs(self, *, stdout: bool = True, stderr: bool = True, tail: int | None = None) -> str:
        """What it wrote until now, as text (UTF-8); ``tail``: the last lines only.

        Standard output and error come in the order in which they were read, which for what was written to both at the
        same moment may be another than that of writing.
        """
        return self.logs_bytes(stdout=stdout, stderr=stderr, tail=tail).decode(errors="replace")

    def logs_bytes(self, *, stdout: bool = True, stderr: bool = True, tail: int | None = None) -> bytes:
        """What it wrote until now, as it wrote it."""
        self._require_present()
        streams = [stream for stream, wanted in ((logs.STDOUT, stdout), (logs.STDERR, stderr)) if wanted]
        if tail is None:
            return read_log(self._directory, streams)
        return read_last_lines(self._directory, streams, tail)

    def log_tail(self) -> str:
        """The last lines of its log, for an error's message."""
        return self.logs(tail=_TAIL_LINES)

    def follow(self, timeout: float | None = None) -> Iterator[list[LogEntry]]:
        """What it writes, from the start, as it comes, until it exits; an empty list says that ``timeout`` s passed."""
        self._require_started("follow the log of")
        return follow_log(self._directory, self._connection, timeout)
