"""A command of ``pycontainer``: what it is called, takes, and does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from pytest_pycontainer.cli.flags import Flag, Given, UsageError, parse

if TYPE_CHECKING:
    from pytest_pycontainer.cli.session import Session

HELP = Flag("help", "Show this help")


class Command(NamedTuple):
    """One command: ``run`` gets what was given, and returns the exit code.

    ``usage`` is what follows its name; CONTAINER, IMAGE and VOLUME in it are names that a shell can complete. It takes
    ``least`` arguments, and ``most`` unless that is None. With ``options_first`` what follows the first argument is for
    a program in a container.
    """

    usage: str
    run: Callable[[Session, Given], int]
    flags: tuple[Flag, ...] = ()
    least: int = 0
    most: int | None = 0
    options_first: bool = False

    def read(self, name: str, words: list[str]) -> Given:
        """Reads what follows the command's name. Raises UsageError."""
        given = parse((*self.flags, HELP), words, options_first=self.options_first)
        if not given.switch("help"):
            self._check_count(name, len(given.arguments))
        return given

    def _check_count(self, name: str, count: int) -> None:
        if count >= self.least and (self.most is None or count <= self.most):
            return
        if self.most == 0:
            wanted = "accepts no arguments"
        elif self.least == self.most:
            wanted = f"requires exactly {_arguments(self.least)}"
        elif count < self.least:
            wanted = f"requires at least {_arguments(self.least)}"
        else:
            wanted = f"requires at most {_arguments(self.most or 0)}"
        raise UsageError(f'"pycontainer {name}" {wanted}.', 1, shows_usage=True)


def _arguments(count: int) -> str:
    return f"{count} argument" if count == 1 else f"{count} arguments"
