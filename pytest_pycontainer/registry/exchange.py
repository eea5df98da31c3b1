"""Requests that are sent again when that may help, and redirects that take no credentials along."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit

from pytest_pycontainer.errors import (
    RateLimitedError,
    RegistryAnswerError,
    RegistryError,
    RegistryUnavailableError,
)
from pytest_pycontainer.registry.addresses import host_of
from pytest_pycontainer.registry.transport import Request, Response, Transport

if TYPE_CHECKING:
    from collections.abc import Callable

ATTEMPTS: Final = 5
_FIRST_DELAY: Final = 0.25
_LONGEST_DELAY: Final = 30.0
"""Seconds; a registry that wants a longer pause gets none: the caller is told when to come back."""

_TOO_MANY: Final = 429
_OUT_OF_ORDER: Final = (500, 502, 503, 504)
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_REDIRECTS_AT_MOST: Final = 5
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Exchange:
    """Sends requests through a transport until one is answered.

    ``sleep`` waits between attempts. Safe for several threads if both are.
    """

    def __init__(self, transport: Transport, sleep: Callable[[float], object] = time.sleep) -> None:
        self._transport = transport
        self._sleep = sleep

    def send(self, request: Request, *, attempts: int = ATTEMPTS) -> Response:
        """The answer to ``request``, after redirects; never one that says "out of order" or "too many requests".

        A request that must not be carried out twice is given one attempt. Raises RegistryUnavailableError,
        RateLimitedError, RegistryCertificateError, and RegistryAnswerError for redirects that lead nowhere.
        """
        for attempt in range(1, attempts + 1):
            wanted = None
            try:
                response = self._follow(request)
            except RegistryUnavailableError:
                if attempt == attempts:
                    raise
            else:
                wanted = retry_after(response.headers.get("Retry-After", ""))
                failure = _failure(request, response, wanted)
                if failure is None:
                    return response
                with response:
                    if attempt == attempts or (wanted or 0) > _LONGEST_DELAY:
                        raise failure
            self.pause(attempt, wanted or 0)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def pause(self, attempt: int, at_least: float = 0) -> None:
        """Waits after the failed ``attempt`` (from 1): twice as long each time, and not as long as others do."""
        delay = _FIRST_DELAY * 2 ** (attempt - 1) * random.uniform(0.5, 1)  # noqa: S311  (no secret)
        self._sleep(min(max(delay, at_least), _LONGEST_DELAY))

    def _follow(self, request: Request) -> Response:
        for _ in range(_REDIRECTS_AT_MOST + 1):
            response = self._transport.send(request)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or not location:
                return response
            with response:
                request = redirected(request, _target(request, response.url, location), response.status)
        raise RegistryAnswerError(host_of(request.url), request.doing, f"more than {_REDIRECTS_AT_MOST} redirects")


def _target(request: Request, base: str, location: str) -> str:
    """Where a redirect leads. Raises RegistryAnswerError for an address that is none of HTTP's."""
    try:
        url = urljoin(base, location)
        scheme, host, _ = origin(url)
    except ValueError:
        scheme = host = ""
    if scheme not in _DEFAULT_PORTS or not host:
        detail = f"it redirects to {location!r:.200}, which is no address of a server"
        raise RegistryAnswerError(host_of(base), request.doing, detail)
    return url


def redirected(request: Request, url: str, status: int) -> Request:
    """``request`` as it is sent to ``url``; credentials stay with the origin that they are for (CVE-2020-15157).

    Raises RegistryAnswerError for a redirect from TLS to none.
    """
    if urlsplit(request.url).scheme == "https" and urlsplit(url).scheme != "https":
        detail = f"it redirects to {host_of(url)} without TLS, which it used itself"
        raise RegistryAnswerError(host_of(request.url), request.doing, detail)
    headers = dict(request.headers)
    if origin(url) != origin(request.url):
        headers.pop("Authorization", None)
    # RFC 9110, 15.4: only 307 and 308 promise that the method and the body stay.
    if status in (307, 308) or request.method in ("GET", "HEAD"):
        return replace(request, url=url, headers=headers)
    return replace(request, method="GET", url=url, headers=headers, body=b"")


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port (RFC 6454)."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS.get(parts.scheme)


def retry_after(header: str) -> float | None:
    """Seconds until the time that a Retry-After header names (RFC 9110, 10.2.3); None if it names none."""
    if header.strip().isdecimal():
        seconds = float(header)
        return seconds if isfinite(seconds) else None
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, when.timestamp() - time.time())


def _failure(request: Request, response: Response, wanted: float | None) -> RegistryError | None:
    host = host_of(response.url)
    if response.status == _TOO_MANY:
        return RateLimitedError(host, request.doing, wanted)
    if response.status in _OUT_OF_ORDER:
        return RegistryUnavailableError(host, request.doing, f"it answers with status {response.status}")
    return None
