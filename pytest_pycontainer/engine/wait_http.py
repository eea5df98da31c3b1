"""Waits for an answer by HTTP, through a connection that need not go through a published port."""

from __future__ import annotations

import http.client
import io
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from pytest_pycontainer.engine.port_arguments import parse_ports
from pytest_pycontainer.engine.readiness import Condition
from pytest_pycontainer.engine.text_match import TextMatch, beginning, in_words, unlike
from pytest_pycontainer.engine.wait_port import connect_to, explain_ports
from pytest_pycontainer.errors import InvalidSpecError, PortNotOpenError, WaitTimeoutError

if TYPE_CHECKING:
    from pytest_pycontainer.engine.container import Container

Status: TypeAlias = int | Collection[int] | Callable[[int], object]
"""A status, some of them (``range(200, 300)``), or a function that says whether one is right."""

_LONGEST_BODY = 1 << 20
_SHOWN = 1000
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0\u0100-\U0010ffff]*")  # RFC 9110, section 5


@dataclass(frozen=True, slots=True)
class HttpWait(Condition):
    """Waits until a server answers a request as is wanted. Redirections are answers, and not followed."""

    path: str
    port: int | None = None
    status: Status = range(200, 400)
    body: TextMatch | None = None
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    tls: bool = False
    verify: bool | str = True
    host: str = "localhost"
    try_seconds: float = 5.0
    timeout: float | None = None

    @property
    def what(self) -> str:
        """See Condition."""
        port = "" if self.port is None else f":{self.port}"
        body = "" if self.body is None else f" and {in_words(self.body)}"
        url = f"{'https' if self.tls else 'http'}://{self.host}{port}{self.path}"
        return f"{self.method} {url} answers {self._wanted()}{body}"

    def look(self, container: Container, seconds: float) -> str | None:
        """See Condition. Raises InvalidSpecError if the port speaks TLS and the request does not."""
        seconds = min(seconds, self.try_seconds)
        try:
            return self._ask(container, seconds)
        except PortNotOpenError:
            return "connection refused"
        except (TimeoutError, WaitTimeoutError):
            return f"no answer within {seconds:.2g} s"
        except (http.client.BadStatusLine, ConnectionResetError) as error:
            self._refuse_tls(container, seconds)
            return f"no HTTP: {beginning(str(error))}"
        except ssl.SSLCertVerificationError as error:
            return f"its certificate is not trusted: {error.verify_message}; see verify, and host"
        except ssl.SSLError as error:
            return f"no TLS there: {error.reason or error}"
        except (OSError, http.client.HTTPException) as error:
            return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()

    def explain(self, container: Container, seen: str) -> str:
        """See Condition."""
        refused = "refused" in seen or "no route" in seen
        return f"{seen}; {explain_ports(container, (self._port_of(container),))}" if refused else seen

    def _ask(self, container: Container, seconds: float) -> str | None:
        deadline = time.monotonic() + seconds
        connection = http.client.HTTPConnection(self.host)
        opened = connect_to(container, self._port_of(container), seconds)
        try:
            if self.tls:
                opened = _tls(self.verify).wrap_socket(opened, server_hostname=self.host)
            connection.sock = _LimitedSocket(opened, deadline)
            connection.request(self.method, self.path, self.content, dict(self.headers))
            response = connection.getresponse()
            if not self._is_wanted(response.status):
                if response.status == http.HTTPStatus.BAD_REQUEST:
                    self._refuse_tls(container, seconds)
                said = response.read1(_SHOWN).decode(errors="replace")
                return f"status {response.status}, and the body {beginning(said)}"
            if self.body is None:
                return None  # it may have no end
            unlike_it = unlike(response.read(_LONGEST_BODY).decode(errors="replace"), self.body)
            return None if unlike_it is None else f"status {response.status}, but the body {unlike_it}"
        finally:
            opened.close()
            connection.close()

    def _refuse_tls(self, container: Container, seconds: float) -> None:
        """Raises InvalidSpecError if the server, which has not understood a request in clear, speaks TLS."""
        if self.tls:
            return
        try:
            with connect_to(container, self._port_of(container), seconds) as opened:
                _tls(verify=False).wrap_socket(opened, server_hostname=self.host).close()
        except (OSError, PortNotOpenError, WaitTimeoutError):
            return
        raise InvalidSpecError("wait", f"wait.http({self.path!r})", "tls=True: that port speaks TLS")

    def _port_of(self, container: Container) -> int:
        """The one that was named, else the only one that is published, or that the image exposes."""
        if self.port is not None:
            return self.port
        published = sorted({port.container_port for port in container.ports if port.protocol == "tcp"})
        exposed = [
            one.container_port for one in parse_ports(container.image.config.exposed_ports) if one.protocol == "tcp"
        ]
        found = published or exposed
        if len(found) != 1:
            have = f"one of {', '.join(map(str, found))}" if found else "there is none"
            wanted = f"the port, as wait.http({self.path!r}, 8080): which one can't be known ({have})"
            raise InvalidSpecError("wait", f"wait.http({self.path!r})", wanted)
        return found[0]

    def _is_wanted(self, status: int) -> bool:
        if isinstance(self.status, int):
            return status == self.status
        return bool(self.status(status)) if callable(self.status) else status in self.status

    def _wanted(self) -> str:
        match self.status:
            case range(start=first, stop=end):
                return f"a status from {first} to {end - 1}"
            case status if callable(status):
                return f"a status that {getattr(status, '__name__', repr(status))} takes"
            case int() as number:
                return str(number)
            case several:
                return f"one of {', '.join(map(str, several))}"


class _LimitedSocket:
    """What ``http.client`` uses of a socket, with one deadline for all: a socket's own timeout is for each piece."""

    def __init__(self, opened: socket.socket, deadline: float) -> None:
        self._opened = opened
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._opened.settimeout(self._left())
        self._opened.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        assert mode == "rb"
        return io.BufferedReader(_Pieces(self._receive))

    def close(self) -> None:
        """Does nothing: ``http.client`` calls it before it reads an answer that ends with the connection."""

    def _receive(self, buffer: memoryview) -> int:
        self._opened.settimeout(self._left())
        return self._opened.recv_into(buffer)

    def _left(self) -> float:
        if (left := self._deadline - time.monotonic()) <= 0:
            raise TimeoutError
        return left


class _Pieces(io.RawIOBase):
    def __init__(self, receive: Callable[[memoryview], int]) -> None:
        self._receive = receive

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._receive(buffer)


def _tls(verify: bool | str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def parse_status(status: Status) -> Status:
    """Raises InvalidSpecError for what is no status that a server can answer with."""
    if callable(status):
        return status
    if isinstance(status, int) and not isinstance(status, bool) and 100 <= status <= 599:
        return status
    several = isinstance(status, Collection) and not isinstance(status, str | bytes) and status
    if several and all(isinstance(one, int) and 100 <= one <= 599 for one in several):
        return several if isinstance(several, range) else tuple(several)
    raise InvalidSpecError("status", repr(status), "a number from 100 to 599, several of them, or a function of one")


def parse_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Raises InvalidSpecError for what no request can have."""
    if not isinstance(headers, Mapping):
        raise InvalidSpecError("headers", repr(headers), "values by name")
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str) or not _HEADER.fullmatch(f"{name}:{value}"):
            raise InvalidSpecError("headers", f"{name!r}: {value!r}", "a name and a text of one line")
    return dict(headers)


def parse_verify(verify: bool | str | os.PathLike[str]) -> bool | str:
    """Whether, or by which file of authorities, a certificate is checked. Raises InvalidSpecError."""
    if isinstance(verify, bool):
        return verify
    path = os.fspath(verify)
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise InvalidSpecError("verify", path, f"True, False or a file of certificates as PEM ({error})") from error
    return path
