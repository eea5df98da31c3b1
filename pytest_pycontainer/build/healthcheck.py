"""HEALTHCHECK worked out: what is run to tell whether a container is well, how often, and how often it may fail."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_pycontainer.image.config import Healthcheck
from pytest_pycontainer.image.duration import parse_duration

if TYPE_CHECKING:
    from pytest_pycontainer.build import instructions as kinds
    from pytest_pycontainer.build.lines import Line

_SHORTEST = 1_000_000
_LONGEST = 2**63 - 1
_MOST_RETRIES = 2**31 - 1


def healthcheck_of(instruction: kinds.Healthcheck) -> Healthcheck:
    """The value that the image's config takes. Raises DockerfileError for durations and retries that are none."""
    line = instruction.line
    command = instruction.command
    if command is None:
        return Healthcheck(("NONE",))
    return Healthcheck(
        test=("CMD-SHELL", command) if isinstance(command, str) else ("CMD", *command),
        interval=_duration(line, instruction.interval),
        timeout=_duration(line, instruction.timeout),
        start_period=_duration(line, instruction.start_period),
        start_interval=_duration(line, instruction.start_interval),
        retries=_retries(line, instruction.retries),
    )


def _duration(line: Line, word: kinds.Word | None) -> int:
    """Nanoseconds, 0 for none: Docker's default then holds."""
    if word is None or word.text == "-0":
        return 0
    try:
        nanoseconds = parse_duration(word.text.removeprefix("+"))
    except ValueError as error:
        raise line.error(word.offset, str(error)) from None
    if nanoseconds and not _SHORTEST <= nanoseconds <= _LONGEST:
        raise line.error(
            word.offset, f"{word.text} is too {'short' if nanoseconds < _SHORTEST else 'long'}; 1ms is the least"
        )
    return nanoseconds


def _retries(line: Line, word: kinds.Word | None) -> int:
    if word is None:
        return 0
    if not re.fullmatch(r"\+?[0-9]{1,10}", word.text) or int(word.text) > _MOST_RETRIES:
        raise line.error(word.offset, f"{word.text} is no number of retries; wanted 0 (Docker's default) or more")
    return int(word.text)
