"""What is in containers' file systems: ``cp``, ``diff``, ``export``, ``commit``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pytest_pycontainer.cli.command import Command
from pytest_pycontainer.cli.flags import Flag, Given, UsageError

if TYPE_CHECKING:
    from pytest_pycontainer.cli.session import Session


def _copy(session: Session, given: Given) -> int:
    (source_container, source), (container, destination) = map(_place, given.arguments)
    if source_container and container:
        raise UsageError("copying between containers is not supported", 1)
    if source_container and destination == "-":
        session.engine.find(source_container).get_archive(source, sys.stdout.buffer)
    elif source_container:
        session.engine.find(source_container).copy_from(source, destination)
    elif container and source == "-":
        session.engine.find(container).put_archive(destination, sys.stdin.buffer)
    elif container:
        session.engine.find(container).copy_to(source, destination)
    else:
        raise UsageError("must specify at least one container source", 1)
    return 0


def _place(text: str) -> tuple[str, str]:
    """A container, or "" for this machine, and a path; what begins with . or / is of this machine, with a colon too."""
    name, colon, path = text.partition(":")
    if not colon or text.startswith((".", "/")):
        return "", text
    return name, path if path.startswith("/") else f"/{path}"


def _diff(session: Session, given: Given) -> int:
    for change in session.engine.find(given.arguments[0]).diff():
        session.print(str(change))
    return 0


def _export(session: Session, given: Given) -> int:
    container = session.engine.find(given.arguments[0])
    if (file := given.text("output")) is not None:
        container.export(file)
        return 0
    if sys.stdout.isatty():
        raise UsageError("cowardly refusing to save to a terminal. Use the -o flag or redirect", 1)
    container.export(sys.stdout.buffer)
    return 0


def _commit(session: Session, given: Given) -> int:
    name, *tags = given.arguments
    image = session.engine.find(name).commit(
        tags[0] if tags else None,
        changes=given.texts("change"),
        message=given.text("message") or "",
        author=given.text("author") or "",
        pause=given.switch("pause", default=True),
    )
    session.print(image.id)
    return 0


COMMANDS = {
    "cp": Command("CONTAINER:SRC DEST|-, or SRC|- CONTAINER:DEST", _copy, least=2, most=2),
    "diff": Command("CONTAINER", _diff, least=1, most=1),
    "export": Command(
        "[OPTIONS] CONTAINER",
        _export,
        (Flag("output", "Write to a file, instead of standard output", "o", "string"),),
        least=1,
        most=1,
    ),
    "commit": Command(
        "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
        _commit,
        (
            Flag("author", "Set the image's author", "a", "string"),
            Flag("change", "Apply a Dockerfile instruction to the image", "c", "list", True),
            Flag("message", "Set the message in its history", "m", "string"),
            Flag("pause", "Pause the container meanwhile", "p", default="true"),
        ),
        least=1,
        most=2,
    ),
}
