"""HTTP as registries speak it: one request, one response, with TLS, proxies and time limits; no policy.

``Transport`` is the seam: whatever sends a ``Request`` can stand in for the network.
"""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from pytest_pycontainer.errors import RegistryAnswerError, RegistryCertificateError, RegistryUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

_CONNECT_SECONDS: Final = 10.0
_SILENCE_SECONDS: Final = 30.0
"""Longest that a server may take between two pieces of an answer."""
_CONNECTIONS: Final = 8
_CHUNK: Final = 256 << 10
_DRAINED_AT_MOST: Final = 64 << 10
_LOCAL_NAMES: Final = ("localhost", "localhost.localdomain")
_HTTPS_PORT: Final = 443
_AGENT: Final = "pytest-pycontainer"


@dataclass(frozen=True, slots=True)
class Tls:
    """How to speak TLS with one host: the authority to trust instead of the system's, and who we are; PEM files."""

    ca: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A request, with all that is needed to send it again. ``doing`` says in errors what it is for."""

    method: str
    url: str
    doing: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)


class Response(Protocol):
    """An answer whose body is still to be read; a context manager, which lets go of the connection."""

    @property
    def status(self) -> int: ...

    @property
    def url(self) -> str:
        """Where it came from."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Names compare without regard to case."""

    def read(self, at_most: int) -> bytes:
        """The body. Raises RegistryAnswerError for one longer than ``at_most`` bytes."""

    def stream(self) -> Iterator[bytes]:
        """The body, piece by piece, as it was sent. Raises RegistryUnavailableError if it breaks off."""

    def __enter__(self) -> Response: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Transport(Protocol):
    """What sends requests. May be used by several threads."""

    def send(self, request: Request) -> Response:
        """Sends ``request`` once; any answer is a Response, a redirect or a failure too.

        Raises RegistryUnavailableError for no answer, RegistryCertificateError for a failed TLS handshake.
        """


def host_of(url: str) -> str:
    """Host and, if one is named, port."""
    return urlsplit(url).netloc.rpartition("@")[2]


def is_loopback(host: str) -> bool:
    """Whether ``host``, with or without a port, is this machine's own loopback."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name in _LOCAL_NAMES


class HttpTransport:
    """``Transport`` over the network, keeping connections open. A context manager.

    ``tls`` goes by host (``registry.test:5000``); a client certificate is shown to its own host alone. Proxies, which
    loopback addresses do without, and ``REQUESTS_CA_BUNDLE`` come from the environment.
    """

    def __init__(self, tls: Mapping[str, Tls] | None = None) -> None:
        self._tls = tls or {}
        self._session = requests.Session()
        self._adapter = adapter = HTTPAdapter(pool_connections=_CONNECTIONS, pool_maxsize=_CONNECTIONS, max_retries=0)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, adapter)
        # Else requests would put ~/.netrc's password in the place of ours.
        self._session.auth = _unchanged

    def __enter__(self) -> HttpTransport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes idle connections."""
        # By hand: urllib3 waits until a pool is collected, and the traceback of an error can keep it for long.
        for manager in (self._adapter.poolmanager, *self._adapter.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118  (no mapping that can be iterated)
                if pool := manager.pools.get(key):
                    pool.close()
        self._session.close()

    def send(self, request: Request) -> Response:
        host = host_of(request.url)
        tls = self._tls.get(host, Tls())
        certificate = tuple(str(file) for file in (tls.client_certificate, tls.client_key) if file)
        with _explaining(request):
            answer = self._session.request(
                request.method,
                request.url,
                # A body must arrive as it is: its digest is that of the bytes that were sent.
                headers={"Accept-Encoding": "identity", "User-Agent": _AGENT, **request.headers},
                data=request.body or None,
                timeout=(_CONNECT_SECONDS, _SILENCE_SECONDS),
                allow_redirects=False,
                stream=True,
                verify=str(tls.ca) if tls.ca else True,
                # No proxy can reach it; Docker does not ask one either.
                proxies={"no_proxy": urlsplit(request.url).hostname or ""} if is_loopback(host) else None,
                cert=(certificate[0], certificate[-1]) if certificate else None,
            )
        # A server that compresses all the same is not to be undone either.
        answer.raw.headers.pop("Content-Encoding", None)
        return _HttpResponse(request, answer)


class _HttpResponse:
    def __init__(self, request: Request, answer: requests.Response) -> None:
        self._request = request
        self._answer = answer
        self.status: int = answer.status_code
        self.url: str = answer.url
        self.headers: Mapping[str, str] = answer.headers

    def read(self, at_most: int) -> bytes:
        content = bytearray()
        for piece in self.stream():
            content += piece
            if len(content) > at_most:
                detail = f"its answer is longer than {at_most} bytes"
                raise RegistryAnswerError(host_of(self.url), self._request.doing, detail)
        return bytes(content)

    def stream(self) -> Iterator[bytes]:
        with _explaining(self._request):
            yield from self._answer.iter_content(_CHUNK)

    def __enter__(self) -> _HttpResponse:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._request.method == "HEAD" or self._left_at_most() <= _DRAINED_AT_MOST:
            self._answer.raw.drain_conn()  # else the connection could not be used again
        self._answer.close()

    def _left_at_most(self) -> float:
        length = self.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else float("inf")


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


@contextmanager
def _explaining(request: Request) -> Iterator[None]:
    """Turns requests' errors of its block into ours."""
    host = host_of(request.url)
    try:
        yield
    except requests.exceptions.SSLError as problem:
        reason = _cause(problem)
        if isinstance(reason, ssl.SSLCertVerificationError):
            detail, fingerprint = reason.verify_message, _fingerprint(request.url)
        else:
            detail, fingerprint = str(getattr(reason, "reason", None) or reason).lower().replace("_", " "), None
        raise RegistryCertificateError(host, request.doing, detail, fingerprint) from problem
    except requests.exceptions.Timeout as problem:
        detail = f"no answer within {_SILENCE_SECONDS:g} s (no connection within {_CONNECT_SECONDS:g} s)"
        raise RegistryUnavailableError(host, request.doing, detail) from problem
    except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError) as problem:
        raise RegistryUnavailableError(host, request.doing, str(_cause(problem))) from problem
    except (requests.exceptions.RequestException, OSError) as problem:
        # A certificate file that is not there, an address that can't be one.
        raise RegistryAnswerError(host, request.doing, str(problem)) from problem


def _cause(problem: BaseException) -> BaseException:
    """The first error of a chain: the system's own words, which requests and urllib3 wrap several times."""
    while True:
        wrapped = next((item for item in problem.args if isinstance(item, BaseException)), None)
        inner = getattr(problem, "reason", None)
        deeper = inner if isinstance(inner, BaseException) else wrapped or problem.__cause__
        if deeper is None:
            return problem
        problem = deeper


def _fingerprint(url: str) -> str | None:
    """That of the certificate which the server of ``url`` shows; None if it shows none this time, or not directly."""
    address = urlsplit(url)
    try:
        shown = ssl.get_server_certificate(
            (address.hostname or "", address.port or _HTTPS_PORT), timeout=_CONNECT_SECONDS
        )
    except OSError:
        return None
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(shown)).hexdigest().upper()
    return ":".join(digest[place : place + 2] for place in range(0, len(digest), 2))
