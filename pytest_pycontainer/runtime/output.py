"""What a container's command writes, on its way through the monitor into the log."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from pytest_pycontainer.runtime import logs
from pytest_pycontainer.runtime.event_loop import EventLoop
from pytest_pycontainer.runtime.spec import LogLimits


class Output:
    """One container's log, and the descriptors of the run that writes to it."""

    def __init__(self, loop: EventLoop, directory: str) -> None:
        self._loop = loop
        self._sources: dict[int, int] = {}
        self._log = logs.LogWriter(directory, LogLimits())

    @property
    def position(self) -> logs.LogPosition:
        """Where in the log comes next what is read from now on."""
        return self._log.position

    def limit(self, limits: LogLimits) -> None:
        """Says how much of the log is kept."""
        self._log.limits = limits

    def follow(self, source: int, stream: int) -> None:
        """Logs what can be read from this descriptor, from now to the end of the run; it is this object's now."""
        self._sources[source] = stream
        self._loop.watch(source, lambda: self._pump(source))

    def _pump(self, source: int) -> None:
        with suppress(BlockingIOError):
            if not self._copy(source):
                self._loop.unwatch(source)

    def _copy(self, source: int) -> bool:
        """Logs what is there, as much as goes at once; False at the end."""
        try:
            data = os.read(source, logs.DATA_AT_MOST)
        except OSError as error:
            if error.errno != errno.EIO:  # what a terminal says that nobody has open on its other side
                raise
            return False
        if data:
            with suppress(OSError):  # a full disk costs the log, not the container
                self._log.append(self._sources[source], data)
        return bool(data)

    def finish_run(self) -> None:
        """Logs what is still there to be read: nobody in the container is left to write."""
        for source in self._sources:
            self._loop.unwatch(source)
            os.set_blocking(source, False)
            # Where that fails the other end was handed out of the container; what comes now is not its output.
            with suppress(BlockingIOError):
                while self._copy(source):
                    pass
            os.close(source)
        self._sources = {}
