"""Where the engine keeps its files, how it reaches registries, what layers may be, and what a run says of its
containers: decided once and frozen.

A value is taken from the first place that has one: a command line option, pytest's ini file, the environment, the
default.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeVar, cast, get_args
from urllib.parse import SplitResult, urlsplit

from pytest_pycontainer.errors import InvalidSpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEFAULT_ROOT = Path("/var/lib/pycontainer")
"""The store of the user root."""

PullPolicy = Literal["missing", "always", "never"]
"""When an image is asked for from its registry, as ``docker run --pull`` has it."""

Keep = Literal["never", "failed", "always"]
"""Whose containers stay after a run: nobody's, those of failed tests, or all."""

_HUB: Final = "docker.io"
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})
_PLATFORM = re.compile(r"[a-z0-9_]+(?:/[a-z0-9_.-]+){1,2}")
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_PREFIX = re.compile(r"(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kmgt]?)(?:i?b)?", re.IGNORECASE)
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_LARGEST: Final = 1 << 62

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Settings:
    """What an engine is told about the machine.

    ``root`` is the store: images, layers and build cache, which outlive a run. ``state`` holds what is only true while
    the machine is up: locks and records of running containers. Both are absolute; neither needs to exist.

    ``insecure_registries`` (``registry.test:5000``) may be spoken to with any certificate, or without TLS.
    ``registry_mirrors`` holds pairs of a registry and the address (``https://mirror.test:5000/prefix``) of a mirror to
    pull from first, in the order of trying. ``registry_certificates`` is a directory laid out as Docker's ``certs.d``,
    looked into before the usual ones; ``registry_authority`` a PEM file of authorities for every host. ``proxy`` is
    the proxy to registries, in place of ``HTTPS_PROXY`` and ``HTTP_PROXY``; hosts in ``NO_PROXY`` and loopback
    addresses are reached directly all the same.

    A layer has at most ``layer_entries`` files and directories and ``layer_size`` bytes, and is at most ``layer_ratio``
    times as large as it is compressed; None is the store's own limit.

    ``pull`` says when a registry is asked for an image where the caller does not say it, and ``platform``
    (``os/architecture[/variant]``) which one is wanted then; None is this machine's. With ``offline`` none is asked,
    whoever says so.
    """

    root: Path
    state: Path
    insecure_registries: tuple[str, ...] = ()
    registry_mirrors: tuple[tuple[str, str], ...] = ()
    registry_certificates: Path | None = None
    registry_authority: Path | None = None
    proxy: str | None = None
    layer_entries: int | None = None
    layer_size: int | None = None
    layer_ratio: int | None = None
    pull: PullPolicy = "missing"
    platform: str | None = None
    offline: bool = False

    @classmethod
    def read(
        cls,
        *,
        options: Mapping[str, str] | None = None,
        ini: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        user: int | None = None,
        ini_directory: Path | None = None,
    ) -> Settings:
        """Decides each setting.

        ``options`` and ``ini`` map a setting's name (the fields above) to its text; ``environment`` defaults to this
        process's, ``user`` to its effective user id. A relative path counts from the working directory, one from
        ``ini`` from ``ini_directory``. Entries of a list are separated by commas or line ends; sizes have docker's
        units. An empty text is no value. Raises InvalidSpecError for text that makes no sense, naming the place it came
        from.
        """
        places = _Places.of(options, ini, environment, ini_directory)
        user = os.geteuid() if user is None else user
        default_root, default_state = _default_directories(places.environment, user)
        decide = places.decide
        return cls(
            root=decide("root", _directory, default_root),
            state=decide("state", _directory, default_state),
            insecure_registries=decide("insecure_registries", _hosts, ()),
            registry_mirrors=decide("registry_mirrors", _mirrors, ()),
            registry_certificates=decide("registry_certificates", _directory_there, None),
            registry_authority=decide("registry_authority", _file_there, None),
            proxy=decide("proxy", _proxy, None),
            layer_entries=decide("layer_entries", _count, None),
            layer_size=decide("layer_size", _size, None),
            layer_ratio=decide("layer_ratio", _count, None),
            pull=decide("pull", _pull_policy, "missing"),
            platform=decide("platform", _platform, None),
            offline=decide("offline", _truth, False),
        )


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """What a test run says of its containers, and what it leaves.

    ``keep`` says whose containers stay; ``log_lines`` how many lines of a container's log a failing test's report has;
    ``durations`` how many of the slowest steps are listed after the run (0: all, None: no list); ``timeline`` the HTML
    file that is written then.
    """

    keep: Keep = "never"
    log_lines: int = 40
    durations: int | None = None
    timeline: Path | None = None

    @classmethod
    def read(
        cls,
        *,
        options: Mapping[str, str] | None = None,
        ini: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        ini_directory: Path | None = None,
    ) -> ReportSettings:
        """Decides each, from the places that ``Settings.read`` has. Raises InvalidSpecError."""
        decide = _Places.of(options, ini, environment, ini_directory).decide
        return cls(
            keep=decide("keep", _keep, "never"),
            log_lines=decide("log_lines", _number, 40),
            durations=decide("durations", _number, None),
            timeline=decide("timeline", _file_to_write, None),
        )


@dataclass(frozen=True, slots=True)
class _Places:
    """Where texts of settings stand."""

    options: Mapping[str, str]
    ini: Mapping[str, str]
    environment: Mapping[str, str]
    ini_directory: Path

    @classmethod
    def of(
        cls,
        options: Mapping[str, str] | None,
        ini: Mapping[str, str] | None,
        environment: Mapping[str, str] | None,
        ini_directory: Path | None,
    ) -> _Places:
        there = os.environ if environment is None else environment
        return cls(options or {}, ini or {}, there, ini_directory or Path.cwd())

    def decide(self, name: str, parse: Callable[[str, str, Path], _Value], default: _Value) -> _Value:
        here = Path.cwd()
        option, variable = f"--pycontainer-{name.replace('_', '-')}", f"PYCONTAINER_{name.upper()}"
        places = (
            (option, self.options, name, here),
            (f"ini value pycontainer_{name}", self.ini, name, self.ini_directory),
            (f"environment variable {variable}", self.environment, variable, here),
        )
        for place, values, key, base in places:
            if (text := values.get(key, "")).strip():
                return parse(place, text, base)
        return default


def _default_directories(environment: Mapping[str, str], user: int) -> tuple[Path, Path]:
    if user == 0:
        return DEFAULT_ROOT, Path("/run/pycontainer")
    home = Path(environment.get("HOME") or Path.home())
    data = _base_directory(environment, "XDG_DATA_HOME") or home / ".local/share"
    # Without a run-time directory the state stays in the home: a name in /tmp that others know is not safe to open.
    runtime = _base_directory(environment, "XDG_RUNTIME_DIR")
    return data / "pycontainer", runtime / "pycontainer" if runtime else data / "pycontainer/run"


def _base_directory(environment: Mapping[str, str], variable: str) -> Path | None:
    # XDG Base Directory Specification: empty counts as unset, and a relative path is to be ignored.
    path = Path(environment.get(variable, ""))
    return path if path.is_absolute() else None


def _directory(place: str, text: str, base: Path) -> Path:
    existing = path = _path(place, text, base)
    while not os.path.lexists(existing):
        existing = existing.parent
    if not existing.is_dir():
        detail = "" if existing == path else f"; {existing} is none"
        raise InvalidSpecError(place, text, f"a directory, or a path where one can be made{detail}")
    return path


def _path(place: str, text: str, base: Path) -> Path:
    if "\0" in text:
        raise InvalidSpecError(place, text, "a path without a NUL character")
    return Path(os.path.normpath(base / Path(text.strip()).expanduser()))


def _directory_there(place: str, text: str, base: Path) -> Path:
    path = _path(place, text, base)
    if not path.is_dir():
        raise InvalidSpecError(place, text, "a directory that is there, with one for each HOST:PORT in it")
    return path


def _file_there(place: str, text: str, base: Path) -> Path:
    path = _path(place, text, base)
    if not path.is_file():
        raise InvalidSpecError(place, text, "a file that is there, with certificates in PEM form")
    return path


def _entries(text: str) -> list[str]:
    return [entry.strip() for entry in re.split(r"[,\n]", text) if entry.strip()]


def _host(place: str, text: str) -> str:
    host = text.lower()
    if not _HOST.fullmatch(host):
        raise InvalidSpecError(place, _shown(text), "registries as host or host:port, such as registry.test:5000")
    return host


def _hosts(place: str, text: str, _: Path) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_host(place, entry) for entry in _entries(text)))


def _mirrors(place: str, text: str, _: Path) -> tuple[tuple[str, str], ...]:
    return tuple(dict.fromkeys(_mirror(place, entry) for entry in _entries(text)))


def _mirror(place: str, entry: str) -> tuple[str, str]:
    registry, equals, address = entry.rpartition("=")
    registry = _host(place, registry.strip()) if equals else _HUB
    parts = _address(place, address.strip(), "https://host:port/prefix, or registry=https://host:port/prefix")
    if "@" in parts.netloc:
        wanted = "a mirror's address without user and password: log in to the mirror's host instead"
        raise InvalidSpecError(place, _shown(entry), wanted)
    prefix = parts.path.rstrip("/")
    if not _PREFIX.fullmatch(prefix):
        raise InvalidSpecError(place, entry, "a prefix such as /hub, in lower case as the names of images")
    return (_HUB if registry == f"index.{_HUB}" else registry), f"{parts.scheme}://{parts.netloc.lower()}{prefix}"


def _proxy(place: str, text: str, _: Path) -> str:
    address = text.strip()
    parts = _address(place, address, "a proxy's address, such as http://proxy.test:3128")
    if parts.path.strip("/"):
        raise InvalidSpecError(place, _shown(address), "a proxy's address without a path")
    return address


def _address(place: str, text: str, wanted: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        host = parts.netloc.rpartition("@")[2].lower()
        parts.port  # noqa: B018  (raises for one out of range)
    except ValueError:
        raise InvalidSpecError(place, _shown(text), wanted) from None
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host) or parts.query or parts.fragment:
        raise InvalidSpecError(place, _shown(text), wanted)
    return parts


def _shown(text: str) -> str:
    """``text`` without the user and password of an address, for an error."""
    return re.sub(r"[^/=\s]*@", "***@", text)


def _count(place: str, text: str, _: Path) -> int:
    digits = text.strip().replace("_", "")
    if not digits.isascii() or not digits.isdecimal() or not 1 <= int(digits[:30]) <= _LARGEST:
        raise InvalidSpecError(place, text, "a whole number from 1")
    return int(digits)


def _size(place: str, text: str, _: Path) -> int:
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match[1][:30]) * _UNITS[match[2].lower()]) if match else 0
    if not 1 <= size <= _LARGEST:
        raise InvalidSpecError(place, text, "bytes, or a number with the unit k, m, g or t, such as 20g")
    return size


def _pull_policy(place: str, text: str, _: Path) -> PullPolicy:
    return cast("PullPolicy", _one_of(place, text, get_args(PullPolicy)))


def _keep(place: str, text: str, _: Path) -> Keep:
    return cast("Keep", _one_of(place, text, get_args(Keep)))


def _one_of(place: str, text: str, known: tuple[str, ...]) -> str:
    if (value := text.strip().lower()) not in known:
        raise InvalidSpecError(place, text, "one of " + ", ".join(known))
    return value


def _platform(place: str, text: str, _: Path) -> str:
    if not _PLATFORM.fullmatch(value := text.strip().lower()):
        raise InvalidSpecError(place, text, "a platform as os/architecture[/variant], such as linux/arm64")
    return value


def _truth(place: str, text: str, _: Path) -> bool:
    if (value := text.strip().lower()) not in _TRUE | _FALSE:
        raise InvalidSpecError(place, text, "one of true, false, yes, no, on, off, 1, 0")
    return value in _TRUE


def _number(place: str, text: str, _: Path) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value := text.strip()):
        raise InvalidSpecError(place, text, "a whole number from 0, after an equals sign on the command line")
    return int(value)


def _file_to_write(place: str, text: str, base: Path) -> Path:
    path = _path(place, text, base)
    if path.is_dir():
        raise InvalidSpecError(place, text, "the name of a file to write, such as timeline.html: it is a directory")
    return path
