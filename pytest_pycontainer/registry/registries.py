"""``Registries``: how registries are reached, who we are there, and logging in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

from pytest_pycontainer.errors import AccessDeniedError, RegistryAnswerError
from pytest_pycontainer.image.reference import DEFAULT_DOMAIN, Reference
from pytest_pycontainer.registry.auth import Authorizer, authorized, parse_challenges
from pytest_pycontainer.registry.credentials import Credentials, CredentialStore
from pytest_pycontainer.registry.exchange import Exchange
from pytest_pycontainer.registry.repository import Repository
from pytest_pycontainer.registry.transport import HttpTransport, Request, Tls, Transport, is_loopback

_HUB_HOST: Final = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """How registries are reached, by host (``registry.test:5000``).

    ``insecure`` ones are spoken to without TLS, as are those on loopback addresses that ``tls`` does not name; all
    others with TLS, for which ``tls`` may hold an authority and a client certificate.
    """

    insecure: frozenset[str] = frozenset()
    tls: Mapping[str, Tls] = field(default_factory=dict)

    def address(self, host: str) -> str:
        """Where the API of the registry ``host`` is: ``https://registry.test:5000``."""
        plain = host in self.insecure or (is_loopback(host) and host not in self.tls)
        return f"http{'' if plain else 's'}://{_HUB_HOST if host == DEFAULT_DOMAIN else host}"


class Registries:
    """All registries: connections and tokens are kept from one request to the next.

    A context manager; safe for several threads. ``transport`` takes the network's place, ``sleep`` waits
    between attempts.
    """

    def __init__(
        self,
        options: RegistryOptions | None = None,
        *,
        credentials: CredentialStore | None = None,
        transport: Transport | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._options = options or RegistryOptions()
        self._credentials = credentials or CredentialStore()
        self._closing = ExitStack()
        if transport is None:
            transport = self._closing.enter_context(HttpTransport(self._options.tls))
        self._exchange = Exchange(transport, sleep)
        self._lock = threading.Lock()
        self._repositories: dict[str, Repository] = {}

    def __enter__(self) -> Registries:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes connections."""
        self._closing.close()

    def repository(self, reference: Reference) -> Repository:
        """The repository of ``reference``; nothing is sent yet. Raises CredentialsError."""
        with self._lock:
            if reference.name not in self._repositories:
                credentials = self._credentials.find(reference.domain, reference.path)
                authorizer = Authorizer(self._exchange, reference.domain, credentials)
                base = self._options.address(reference.domain)
                self._repositories[reference.name] = Repository(self._exchange, authorizer, reference, base)
            return self._repositories[reference.name]

    def login(self, registry: str, username: str, password: str) -> None:
        """Keeps user and password for ``registry`` (``host`` or ``host:port``) once it has accepted them.

        Raises AccessDeniedError if it does not, CredentialsError if they can't be kept, and RegistryUnavailableError.
        """
        credentials = Credentials(username, password)
        self._check(registry, credentials)
        self._credentials.save(registry, credentials)
        self._forget_repositories()

    def logout(self, registry: str) -> bool:
        """Forgets what is kept for ``registry``; False if there was nothing. Raises CredentialsError."""
        self._forget_repositories()
        return self._credentials.forget(registry)

    def _forget_repositories(self) -> None:
        with self._lock:
            self._repositories.clear()

    def _check(self, registry: str, credentials: Credentials) -> None:
        doing = f"log in as {credentials.username!r}"
        request = Request("GET", f"{self._options.address(registry)}/v2/", doing)
        with self._exchange.send(request) as response:
            status = response.status
            challenges = parse_challenges(response.headers.get("WWW-Authenticate", ""))
        if status == 401:
            header = Authorizer(self._exchange, registry, credentials).answer(request, challenges, "")
            with self._exchange.send(authorized(request, header)) as response:
                status = response.status
        if status in (401, 403):
            raise AccessDeniedError(registry, doing, "it refuses that user and password")
        if status != 200:
            raise RegistryAnswerError(registry, doing, f"status {status}; is it a registry?")
