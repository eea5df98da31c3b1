"""Volumes: ``volume create``, ``inspect``, ``ls``, ``prune``, ``rm``."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from pytest_pycontainer.cli.command import Command
from pytest_pycontainer.cli.flags import Flag, Given
from pytest_pycontainer.cli.format import FORMAT, lines_of
from pytest_pycontainer.cli.inspecting import inspect_each
from pytest_pycontainer.cli.units import size
from pytest_pycontainer.errors import VolumeInUseError, VolumeNotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_pycontainer.cli.session import Session
    from pytest_pycontainer.engine.volumes import Volume

_HEADINGS = {"Driver": "DRIVER", "Name": "VOLUME NAME", "Mountpoint": "MOUNTPOINT", "Scope": "SCOPE"}


def _create(session: Session, given: Given) -> int:
    name = given.arguments[0] if given.arguments else secrets.token_hex(32)
    session.print(session.engine.volume(name).name)
    return 0


def _list(session: Session, given: Given) -> int:
    rows = [_row(volume) for volume in session.engine.volumes()]
    if given.switch("quiet"):
        for row in rows:
            session.print(row["Name"])
        return 0
    for line in lines_of(rows, given.text("format"), ("Driver", "Name"), _HEADINGS):
        session.print(line)
    return 0


def _row(volume: Volume) -> Mapping[str, str]:
    return {"Driver": "local", "Name": volume.name, "Mountpoint": str(volume.path), "Scope": "local"}


def _inspect(session: Session, given: Given) -> int:
    known = _volumes(session)

    def find(name: str) -> Mapping[str, str]:
        if name not in known:
            raise VolumeNotFoundError(name)
        return _row(known[name])

    return inspect_each(session, given, find)


def _volumes(session: Session) -> dict[str, Volume]:
    return {volume.name: volume for volume in session.engine.volumes()}


def _remove(session: Session, given: Given) -> int:
    known = _volumes(session)

    def remove(name: str) -> None:
        if name in known:
            known[name].remove()
        elif not given.switch("force"):
            raise VolumeNotFoundError(name)
        session.print(name)

    return session.for_each(given.arguments, remove)


def _prune(session: Session, given: Given) -> int:
    warning = "This will remove all local volumes not used by at least one container."
    if not given.switch("force") and not session.confirm(warning):
        return 0
    removed, reclaimed = [], 0
    for volume in session.engine.volumes():
        taken = volume.size
        try:
            volume.remove()
        except VolumeInUseError:
            continue
        removed.append(volume.name)
        reclaimed += taken
    if removed:
        session.print("\n".join(("Deleted Volumes:", *removed, "")))
    session.print(f"Total reclaimed space: {size(reclaimed)}")
    return 0


COMMANDS = {
    "create": Command("[VOLUME]", _create, most=1),
    "ls": Command("[OPTIONS]", _list, (FORMAT, Flag("quiet", "Print names alone", "q"))),
    "inspect": Command("[OPTIONS] VOLUME [VOLUME...]", _inspect, (FORMAT._replace(short="f"),), least=1, most=None),
    "rm": Command(
        "[OPTIONS] VOLUME [VOLUME...]",
        _remove,
        (Flag("force", "One that is not there is no error", "f"),),
        least=1,
        most=None,
    ),
    "prune": Command("[OPTIONS]", _prune, (Flag("force", "Do not ask", "f"),)),
}
