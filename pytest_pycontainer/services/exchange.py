"""A wait for a server's answer in its own protocol: that its port is open says little of some."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from pytest_pycontainer.engine.container import Container
from pytest_pycontainer.engine.readiness import Condition
from pytest_pycontainer.engine.wait_port import connect_to, explain_ports
from pytest_pycontainer.errors import PortNotOpenError, WaitTimeoutError

# One that is still starting may leave a connection without an answer.
_ANSWER_SECONDS = 5.0
_LONGEST_ANSWER = 1 << 16
_LONGEST_QUOTE = 200


@dataclass(frozen=True, slots=True)
class Exchange(Condition):
    """Waits until the server at ``port``, when it is sent ``request``, sends what ``answer`` is found in.

    Before that it may refuse connections, end them, or say something else.
    """

    port: int
    request: bytes
    answer: re.Pattern[bytes]

    @property
    def what(self) -> str:
        """See Condition."""
        return f"the server at port {self.port} answers as one that is ready"

    def look(self, container: Container, seconds: float) -> str | None:
        """See Condition."""
        deadline = time.monotonic() + min(seconds, _ANSWER_SECONDS)
        said, problem = b"", ""
        try:
            with connect_to(container, self.port, min(seconds, _ANSWER_SECONDS)) as connection:
                connection.sendall(self.request)
                while not self.answer.search(said) and len(said) < _LONGEST_ANSWER:
                    connection.settimeout(max(deadline - time.monotonic(), 0.001))
                    piece = connection.recv(1 << 12)
                    if not piece:
                        break
                    said += piece
        except PortNotOpenError:
            problem = "connection refused"
        except WaitTimeoutError:
            problem = "no answer"
        except OSError as error:
            problem = (error.strerror or str(error)).lower()
        if self.answer.search(said):
            return None
        return f"it said {said[:_LONGEST_QUOTE]!r}" if said else problem or "it ended the connection"

    def explain(self, container: Container, seen: str) -> str:
        """See Condition."""
        return seen if seen.startswith("it ") else f"{seen}; {explain_ports(container, (self.port,))}"
