"""Waits for an answer by HTTP, through a connection that need not go through a published port."""

from __future__ import annotations

import http.client
import os
import ssl
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from pytest_pycontainer.engine.port_arguments import Port, parse_ports
from pytest_pycontainer.engine.readiness import Condition
from pytest_pycontainer.engine.text_match import TextMatch, beginning, in_words, is_like
from pytest_pycontainer.engine.wait_port import connect_to, explain_ports
from pytest_pycontainer.errors import InvalidSpecError, PortNotOpenError, WaitTimeoutError

if TYPE_CHECKING:
    from pytest_pycontainer.engine.container import Container

Status: TypeAlias = int | Collection[int] | Callable[[int], object]
"""A status, some of them (``range(200, 300)``), or a function that says whether one is right."""

_LONGEST_BODY = 1 << 20


@dataclass(frozen=True, slots=True)
class HttpWait(Condition):
    """Waits until a server answers a request as is wanted. Redirections are answers, and not followed."""

    path: str
    port: Port | None = None
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
            status, body = self._ask(container, seconds)
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
        if not self._is_wanted(status):
            if status == http.HTTPStatus.BAD_REQUEST:
                self._refuse_tls(container, seconds)
            return f"status {status}, and the body {beginning(body)}"
        return None if is_like(body, self.body) else f"status {status}, but the body {beginning(body)}"

    def explain(self, container: Container, seen: str) -> str:
        """See Condition."""
        refused = "refused" in seen or "no route" in seen
        return f"{seen}; {explain_ports(container, (self._port_of(container),))}" if refused else seen

    def _ask(self, container: Container, seconds: float) -> tuple[int, str]:
        port = self._port_of(container)
        connection = http.client.HTTPConnection(self.host, timeout=seconds)
        opened = connect_to(container, port, seconds)
        try:
            if self.tls:
                opened = _tls(self.verify).wrap_socket(opened, server_hostname=self.host)
            connection.sock = opened
            connection.request(self.method, self.path, self.content, dict(self.headers))
            response = connection.getresponse()
            return response.status, response.read(_LONGEST_BODY).decode(errors="replace")
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

    def _port_of(self, container: Container) -> Port:
        """The one that was named, else the only one that is published, or that the image exposes."""
        if self.port is not None:
            return self.port
        published = sorted({port for _, _, port, protocol in container._published() if protocol == "tcp"})
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
