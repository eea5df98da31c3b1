"""Images in files: ``save``, ``load``, ``import``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pytest_pycontainer.cli.command import Command
from pytest_pycontainer.cli.flags import Flag, Given, UsageError

if TYPE_CHECKING:
    from pytest_pycontainer.cli.session import Session


def _save(session: Session, given: Given) -> int:
    if (file := given.text("output")) is not None:
        session.engine.save(given.arguments, file)
        return 0
    if sys.stdout.isatty():
        raise UsageError("cowardly refusing to save to a terminal. Use the -o flag or redirect", 1)
    session.engine.save(given.arguments, sys.stdout.buffer)
    return 0


def _load(session: Session, given: Given) -> int:
    file = given.text("input")
    if file is None and sys.stdin.isatty():
        raise UsageError("requested load from stdin, but stdin is empty", 1)
    for image in session.engine.load(sys.stdin.buffer if file is None else file):
        named = image.name != image.id
        session.print(f"Loaded image{'' if named else ' ID'}: {image.name}")
    return 0


def _import(session: Session, given: Given) -> int:
    source, *tags = given.arguments
    image = session.engine.import_image(
        sys.stdin.buffer if source == "-" else source,
        tag=tags[0] if tags else None,
        changes=given.texts("change"),
        message=given.text("message") or "",
        platform=given.text("platform"),
    )
    session.print(image.id)
    return 0


COMMANDS = {
    "save": Command(
        "[OPTIONS] IMAGE [IMAGE...]",
        _save,
        (Flag("output", "Write to a file, instead of standard output", "o", "string"),),
        least=1,
        most=None,
    ),
    "load": Command(
        "[OPTIONS]",
        _load,
        (
            Flag("input", "Read from a file, instead of standard input", "i", "string"),
            Flag("quiet", "Accepted for docker's sake: nothing is shown meanwhile", "q"),
        ),
    ),
    "import": Command(
        "[OPTIONS] file|- [REPOSITORY[:TAG]]",
        _import,
        (
            Flag("change", "Apply a Dockerfile instruction to the image", "c", "list", True),
            Flag("message", "Set the message in its history", "m", "string"),
            Flag("platform", "Say what it is for, os/architecture[/variant]", value="string"),
        ),
        least=1,
        most=2,
    ),
}
