"""Where the engine keeps its files, decided once and frozen.

A value is taken from the first place that has one: a command line option, pytest's ini file, the environment, the
default.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import InvalidSpecError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_ROOT = Path("/var/lib/pycontainer")
"""The store of the user root."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What an engine is told about the machine.

    ``root`` is the store: images, layers and build cache, which outlive a run. ``state`` holds what is only true while
    the machine is up: locks and records of running containers. Both are absolute; neither needs to exist.
    """

    root: Path
    state: Path

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

        ``options`` and ``ini`` map a setting's name (``root``, ``state``) to its text; ``environment`` defaults to this
        process's, ``user`` to its effective user id. A relative path counts from the working directory, one from
        ``ini`` from ``ini_directory``. An empty text is no value. Raises InvalidSpecError for a path that is no
        directory, naming the place it came from.
        """
        environment = os.environ if environment is None else environment
        user = os.geteuid() if user is None else user
        default_root, default_state = _default_directories(environment, user)
        defaults = {"root": default_root, "state": default_state}

        def decide(name: str) -> Path:
            here = Path.cwd()
            places = (
                (f"--pycontainer-{name}", options or {}, name, here),
                (f"ini value pycontainer_{name}", ini or {}, name, ini_directory or here),
                (f"environment variable PYCONTAINER_{name.upper()}", environment, f"PYCONTAINER_{name.upper()}", here),
            )
            for place, values, key, base in places:
                if text := values.get(key):
                    return _directory(place, text, base)
            return defaults[name]

        return cls(root=decide("root"), state=decide("state"))


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
    if "\0" in text:
        raise InvalidSpecError(place, text, "a path without a NUL character")
    path = Path(os.path.normpath(base / Path(text).expanduser()))
    existing = path
    while not os.path.lexists(existing):
        existing = existing.parent
    if not existing.is_dir():
        detail = "" if existing == path else f"; {existing} is none"
        raise InvalidSpecError(place, text, f"a directory, or a path where one can be made{detail}")
    return path
