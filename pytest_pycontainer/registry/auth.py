"""Authorization: how a registry's challenge is answered (RFC 7235; distribution's token authentication; OAuth 2)."""

from __future__ import annotations

import json
import re
import threading
import time
from base64 import b64encode
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urljoin, urlsplit

from pytest_pycontainer.errors import AccessDeniedError, RegistryAnswerError
from pytest_pycontainer.registry.addresses import host_of
from pytest_pycontainer.registry.transport import Request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_pycontainer.registry.credentials import Credentials
    from pytest_pycontainer.registry.exchange import Exchange

_CHALLENGE = re.compile(
    r'(?P<scheme>[A-Za-z][\w-]*)(?P<parameters>(?:\s*,?\s*[\w-]+\s*=\s*(?:"(?:\\.|[^"\\])*"|[^\s,"]+))*)'
)
_PARAMETER = re.compile(r'([\w-]+)\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^\s,"]+))')
_TOKEN_BYTES_AT_MOST: Final = 1 << 20
_SHORTEST_LIFE: Final = 60.0
"""Seconds that a token lives if its server does not say (distribution, "Token Authentication")."""
_MARGIN: Final = 0.8
"""The share of its life for which a token is used, so that none runs out on its way."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate that a WWW-Authenticate header offers; ``scheme`` is lower-case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(header: str) -> list[Challenge]:
    """The challenges of a WWW-Authenticate header, in its order; what can't be read is left out."""
    found = []
    for challenge in _CHALLENGE.finditer(header):
        parameters = {
            name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain
            for name, quoted, plain in _PARAMETER.findall(challenge["parameters"])
        }
        found.append(Challenge(challenge["scheme"].lower(), parameters))
    return found


class Authorizer:
    """The Authorization header for requests to one registry, by scope (``repository:a/b:pull``).

    Keeps what it got until it runs out; threads that need the same token wait for one request. ``credentials`` None is
    nobody in particular: a token may still be had.
    """

    def __init__(self, exchange: Exchange, registry: str, credentials: Credentials | None) -> None:
        self._exchange = exchange
        self._registry = registry
        self._credentials = credentials
        self._lock = threading.Lock()
        self._known: dict[str, tuple[str, float]] = {}

    def header(self, scope: str) -> str | None:
        """The header to send before being asked; None if none is known yet, or it has run out."""
        value, end = self._known.get(scope, (None, 0.0))
        return value if time.monotonic() < end else None

    def answer(self, request: Request, challenges: list[Challenge], scope: str) -> str:
        """The header that answers ``challenges``, which came for ``request``.

        Raises AccessDeniedError if they can't be answered, or have been and still came.
        """
        refused = request.headers.get("Authorization")
        with self._lock:
            known = self.header(scope)
            if known is not None and known != refused:
                return known  # another thread was quicker
            for challenge in challenges:
                if challenge.scheme == "bearer":
                    value, seconds = self._token(request, challenge, scope)
                elif challenge.scheme == "basic":
                    value, seconds = self._basic(request), float("inf")
                else:
                    continue
                if value == refused:
                    break
                self._known[scope] = (value, time.monotonic() + seconds)
                return value
        offered = ", ".join(challenge.scheme for challenge in challenges) or "none"
        raise self._denied(
            request, "it refuses the credentials" if refused else f"it offers no known way in ({offered})"
        )

    def _basic(self, request: Request) -> str:
        if self._credentials is None:
            raise self._denied(request, "it wants user and password, and there are none for it")
        if self._credentials.identity_token:
            raise self._denied(request, "it wants user and password, and there is only an identity token for it")
        return basic(self._credentials)

    def _token(self, request: Request, challenge: Challenge, scope: str) -> tuple[str, float]:
        realm = urljoin(request.url, challenge.parameters.get("realm", ""))
        if "realm" not in challenge.parameters or urlsplit(realm).scheme not in ("http", "https"):
            raise self._answer(request, f"it asks for a token of no known server ({realm!r})")
        if self._credentials and urlsplit(request.url).scheme == "https" and urlsplit(realm).scheme != "https":
            raise self._answer(
                request, f"it asks for a token of {host_of(realm)} without TLS; a password does not go there"
            )
        # Our own scope rather than the challenge's, which names less: a token for a push serves its reads too.
        asked = {
            key: value for key, value in (("service", challenge.parameters.get("service")), ("scope", scope)) if value
        }
        with self._exchange.send(self._token_request(request, realm, asked)) as response:
            if response.status in (400, 401, 403):
                detail = f"{host_of(realm)} gives no token ({response.status})"
                raise self._denied(request, detail if self._credentials else f"{detail} to nobody in particular")
            if response.status != 200:
                raise self._answer(request, f"{host_of(realm)} answers with status {response.status} for a token")
            content = response.read(_TOKEN_BYTES_AT_MOST)
        try:
            found = json.loads(content)
            token = found.get("token") or found["access_token"]
            seconds = float(found.get("expires_in") or _SHORTEST_LIFE)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._answer(request, f"{host_of(realm)} sends something else than a token") from None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise self._answer(request, f"{host_of(realm)} sends a token that no header can carry")
        return f"Bearer {token}", max(seconds, _SHORTEST_LIFE) * _MARGIN

    def _token_request(self, request: Request, realm: str, asked: dict[str, str]) -> Request:
        credentials = self._credentials
        if credentials is not None and credentials.identity_token:
            body = {
                "grant_type": "refresh_token",
                "refresh_token": credentials.identity_token,
                "client_id": "pycontainer",
            }
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            return Request("POST", realm, request.doing, form, urlencode(asked | body).encode())
        headers = {}
        if credentials is not None:
            headers["Authorization"] = basic(credentials)
            asked = asked | {"account": credentials.username}
        # Several scopes are parameters of their own (distribution, "Token Authentication").
        query = urlencode([(key, part) for key, value in asked.items() for part in value.split(" ")])
        separator = "&" if urlsplit(realm).query else "?"
        return Request("GET", realm + separator + query, request.doing, headers)

    def _denied(self, request: Request, detail: str) -> AccessDeniedError:
        return AccessDeniedError(self._registry, request.doing, detail)

    def _answer(self, request: Request, detail: str) -> RegistryAnswerError:
        return RegistryAnswerError(self._registry, request.doing, detail)


def basic(credentials: Credentials) -> str:
    """The Basic Authorization header (RFC 7617)."""
    return "Basic " + b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()


def authorized(request: Request, header: str | None) -> Request:
    """``request`` with ``header`` as its Authorization."""
    if header is None:
        return request
    return replace(request, headers={**request.headers, "Authorization": header})
