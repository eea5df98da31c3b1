"""What requests, urllib3 and OpenSSL raise, turned into our errors: which certificate, which proxy, what to do."""

from __future__ import annotations

import re
import ssl
from contextlib import contextmanager
from http.client import HTTPException
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import requests

from pytest_pycontainer.errors import (
    ProxyError,
    RegistryAnswerError,
    RegistryCertificateError,
    RegistryUnavailableError,
)
from pytest_pycontainer.registry.addresses import host_of
from pytest_pycontainer.registry.proxies import without_user
from pytest_pycontainer.registry.x509 import fingerprint, read_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_pycontainer.registry.transport import Request

CONNECT_SECONDS: Final = 10.0
SILENCE_SECONDS: Final = 30.0
"""Longest that a server may take between two pieces of an answer."""

_HTTPS_PORT: Final = 443
_TUNNEL_OUT_OF_ORDER = re.compile(r"Tunnel connection failed: (5\d\d .*)")
_DATES: Final = (9, 10)
_NAMES: Final = (62, 64)
"""OpenSSL's X509_V_ERR codes: not yet or no longer valid; for another name or address."""


@contextmanager
def explaining(request: Request, proxy: str | None) -> Iterator[None]:
    """Raises the error that tells what failed in its block, where ``request`` is sent and its answer read."""
    host = host_of(request.url)
    try:
        yield
    except requests.exceptions.ProxyError as problem:
        raise _proxy_error(request, without_user(proxy or ""), problem) from problem
    except requests.exceptions.Timeout as problem:
        detail = f"no answer within {SILENCE_SECONDS:g} s (no connection within {CONNECT_SECONDS:g} s)"
        raise RegistryUnavailableError(host, request.doing, detail) from problem
    except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError) as problem:
        cause = _cause(problem)
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            raise _certificate_error(request, cause) from problem
        raise RegistryUnavailableError(host, request.doing, str(cause)) from problem
    except (requests.exceptions.RequestException, OSError) as problem:
        raise RegistryAnswerError(host, request.doing, str(problem)) from problem  # an address that can't be one


def _proxy_error(request: Request, proxy: str, problem: Exception) -> ProxyError | RegistryUnavailableError:
    cause = _cause(problem)
    host = host_of(request.url)
    if answered := _TUNNEL_OUT_OF_ORDER.fullmatch(str(cause)):
        return RegistryUnavailableError(host, request.doing, f"the proxy {proxy} answers for it: {answered[1]}")
    if isinstance(cause, (HTTPException, ConnectionResetError, BrokenPipeError)):
        # It answered before: a connection that was kept, and that it has just closed.
        return RegistryUnavailableError(host, request.doing, f"the proxy {proxy}: {cause}")
    return ProxyError(host, request.doing, proxy, str(cause))


def _certificate_error(request: Request, problem: ssl.SSLError) -> RegistryCertificateError:
    host = host_of(request.url)
    directory = f"~/.docker/certs.d/{host}"
    if not isinstance(problem, ssl.SSLCertVerificationError):
        reason = str(problem.reason or problem).lower().replace("_", " ")
        if "certificate" in reason:  # an alert: the server's word on ours
            hint = f"it wants a certificate of yours: put NAME.cert and NAME.key into {directory}"
        else:
            hint = "check that it speaks TLS; if not, list it with --pycontainer-insecure-registries"
        return RegistryCertificateError(host, request.doing, reason, hint)
    if problem.verify_code in _DATES:
        hint = "check this machine's clock, and have the certificate renewed"
    elif problem.verify_code in _NAMES:
        hint = "call the registry by a name that its certificate is for"
    else:
        option = "--pycontainer-registry-authority"
        hint = f"put the authority that signed it into {directory}/ca.crt, or name it with {option}"
    shown = _shown_certificate(request.url)
    described = None if shown is None else _described(shown)
    print_ = None if shown is None else fingerprint(shown)
    return RegistryCertificateError(host, request.doing, problem.verify_message, hint, described, print_)


def _shown_certificate(url: str) -> bytes | None:
    """That which the server of ``url`` shows; None if it shows none this time, or is not to be reached directly."""
    address = urlsplit(url)
    try:
        shown = ssl.get_server_certificate(
            (address.hostname or "", address.port or _HTTPS_PORT), timeout=CONNECT_SECONDS
        )
        return ssl.PEM_cert_to_DER_cert(shown)
    except (OSError, ValueError):
        return None


def _described(der: bytes) -> str:
    try:
        return str(read_certificate(der))
    except ValueError:
        return f"one that can't be read, SHA-256 fingerprint {fingerprint(der)}"


def _cause(problem: BaseException) -> BaseException:
    """The first error of a chain: the system's own words, which requests and urllib3 wrap several times."""
    while True:
        wrapped = next((item for item in problem.args if isinstance(item, BaseException)), None)
        inner = getattr(problem, "reason", None)
        deeper = inner if isinstance(inner, BaseException) else wrapped or problem.__cause__
        if deeper is None:
            return problem
        problem = deeper
