"""Who we are to which registry, as ``docker login`` and ``podman login`` keep it.

Looked for in ``$REGISTRY_AUTH_FILE``, then ``config.json`` in ``$DOCKER_CONFIG`` or ``~/.docker``, then podman's
``containers/auth.json`` in ``$XDG_RUNTIME_DIR`` and in ``$XDG_CONFIG_HOME`` or ``~/.config`` (containers-auth.json(5)):
in each an entry of ``credHelpers``, then ``credsStore``, then ``auths``. Kept in the first of them. Two that write one
file at the same time leave it whole, with the entry of one of them.
"""

from __future__ import annotations

import json
import os
import tempfile
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pytest_pycontainer.errors import CredentialsError
from pytest_pycontainer.image.reference import DEFAULT_DOMAIN

DOCKER_HUB: Final = "https://index.docker.io/v1/"
"""The key under which Docker keeps what is for docker.io."""

_HUB_NAMES: Final = (DEFAULT_DOMAIN, "index.docker.io", "registry-1.docker.io")
_HELPER_SECONDS: Final = 30.0
_TOKEN_USER: Final = "<token>"  # noqa: S105  (a helper's word for "the secret is an identity token")
_NOT_FOUND: Final = "credentials not found"


@dataclass(frozen=True, slots=True)
class Credentials:
    """User and password for a registry, or an identity token, which a token server takes in their place."""

    username: str
    password: str = field(repr=False)
    identity_token: str | None = field(default=None, repr=False)


class CredentialStore:
    """The credentials of this user, in the places that ``environment`` names."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        home = Path(environment.get("HOME") or Path.home())
        docker = Path(environment.get("DOCKER_CONFIG") or home / ".docker")
        podman = [environment.get("XDG_RUNTIME_DIR"), environment.get("XDG_CONFIG_HOME") or home / ".config"]
        authfile = environment.get("REGISTRY_AUTH_FILE")
        self._files = (
            *([Path(authfile)] if authfile else []),
            docker / "config.json",
            *(Path(directory) / "containers/auth.json" for directory in podman if directory),
        )

    def find(self, registry: str, path: str = "") -> Credentials | None:
        """Those for the repository ``path`` of ``registry`` (``host`` or ``host:port``); None if there are none.

        Raises CredentialsError for a file or program that can't be used.
        """
        for file in self._files:
            config = _read(file)
            if program := _program(config, registry):
                found = _ask(program, registry)
            else:
                found = _entry(file, config, registry, path)
            if found is not None:
                return found
        return None

    def save(self, registry: str, credentials: Credentials) -> None:
        """Keeps ``credentials``: with the helper program that is configured for it, else in the file, mode 0600.

        Raises CredentialsError.
        """
        file = self._files[0]
        config = _read(file)
        key = DOCKER_HUB if registry in _HUB_NAMES else registry
        if program := _program(config, registry):
            username = _TOKEN_USER if credentials.identity_token else credentials.username
            secret = credentials.identity_token or credentials.password
            run_program(program, "store", json.dumps({"ServerURL": key, "Username": username, "Secret": secret}))
            return
        joined = f"{credentials.username}:{credentials.password}"
        entry = {"auth": b64encode(joined.encode()).decode()}
        if credentials.identity_token:
            entry["identitytoken"] = credentials.identity_token
        _write(file, {**config, "auths": {**_object(config, "auths"), key: entry}})

    def forget(self, registry: str) -> bool:
        """Removes what is kept for ``registry``; False if there was nothing. Raises CredentialsError.

        Podman's files are podman's: what it keeps stays.
        """
        file = self._files[0]
        config = _read(file)
        if program := _program(config, registry):
            if _ask(program, registry) is None:
                return False
            run_program(program, "erase", DOCKER_HUB if registry in _HUB_NAMES else registry)
            return True
        entries = _object(config, "auths")
        kept = {key: value for key, value in entries.items() if _host(key) not in _names(registry)}
        if len(kept) == len(entries):
            return False
        _write(file, {**config, "auths": kept})
        return True


def run_program(program: str, action: str, text: str) -> str:
    """What the credential helper ``docker-credential-PROGRAM`` answers to ``action`` when given ``text``.

    The protocol of docker-credential-helpers; helpers are programs by their nature, and this is where one is started.
    Raises CredentialsError.
    """
    import subprocess

    name = f"docker-credential-{program}"
    if "/" in program:
        raise CredentialsError(name, "a helper's name has no slash")
    try:
        ended = subprocess.run(
            [name, action], input=text, capture_output=True, text=True, timeout=_HELPER_SECONDS, check=False
        )
    except FileNotFoundError:
        raise CredentialsError(name, "no such program in PATH") from None
    except subprocess.TimeoutExpired:
        raise CredentialsError(name, f"no answer to {action!r} within {_HELPER_SECONDS:g} s") from None
    except (OSError, UnicodeError) as problem:
        raise CredentialsError(name, str(problem)) from problem
    if ended.returncode:
        raise CredentialsError(name, f"{action!r}: {(ended.stdout + ended.stderr).strip() or ended.returncode}")
    return ended.stdout


def _ask(program: str, registry: str) -> Credentials | None:
    try:
        answer = run_program(program, "get", DOCKER_HUB if registry in _HUB_NAMES else registry)
    except CredentialsError as problem:
        if _NOT_FOUND in problem.detail:
            return None
        raise
    try:
        found = json.loads(answer)
        username, secret = found["Username"], found["Secret"]
    except (ValueError, KeyError, TypeError):
        raise CredentialsError(f"docker-credential-{program}", "its answer has no Username and Secret") from None
    if username == _TOKEN_USER:
        return Credentials("", "", secret)
    return Credentials(username, secret) if username or secret else None


def _read(file: Path) -> dict[str, object]:
    try:
        config = json.loads(file.read_bytes() or b"{}")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as problem:
        raise CredentialsError(str(file), problem.strerror or str(problem)) from problem
    except (ValueError, RecursionError) as problem:
        raise CredentialsError(str(file), f"it is not JSON: {problem}") from None
    if not isinstance(config, dict):
        raise CredentialsError(str(file), "it is not a JSON object")
    return config


def _write(file: Path, config: Mapping[str, object]) -> None:
    """By rename, so that no reader meets a part; a link to a file elsewhere stays one."""
    target = file.resolve()
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # mkstemp: mode 0600
        try:
            with os.fdopen(descriptor, "w") as unfinished:
                json.dump(config, unfinished, indent="\t")
                unfinished.flush()
                os.fsync(descriptor)
            Path(name).rename(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as problem:
        raise CredentialsError(str(file), problem.strerror or str(problem)) from problem


def _object(config: Mapping[str, object], key: str) -> dict[str, object]:
    value = config.get(key)
    return value if isinstance(value, dict) else {}


def _program(config: Mapping[str, object], registry: str) -> str | None:
    """The credential helper for ``registry``, without its prefix."""
    own = {_host(key): value for key, value in _object(config, "credHelpers").items()}
    for program in (*(own.get(name) for name in _names(registry)), config.get("credsStore")):
        if isinstance(program, str) and program:
            return program
    return None


def _names(registry: str) -> tuple[str, ...]:
    return _HUB_NAMES if registry in _HUB_NAMES else (registry,)


def _host(key: str) -> str:
    """The host of a key, which older versions wrote as an address."""
    return key.partition("://")[2].partition("/")[0] if "://" in key else key.partition("/")[0]


def _entry(file: Path, config: Mapping[str, object], registry: str, path: str) -> Credentials | None:
    entries = _object(config, "auths")
    for key in _keys(entries, registry, path):
        value = entries[key]
        if isinstance(value, dict) and (found := _decode(file, key, value)):
            return found
    return None


def _keys(entries: Mapping[str, object], registry: str, path: str) -> Iterator[str]:
    """The keys for a repository, the one that names most of its path first (containers-auth.json(5))."""
    parts = path.split("/") if path else []
    for length in range(len(parts), 0, -1):
        key = "/".join((registry, *parts[:length]))
        if key in entries:
            yield key
    for key in entries:
        if ("://" in key or "/" not in key) and _host(key) in _names(registry):
            yield key


def _decode(file: Path, key: str, entry: Mapping[str, object]) -> Credentials | None:
    token = entry.get("identitytoken")
    encoded = entry.get("auth")
    username = password = ""
    if isinstance(encoded, str) and encoded:
        try:
            username, colon, password = b64decode(encoded, validate=True).decode().partition(":")
        except (Base64Error, ValueError):
            colon = ""
        if not colon:
            raise CredentialsError(str(file), f"auth of {key!r} is not base64 of user:password")
        password = password.rstrip("\0")
    elif isinstance(entry.get("username"), str):
        username, password = str(entry["username"]), str(entry.get("password", ""))
    if isinstance(token, str) and token:
        return Credentials(username, password, token)
    return Credentials(username, password) if username or password else None
