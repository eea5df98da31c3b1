"""What a container has written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Final, Literal, Unpack

from pytest_pycontainer.engine.handle import ContainerHandle
from pytest_pycontainer.engine.log import Lines, follow_log, read_log
from pytest_pycontainer.engine.log_selection import LogSelection, Moment, SelectionOptions, select
from pytest_pycontainer.errors import WaitTimeoutError
from pytest_pycontainer.runtime.logs import STDERR, STDOUT, LogEntry

_STREAM_NAMES: Final[Mapping[int, Literal["stdout", "stderr"]]] = {STDOUT: "stdout", STDERR: "stderr"}
_TAIL_LINES = 30
_TAIL_BYTES = 64 << 10


class ContainerOutput(ContainerHandle):
    """The part of ``Container`` that gives what it has written, in all its runs.

    Of the log as much is kept as ``log_opt`` says: 5 files of 20 MiB, unless that is given, of which the oldest goes.
    """

    def logs(
        self,
        *,
        timestamps: bool = False,
        **selection: Unpack[SelectionOptions],
    ) -> str:
        """What it wrote until now, as text (UTF-8); ``tail``: the last lines only.

        ``since`` and ``until`` are times at which it was read, within microseconds of its writing: datetimes, seconds
        since the epoch, timedeltas (so long ago), or docker's texts (``10m``, ``2026-01-31T12:00:00Z``). With
        ``timestamps`` it comes line by line, each with its time before it, as docker writes that.

        Standard output and error come in the order in which they were read, which for what was written to both at the
        same moment may be another than that of writing. Raises InvalidSpecError for what is no time.
        """
        return self.logs_bytes(timestamps=timestamps, **selection).decode(errors="replace")

    def logs_bytes(
        self,
        *,
        timestamps: bool = False,
        **selection: Unpack[SelectionOptions],
    ) -> bytes:
        """As ``logs``, as it wrote it."""
        self._require_present()
        entries = read_log(self._directory, select(**selection))
        if not timestamps:
            return b"".join(entry.data for entry in entries)
        lines = Lines(timestamps=True)
        return b"".join((*lines.of(entries), *lines.rest()))

    def log_tail(self, lines: int = _TAIL_LINES, *, since: Moment | None = None, until: Moment | None = None) -> str:
        """The last ``lines`` of its log, for a message: some 64 KiB of them at most, however long they are.

        ``since`` and ``until`` are as in ``logs``.
        """
        self._require_present()
        selection = replace(select(since=since, until=until, tail=lines), tail_bytes=_TAIL_BYTES)
        entries = read_log(self._directory, selection)
        return b"".join(entry.data for entry in entries).decode(errors="replace")

    def follow(
        self,
        timeout: float | None = None,
        *,
        timestamps: bool = False,
        **selection: Unpack[SelectionOptions],
    ) -> Iterator[str]:
        """The lines that it writes, with their ends, from the start and then as they come, as text.

        It ends when the container has exited and no restart policy starts it again, or at ``until``. Raises
        ContainerNotRunningError if it never ran, InvalidSpecError for what is no time, and WaitTimeoutError, from the
        iteration, after ``timeout`` seconds. Meanwhile the container writes on, however slowly this is read: what has
        been dropped from the log by then is left out.
        """
        self._require_started("follow the log of")
        return (line.decode(errors="replace") for line in self._follow_lines(select(**selection), timestamps, timeout))

    def follow_bytes(
        self,
        timeout: float | None = None,
        *,
        timestamps: bool = False,
        **selection: Unpack[SelectionOptions],
    ) -> Iterator[bytes]:
        """As ``follow``, as it wrote it."""
        self._require_started("follow the log of")
        return self._follow_lines(select(**selection), timestamps, timeout)

    def follow_entries(self, timeout: float | None = None) -> Iterator[list[LogEntry]]:
        """What it writes, from the start, in the pieces in which it was read, until it exits.

        An empty list says that ``timeout`` seconds passed. Raises ContainerNotRunningError.
        """
        self._require_started("follow the log of")
        return follow_log(self._directory, self._connection, LogSelection(), timeout)

    def log_pieces(
        self, *, follow: bool = False, timestamps: bool = False, **selection: Unpack[SelectionOptions]
    ) -> Iterator[tuple[Literal["stdout", "stderr"], bytes]]:
        """What it wrote, each piece with the stream that it wrote to; with ``follow`` also what it writes from now on.

        With ``timestamps`` a piece is a line with its time before it. Otherwise as ``logs`` and ``follow``.
        """
        self._require_present()
        wanted = select(**selection)
        if follow and self._state.runs > 0:
            groups = follow_log(self._directory, self._connection, wanted, None)
        else:
            groups = ([entry] for entry in read_log(self._directory, wanted))
        lines = {stream: Lines(timestamps=True) for stream in _STREAM_NAMES}
        for entry in chain.from_iterable(groups):
            pieces = lines[entry.stream].of([entry]) if timestamps else (entry.data,)
            for piece in pieces:
                yield _STREAM_NAMES[entry.stream], piece
        for stream, name in _STREAM_NAMES.items():
            for piece in lines[stream].rest():
                yield name, piece

    def _follow_lines(self, selection: LogSelection, timestamps: bool, timeout: float | None) -> Iterator[bytes]:
        lines = Lines(timestamps=timestamps)
        for entries in follow_log(self._directory, self._connection, selection, timeout):
            if not entries:
                raise WaitTimeoutError(self.name, "following the log of", timeout or 0.0)
            yield from lines.of(entries)
        yield from lines.rest()
