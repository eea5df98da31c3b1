"""``Registries``: how registries are reached, who we are there, and logging in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final
from urllib.parse import urlsplit

from pytest_pycontainer.errors import (
    AccessDeniedError,
    RegistryAnswerError,
    RegistryCertificateError,
    RegistryUnavailableError,
)
from pytest_pycontainer.image.reference import DEFAULT_DOMAIN, Reference
from pytest_pycontainer.registry.addresses import host_of, is_loopback, registry_of
from pytest_pycontainer.registry.auth import Authorizer, authorized, parse_challenges
from pytest_pycontainer.registry.certificates import Certificates
from pytest_pycontainer.registry.credentials import Credentials, CredentialStore
from pytest_pycontainer.registry.exchange import Exchange
from pytest_pycontainer.registry.mirrors import MirroredSource, Source
from pytest_pycontainer.registry.repository import Repository
from pytest_pycontainer.registry.transport import HttpTransport, Request, Transport

_HUB_HOST: Final = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """How registries are reached. Hosts are as in references (``registry.test:5000``), in lower case.

    All are spoken to with TLS and need a certificate of a known authority, but for these:

    - ``insecure`` ones: TLS with any certificate, and where that does not work, none (Docker's rule);
    - those on loopback addresses: no TLS, unless there are certificates for them, or they are in ``insecure``.

    ``mirrors`` holds, for a registry, the addresses (``https://mirror.test:5000/prefix``) of those to pull from before
    it. ``proxy`` takes the place of the environment's. ``certificates``: a directory as Docker's ``certs.d``;
    ``authority``: a PEM file of authorities for every host.
    """

    insecure: frozenset[str] = frozenset()
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    proxy: str | None = None
    certificates: Path | None = None
    authority: Path | None = None


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
        self._certificates = Certificates(self._options.certificates, self._options.authority)
        self._closing = ExitStack()
        if transport is None:
            transport = self._closing.enter_context(
                HttpTransport(self._certificates, unverified=self._options.insecure, proxy=self._options.proxy)
            )
        self._exchange = Exchange(transport, sleep)
        self._lock = threading.Lock()
        self._repositories: dict[tuple[str, str | None], Repository] = {}
        self._addresses: dict[str, str] = {}

    def __enter__(self) -> Registries:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes connections."""
        self._closing.close()

    @property
    def exchange(self) -> Exchange:
        """Sends requests to any server, as they are sent to registries; without credentials."""
        return self._exchange

    def source(self, reference: Reference) -> Source:
        """Where to pull ``reference`` from: its mirrors, then its registry; nothing is sent yet.

        Raises CredentialsError.
        """
        origin = self.repository(reference)
        mirrors = self._options.mirrors.get(reference.domain.lower(), ())
        return MirroredSource([self._mirror(reference, address) for address in mirrors], origin) if mirrors else origin

    def repository(self, reference: Reference) -> Repository:
        """The repository of ``reference`` in its own registry; nothing is sent yet. Raises CredentialsError."""
        return self._repository(reference, None)

    def _mirror(self, reference: Reference, address: str) -> Repository:
        # With its own name, so that it gets its own credentials and no others (CVE-2020-15157).
        prefix = urlsplit(address).path.strip("/")
        path = f"{prefix}/{reference.path}" if prefix else reference.path
        return self._repository(
            replace(reference, domain=host_of(address), path=path), f"{urlsplit(address).scheme}://{host_of(address)}"
        )

    def _repository(self, reference: Reference, mirror: str | None) -> Repository:
        with self._lock:
            if (reference.name, mirror) not in self._repositories:
                credentials = self._credentials.find(reference.domain, reference.path)
                authorizer = Authorizer(self._exchange, reference.domain, credentials)
                self._repositories[reference.name, mirror] = Repository(
                    self._exchange,
                    authorizer,
                    reference,
                    (lambda: mirror) if mirror else partial(self.address, reference.domain),
                    is_mirror=mirror is not None,
                )
            return self._repositories[reference.name, mirror]

    def address(self, host: str) -> str:
        """Where the API of the registry ``host`` is: ``https://registry.test:5000``.

        An insecure one is asked whether it speaks TLS; of threads that want to know at once, each asks. Raises
        CertificateFileError and ProxyError.
        """
        if host not in self._addresses:
            if host.lower() in self._options.insecure:
                return self._probed(host)
            plain = is_loopback(host) and self._certificates.find(host) is None
            self._addresses[host] = _address("http" if plain else "https", host)
        return self._addresses[host]

    def _probed(self, host: str) -> str:
        plain, secure = (_address(scheme, host) for scheme in ("http", "https"))
        try:
            request = Request("GET", f"{secure}/v2/", f"find out whether {host} speaks TLS")
            self._exchange.send(request, attempts=1).__exit__(None, None, None)
        except RegistryUnavailableError:
            return plain  # it is asked again: it may only have been down
        except RegistryCertificateError:
            self._addresses[host] = plain
        else:
            self._addresses[host] = secure
        return self._addresses[host]

    def login(self, registry: str, username: str, password: str) -> None:
        """Keeps user and password for ``registry`` (``host``, ``host:port``, or a URL) once it has accepted them.

        Raises AccessDeniedError if it does not, CredentialsError if they can't be kept, RegistryUnavailableError, and
        InvalidSpecError for text that names no registry.
        """
        registry = registry_of(registry)
        credentials = Credentials(username, password)
        self._check(registry, credentials)
        self._credentials.save(registry, credentials)
        self._forget_repositories()

    def logout(self, registry: str) -> bool:
        """Forgets what is kept for ``registry``, named as for ``login``; False if there was nothing.

        Raises CredentialsError and InvalidSpecError.
        """
        registry = registry_of(registry)
        self._forget_repositories()
        return self._credentials.forget(registry)

    def _forget_repositories(self) -> None:
        with self._lock:
            self._repositories.clear()

    def _check(self, registry: str, credentials: Credentials) -> None:
        doing = f"log in as {credentials.username!r}"
        request = Request("GET", f"{self.address(registry)}/v2/", doing)
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


def _address(scheme: str, host: str) -> str:
    return f"{scheme}://{_HUB_HOST if host == DEFAULT_DOMAIN else host}"
