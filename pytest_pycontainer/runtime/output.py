"""What a container's command writes, on its way through the monitor into the log."""

from __future__ import annotations

import os
from contextlib import suppress

from pytest_pycontainer.runtime import logs
from pytest_pycontainer.runtime.event_loop import EventLoop

_READ_SIZE = 256 * 1024


class Output:
    """One container's log, and the pipes of the run that writes to it."""

    def __init__(self, loop: EventLoop, directory: str) -> None:
        self._loop = loop
        self._pipes: dict[int, int] = {}
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._log = os.open(os.path.join(directory, logs.FILE_NAME), flags, 0o600)

    def follow(self, stdout: int, stderr: int) -> None:
        """Logs what comes out of these pipes from now on; they are this object's now."""
        self._pipes = {stdout: logs.STDOUT, stderr: logs.STDERR}
        for pipe in self._pipes:
            self._watch(pipe)

    def _watch(self, pipe: int) -> None:
        self._loop.watch(pipe, lambda: self._pump(pipe))

    def _pump(self, pipe: int) -> None:
        if data := os.read(pipe, _READ_SIZE):
            self._write(pipe, data)
        else:
            self._loop.unwatch(pipe)

    def _write(self, pipe: int, data: bytes) -> None:
        with suppress(OSError):  # a full disk costs the log, not the container
            logs.append(self._log, self._pipes[pipe], data)

    def finish_run(self) -> None:
        """Logs what is still in the pipes: nobody in the container is left to write."""
        for pipe in self._pipes:
            self._loop.unwatch(pipe)
            os.set_blocking(pipe, False)
            # Where that fails the other end was handed out of the container; what comes now is not its output.
            with suppress(BlockingIOError):
                while data := os.read(pipe, _READ_SIZE):
                    self._write(pipe, data)
            os.close(pipe)
        self._pipes = {}
