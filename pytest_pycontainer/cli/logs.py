"""``logs``: what a container has written."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pytest_pycontainer.cli.command import Command
from pytest_pycontainer.cli.flags import Flag, Given, UsageError
from pytest_pycontainer.cli.terminal import write_all

if TYPE_CHECKING:
    from pytest_pycontainer.cli.session import Session
    from pytest_pycontainer.engine.log_selection import SelectionOptions


def _logs(session: Session, given: Given) -> int:
    container = session.engine.find(given.arguments[0])
    selection: SelectionOptions = {}
    if (since := given.text("since")) is not None:
        selection["since"] = since
    if (until := given.text("until")) is not None:
        selection["until"] = until
    if (tail := given.text("tail")) not in (None, "all"):
        selection["tail"] = _count(str(tail))
    descriptors = {"stdout": sys.stdout.fileno(), "stderr": sys.stderr.fileno()}
    pieces = container.log_pieces(follow=given.switch("follow"), timestamps=given.switch("timestamps"), **selection)
    for stream, data in pieces:
        write_all(descriptors[stream], data)
    return 0


def _count(text: str) -> int:
    try:
        return max(0, int(text))
    except ValueError:
        raise UsageError(f"invalid tail '{text}': a number of lines, or all, is wanted", 1) from None


COMMANDS = {
    "logs": Command(
        "[OPTIONS] CONTAINER",
        _logs,
        (
            Flag("follow", "Go on with what it writes", "f"),
            Flag(
                "since", "Show what is not older: a time (2026-01-31T12:00:00Z), or so long ago (10m)", value="string"
            ),
            Flag("tail", "Show the last so many lines", "n", "string", default="all"),
            Flag("timestamps", "Show times", "t"),
            Flag("until", "Show what is older", value="string"),
        ),
        least=1,
        most=1,
    )
}
