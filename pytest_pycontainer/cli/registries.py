"""Registries: ``pull``, ``push``, ``login``, ``logout``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pytest_pycontainer.cli.command import Command
from pytest_pycontainer.cli.flags import Flag, Given, UsageError

if TYPE_CHECKING:
    from pytest_pycontainer.cli.session import Session

_HUB = "docker.io"


def _pull(session: Session, given: Given) -> int:
    (reference,) = given.arguments
    session.shows_progress = not given.switch("quiet")
    image = session.engine.pull(reference, platform=given.text("platform"))
    session.print(image.canonical_name)
    return 0


def _push(session: Session, given: Given) -> int:
    (reference,) = given.arguments
    session.shows_progress = not given.switch("quiet")
    session.engine.push(reference)
    if given.switch("quiet"):
        session.print(session.engine.image(reference).canonical_name)
    return 0


def _login(session: Session, given: Given) -> int:
    registry = given.arguments[0] if given.arguments else _HUB
    username, password = given.text("username"), given.text("password")
    if given.switch("password-stdin"):
        if password is not None:
            raise UsageError("--password and --password-stdin are mutually exclusive", 1)
        if username is None:
            raise UsageError("must provide --username with --password-stdin", 1)
        password = sys.stdin.readline().rstrip("\r\n")
    elif password is not None:
        session.complain("WARNING! A password on the command line can be read by others: use --password-stdin.")
    if None in (username, password) and not sys.stdin.isatty():
        raise UsageError("cannot perform an interactive login from a non TTY device", 1)
    try:
        username = input("Username: ") if username is None else username
        if password is None:
            from getpass import getpass

            password = getpass("Password: ")
    except EOFError:
        session.print("")
        raise UsageError("the input ended before user name and password were known", 1) from None
    session.engine.login(registry, username, password)
    session.print("Login Succeeded")
    return 0


def _logout(session: Session, given: Given) -> int:
    registry = given.arguments[0] if given.arguments else _HUB
    if session.engine.logout(registry):
        session.print(f"Removing login credentials for {registry}")
    else:
        session.print(f"Not logged in to {registry}")
    return 0


_QUIET = Flag("quiet", "Show nothing meanwhile", "q")

COMMANDS = {
    "pull": Command(
        "[OPTIONS] NAME[:TAG|@DIGEST]",
        _pull,
        (Flag("platform", "For another platform, os/architecture[/variant]", value="string"), _QUIET),
        least=1,
        most=1,
    ),
    "push": Command("[OPTIONS] NAME[:TAG]", _push, (_QUIET,), least=1, most=1),
    "login": Command(
        "[OPTIONS] [REGISTRY]",
        _login,
        (
            Flag("password", "Password", "p", "string"),
            Flag("password-stdin", "Read the password from standard input"),
            Flag("username", "User name", "u", "string"),
        ),
        most=1,
    ),
    "logout": Command("[REGISTRY]", _logout, most=1),
}
