"""``LastLook``: a container as it was when it was removed."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_pycontainer.engine.container_health import Health
from pytest_pycontainer.engine.log import LastLines
from pytest_pycontainer.engine.log_selection import Moment, select
from pytest_pycontainer.runtime import logs

if TYPE_CHECKING:
    from pytest_pycontainer.engine.container import Container

_TAIL_BYTES = 64 << 10


class LastLook:
    """What can be told of a container after it has gone, kept at the price of a few system calls; to be closed.

    It is what this process has heard of the container until now, and the newest file of its log, which stays readable.
    The attributes are as the container's.
    """

    def __init__(self, container: Container) -> None:
        self._state = container._connection.state
        self._health_of = container._health_of
        self.container = container
        self.ports = container._published()
        self.networks = container.networks
        self.status = self._state.status
        self.error = self._state.error
        self.out_of_memory = self._state.out_of_memory
        self.exit_code = self._state.exit_code if self.status == "exited" or self.error else None
        self._file = -1
        with suppress(FileNotFoundError):
            if numbers := logs.file_numbers(container._directory):
                self._file = logs.open_file(container._directory, numbers[-1])

    def close(self) -> None:
        """Lets go of the log; closing it again is no error."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    @property
    def health(self) -> Health:
        """What its health check had found."""
        return self._health_of(self._state)

    def log_tail(self, lines: int, *, since: Moment | None = None, until: Moment | None = None) -> str:
        """The last ``lines`` of that file."""
        selection = replace(select(since=since, until=until, tail=lines), tail_bytes=_TAIL_BYTES)
        last = LastLines(lines, _TAIL_BYTES)
        if self._file >= 0:
            last.read(self._file, selection)
        return b"".join(entry.data for entry in last.cut()).decode(errors="replace")
