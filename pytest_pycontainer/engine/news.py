"""Waiting for what is heard of a container and for something else at once."""

from __future__ import annotations

import os
import select
import socket
from contextlib import suppress


class News:
    """Whether there is something new of a container: heard by another thread, or still to be heard."""

    def __init__(self, control: socket.socket, told: int) -> None:
        self._control = control
        self._told = told

    def wait(self, other: int, timeout: float | None) -> None:
        """Returns when there is something new, when ``other`` is readable, or after ``timeout`` seconds."""
        poll = select.poll()
        for descriptor in (other, self._told, self._control.fileno()):
            if descriptor >= 0:
                poll.register(descriptor, select.POLLIN)
        poll.poll(None if timeout is None else timeout * 1000)
        with suppress(BlockingIOError):
            os.eventfd_read(self._told)
