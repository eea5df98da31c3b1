"""HTTP as registries speak it: one request, one response, with TLS, proxies and time limits; no policy.

``Transport`` is the seam: whatever sends a ``Request`` can stand in for the network.
"""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPSConnection

from pytest_pycontainer.errors import ProxyError, RegistryAnswerError
from pytest_pycontainer.registry.addresses import host_of
from pytest_pycontainer.registry.certificates import Certificates
from pytest_pycontainer.registry.failures import CONNECT_SECONDS, SILENCE_SECONDS, explaining
from pytest_pycontainer.registry.proxies import proxy_for, without_user

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

_CONNECTIONS: Final = 8
_CHUNK: Final = 256 << 10
_DRAINED_AT_MOST: Final = 64 << 10
_PROXY_WANTS_PASSWORD: Final = 407
_AGENT: Final = "pytest-pycontainer"


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

        Raises RegistryUnavailableError for no answer, RegistryCertificateError for a failed TLS handshake, ProxyError,
        and CertificateFileError.
        """


class HttpTransport:
    """``Transport`` over the network, keeping connections open. A context manager.

    Each host gets its own ``certificates``, and its client certificate is shown to no other. With those in
    ``unverified`` (``registry.test:5000``) any certificate will do. ``proxy`` is used in place of the environment's.
    """

    def __init__(
        self,
        certificates: Certificates | None = None,
        *,
        unverified: frozenset[str] = frozenset(),
        proxy: str | None = None,
    ) -> None:
        self._certificates = certificates or Certificates()
        self._unverified = unverified
        self._proxy = proxy
        self._lock = threading.Lock()
        self._sessions: dict[str, _Session] = {}

    def __enter__(self) -> HttpTransport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes idle connections."""
        with self._lock:
            for session in self._sessions.values():
                session.close()
            self._sessions.clear()

    def send(self, request: Request) -> Response:
        host = host_of(request.url)
        session = self._session(urlsplit(request.url).scheme, host.lower())
        proxy = proxy_for(request.url, self._proxy)
        with explaining(request, proxy):
            answer = session.request(
                request.method,
                request.url,
                # A body must arrive as it is: its digest is that of the bytes that were sent.
                headers={"Accept-Encoding": "identity", "User-Agent": _AGENT, **request.headers},
                data=request.body or None,
                timeout=(CONNECT_SECONDS, SILENCE_SECONDS),
                allow_redirects=False,
                stream=True,
                verify=session.is_verified,
                proxies={"all": proxy} if proxy else None,
            )
        if proxy and answer.status_code == _PROXY_WANTS_PASSWORD:
            answer.close()
            raise ProxyError(host, request.doing, without_user(proxy), "it wants a user and password, or others")
        # A server that compresses all the same is not to be undone either.
        answer.raw.headers.pop("Content-Encoding", None)
        return _HttpResponse(request, answer, proxy)

    def _session(self, scheme: str, host: str) -> _Session:
        """The session for ``host``; without TLS all have one. Raises CertificateFileError."""
        if scheme != "https":
            host = ""
        with self._lock:
            if host not in self._sessions:
                is_verified = host not in self._unverified
                if not host:
                    context = None
                elif is_verified:
                    context = self._certificates.context(host)
                else:
                    context = self._certificates.unverified_context(host)
                self._sessions[host] = _Session(context, is_verified)
            return self._sessions[host]


class _Session(requests.Session):
    """Connections that use one TLS context."""

    def __init__(self, context: ssl.SSLContext | None, is_verified: bool) -> None:
        super().__init__()
        self.is_verified = is_verified
        # Else requests would put ~/.netrc's password in the place of ours, and the environment's proxy.
        self.trust_env = False
        self._adapter = _TlsAdapter(context)
        for scheme in ("http://", "https://"):
            self.mount(scheme, self._adapter)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: redirects are followed by our rules, and requests fails at addresses that can't be any."""

    def close(self) -> None:
        # By hand: urllib3 waits until a pool is collected, and the traceback of an error can keep it for long.
        for manager in (self._adapter.poolmanager, *self._adapter.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118  (no mapping that can be iterated)
                if pool := manager.pools.get(key):
                    pool.close()
        super().close()


class _UnverifiedConnection(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        # The user has asked for it; urllib3 would warn of it at each connection.
        self.is_verified = True


class _UnverifiedPool(HTTPSConnectionPool):
    ConnectionCls = _UnverifiedConnection


class _TlsAdapter(HTTPAdapter):
    """requests' adapter with a TLS context of ours in place of its own authorities."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        super().__init__(_CONNECTIONS, _CONNECTIONS, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **more: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._context, **more)
        self._let_unverified(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
        manager = super().proxy_manager_for(proxy, ssl_context=self._context, **more)
        self._let_unverified(manager)
        return manager

    def cert_verify(self, conn: object, url: str, verify: object, cert: object) -> None:
        """Nothing: the context has it all."""

    def _let_unverified(self, manager: PoolManager) -> None:
        if self._context is not None and self._context.verify_mode == ssl.CERT_NONE:
            manager.pool_classes_by_scheme = {**manager.pool_classes_by_scheme, "https": _UnverifiedPool}


class _HttpResponse:
    def __init__(self, request: Request, answer: requests.Response, proxy: str | None) -> None:
        self._request = request
        self._proxy = proxy
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
        with explaining(self._request, self._proxy):
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
