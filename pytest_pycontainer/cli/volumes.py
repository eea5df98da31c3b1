"""Volumes: ``volume create``, ``inspect``, ``ls``, ``prune``, ``rm``."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from pytest_pycontainer.cli.command import Command
from pytest_pycontainer.cli.flags import Flag, Given
from pytest_pycontainer.cli.format import FORMAT, lines_of, print_inspected
from pytest_pycontainer.cli.units import size
from pytest_pycontainer.errors import PycontainerError, VolumeInUseError, VolumeNotFoundError

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
    known = {volume.name: volume for volume in session.engine.volumes()}
    code = 0
    found = []
    for name in given.arguments:
        if name in known:
            found.append(_row(known[name]))
        else:
            session.print_error(VolumeNotFoundError(name))
            code = 1
    for line in print_inspected(found, given.text("format")):
        session.print(line)
    return code


def _remove(session: Session, given: Given) -> int:
    known = {volume.name: volume for volume in session.engine.volumes()}
    code = 0
    for name in given.arguments:
        try:
            if name in known:
                known[name].remove()
            elif not given.switch("force"):
                raise VolumeNotFoundError(name)
        except PycontainerError as error:
            session.print_error(error)
            code = 1
            continue
        session.print(name)
    return code


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
