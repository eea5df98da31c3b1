"""A wait for a server's answer in its own protocol: that its port is open says little of some."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass

from pytest_pycontainer.engine.container import Container
from pytest_pycontainer.errors import (
    ContainerExitedError,
    ContainerNotReadyError,
    ContainerNotRunningError,
    PortNotOpenError,
    PortNotPublishedError,
    WaitTimeoutError,
)

# Nothing tells of a server that begins to answer: it is asked quickly while a quick one would start, then less often.
_SHORTEST_PAUSE = 0.0005
_LONGEST_PAUSE = 0.05
_ANSWER_SECONDS = 5.0
_LONGEST_ANSWER = 1 << 16
_LONGEST_QUOTE = 200


@dataclass(frozen=True, slots=True)
class Exchange:
    """Waits until the server at ``port``, when it is sent ``request``, sends what ``answer`` is found in.

    Before that it may refuse connections, end them, or say something else. What it said last is in the error.
    """

    port: int
    request: bytes
    answer: re.Pattern[bytes]

    def until_ready(self, container: Container, timeout: float) -> None:
        """See Wait."""
        begin = time.monotonic()
        deadline = begin + timeout
        what, said = f"the server at port {self.port} answers", b""
        while True:
            answer = self._ask(container, min(_ANSWER_SECONDS, max(0.001, deadline - time.monotonic())))
            if self.answer.search(answer):
                return
            said = answer or said
            pause = min(max((time.monotonic() - begin) / 10, _SHORTEST_PAUSE), _LONGEST_PAUSE)
            if container.exited_within(pause):
                raise ContainerExitedError(
                    container.name, what, container.exit_code or 0, container.log_tail(), container.out_of_memory
                )
            if time.monotonic() > deadline:
                what += f" (it said {said[:_LONGEST_QUOTE]!r})" if said else ""
                raise ContainerNotReadyError(container.name, what, timeout, container.log_tail())

    def _ask(self, container: Container, seconds: float) -> bytes:
        """What it says until that is enough, or the connection's end."""
        said = b""
        try:
            with _connect(container, self.port, seconds) as connection:
                connection.sendall(self.request)
                while not self.answer.search(said) and len(said) < _LONGEST_ANSWER:
                    piece = connection.recv(1 << 12)
                    if not piece:
                        break
                    said += piece
        except (OSError, PortNotOpenError, WaitTimeoutError, ContainerNotRunningError):
            pass
        return said


def _connect(container: Container, port: int, seconds: float) -> socket.socket:
    try:
        address = container.address(port)
    except PortNotPublishedError:
        return container.connect(port, timeout=seconds)
    return socket.create_connection(address, seconds)
