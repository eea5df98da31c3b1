"""What becomes of containers: ``start``, ``stop``, ``kill``, ``restart``, ``pause``, ``unpause``, ``wait``, ``rm`` …"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pytest_pycontainer.cli.command import Command
from pytest_pycontainer.cli.flags import Flag, Given

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_pycontainer.cli.session import Session
    from pytest_pycontainer.engine.container import Container

_USAGE = "[OPTIONS] CONTAINER [CONTAINER...]"


def _each(session: Session, given: Given, act: Callable[[Container], str | None]) -> int:
    """Does something with each container that is named, and prints what comes of it, else its name."""
    return session.for_each(given.arguments, lambda name: session.print(act(session.engine.find(name)) or name))


def _stop(session: Session, given: Given) -> int:
    seconds = given.number("time")

    def stop(container: Container) -> None:
        container.stop(None if seconds is None else _grace(seconds))

    return _each(session, given, stop)


def _restart(session: Session, given: Given) -> int:
    seconds = given.number("time")

    def restart(container: Container) -> None:
        container.restart(None if seconds is None else _grace(seconds))

    return _each(session, given, restart)


def _grace(seconds: int) -> float:
    """Docker waits for ever with a number below 0."""
    return float("inf") if seconds < 0 else seconds


def _kill(session: Session, given: Given) -> int:
    signal = given.text("signal") or "KILL"
    return _each(session, given, lambda container: container.kill(int(signal) if signal.isdecimal() else signal))


def _start(session: Session, given: Given) -> int:
    return _each(session, given, lambda container: container.start())


def _pause(session: Session, given: Given) -> int:
    return _each(session, given, lambda container: container.pause())


def _unpause(session: Session, given: Given) -> int:
    return _each(session, given, lambda container: container.unpause())


def _wait(session: Session, given: Given) -> int:
    return _each(session, given, lambda container: str(container.wait()))


def _remove(session: Session, given: Given) -> int:
    return _each(session, given, partial(_remove_one, force=given.switch("force")))


def _remove_one(container: Container, *, force: bool) -> None:
    container.remove(force=force)


def _rename(session: Session, given: Given) -> int:
    name, new_name = given.arguments
    session.engine.find(name).rename(new_name)
    return 0


_TIME = Flag("time", "Seconds to wait before SIGKILL", "t", "int", default="the container's, or 10")

COMMANDS = {
    "start": Command(_USAGE, _start, least=1, most=None),
    "stop": Command(_USAGE, _stop, (_TIME,), least=1, most=None),
    "restart": Command(_USAGE, _restart, (_TIME,), least=1, most=None),
    "kill": Command(
        _USAGE, _kill, (Flag("signal", "Signal to send", "s", "string", default="KILL"),), least=1, most=None
    ),
    "pause": Command("CONTAINER [CONTAINER...]", _pause, least=1, most=None),
    "unpause": Command("CONTAINER [CONTAINER...]", _unpause, least=1, most=None),
    "wait": Command("CONTAINER [CONTAINER...]", _wait, least=1, most=None),
    "rename": Command("CONTAINER NEW_NAME", _rename, least=2, most=2),
    "rm": Command(
        _USAGE,
        _remove,
        (
            Flag("force", "Kill it if it runs", "f"),
            Flag("volumes", "Accepted for docker's sake: volumes without a name always go with it", "v"),
        ),
        least=1,
        most=None,
    ),
}
