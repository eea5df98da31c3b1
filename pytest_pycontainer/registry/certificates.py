"""Which certificates a host gets: the directories that Docker and podman look into, and what lies there.

A host's directory, ``certs.d/HOST:PORT``, holds authorities (``*.crt``) and who we are there (``NAME.cert`` with
``NAME.key``), as in dockerd's "Verify repository client with certificates" and containers-certs.d(5).
"""

from __future__ import annotations

import os
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from pytest_pycontainer.errors import CertificateFileError

if TYPE_CHECKING:
    from collections.abc import Mapping

_BUNDLE_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(frozen=True, slots=True)
class HostCertificates:
    """Authorities to trust beside the system's, and who we are: certificate and key; PEM files."""

    authorities: tuple[Path, ...] = ()
    client: tuple[Path, Path] | None = None


class Certificates:
    """The certificates of all hosts, and TLS contexts made of them. Safe for several threads.

    ``directory`` is laid out as ``certs.d`` and looked into before the usual ones; ``authority`` is a PEM file of
    authorities to trust for every host. Files are read when a host is first spoken to.

    Authorities add to the system's: OpenSSL's own, which ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` can move, or in their
    place the file or directory in ``REQUESTS_CA_BUNDLE`` or ``CURL_CA_BUNDLE``; where the system has none, requests'.
    """

    def __init__(
        self,
        directory: Path | None = None,
        authority: Path | None = None,
        *,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        environment = os.environ if environment is None else environment
        self._directories = (*((directory,) if directory else ()), *usual_directories(environment))
        self._authority = authority
        self._bundle = next((Path(value) for name in _BUNDLE_VARIABLES if (value := environment.get(name))), None)
        self._lock = threading.Lock()
        self._plain: ssl.SSLContext | None = None

    def find(self, host: str) -> HostCertificates | None:
        """Those in the first directory that has one for ``host`` (``registry.test:5000``); None if none has.

        Raises CertificateFileError.
        """
        if host.strip(".") == "" or "/" in host or "\0" in host:
            return None  # no host's name, and no name for a directory
        for directory in self._directories:
            place = directory / host
            try:
                names = sorted(path.name for path in place.iterdir())
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as problem:
                raise CertificateFileError(str(place), problem.strerror or str(problem)) from problem
            return _sorted_out(place, names)
        return None

    def context(self, host: str) -> ssl.SSLContext:
        """What TLS with ``host`` is spoken with; hosts without certificates of their own share one.

        Raises CertificateFileError.
        """
        own = self.find(host)
        if own is not None:
            return self._made(own)
        with self._lock:
            if self._plain is None:
                self._plain = self._made(HostCertificates())
            return self._plain

    def unverified_context(self, host: str) -> ssl.SSLContext:
        """As ``context``, and any certificate will do. Raises CertificateFileError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        _show_client(context, self.find(host) or HostCertificates())
        return context

    def _made(self, own: HostCertificates) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._trust_systems(context)
        for file in (*own.authorities, *((self._authority,) if self._authority else ())):
            _trust(context, file)
        _show_client(context, own)
        return context

    def _trust_systems(self, context: ssl.SSLContext) -> None:
        system = ssl.get_default_verify_paths()
        if self._bundle and self._bundle.is_dir():
            context.load_verify_locations(capath=self._bundle)
        elif self._bundle:
            _trust(context, self._bundle)
        elif system.cafile or (system.capath and any(Path(system.capath).iterdir())):
            context.set_default_verify_paths()
        else:
            context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)


def usual_directories(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Where Docker and podman keep certificates, this user's first."""
    home = Path(environment.get("HOME") or Path.home())
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    docker = Path(environment.get("DOCKER_CONFIG") or home / ".docker")
    parents = (docker, config / "docker", config / "containers", Path("/etc/docker"), Path("/etc/containers"))
    return tuple(parent / "certs.d" for parent in parents)


def _sorted_out(place: Path, names: list[str]) -> HostCertificates:
    clients = []
    for name in names:
        stem, dot, kind = name.rpartition(".")
        if kind not in ("cert", "key") or not dot:
            continue
        other = f"{stem}.{'key' if kind == 'cert' else 'cert'}"
        if other not in names:
            wanted = f"{other} is missing beside it"
            hint = "; an authority's name ends in .crt" if kind == "cert" else ""
            raise CertificateFileError(str(place / name), f"{wanted}{hint}")
        if kind == "cert":
            clients.append((place / name, place / other))
    # Of several the first is shown, in the order of their names.
    return HostCertificates(
        tuple(place / name for name in names if name.endswith(".crt")), clients[0] if clients else None
    )


def _trust(context: ssl.SSLContext, file: Path) -> None:
    try:
        # Bundles have remarks in any encoding between their certificates.
        context.load_verify_locations(cadata=file.read_bytes().decode("ascii", "ignore"))
    except ssl.SSLError as problem:
        raise CertificateFileError(str(file), f"it holds no certificate in PEM form ({_reason(problem)})") from problem
    except ValueError as problem:
        raise CertificateFileError(str(file), "it is empty") from problem
    except OSError as problem:
        raise CertificateFileError(str(file), problem.strerror or str(problem)) from problem


def _show_client(context: ssl.SSLContext, own: HostCertificates) -> None:
    if own.client is None:
        return
    certificate, key = own.client

    def no_password() -> str:
        # Else OpenSSL would ask for it on the terminal, and wait.
        raise CertificateFileError(str(key), "it is encrypted; wanted a key without a password")

    for file in own.client:
        try:
            file.open("rb").close()  # OpenSSL's error would not say which
        except OSError as problem:
            raise CertificateFileError(str(file), problem.strerror or str(problem)) from problem
    try:
        context.load_cert_chain(certificate, key, no_password)
    except (ssl.SSLError, OSError) as problem:
        detail = f"it and {key.name} are no certificate and its key in PEM form ({_reason(problem)})"
        raise CertificateFileError(str(certificate), detail) from problem


def _reason(problem: OSError) -> str:
    return str(getattr(problem, "reason", None) or problem).lower().replace("_", " ")
