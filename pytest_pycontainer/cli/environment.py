"""``-e`` and ``--env-file``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_pycontainer.cli.flags import Given, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator


def read_environment(given: Given) -> dict[str, str]:
    """The variables of ``env-file`` and ``env``, in which a name alone takes this process's value, if it has one."""
    texts = [line for file in given.texts("env-file") for line in _lines(file)]
    found: dict[str, str] = {}
    for text in (*texts, *given.texts("env")):
        name, equals, value = text.partition("=")
        if equals:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
        else:
            found.pop(name, None)
    return found


def _lines(file: str) -> Iterator[str]:
    """The variables that a file has, one a line. Raises UsageError, which names the line."""
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"open {file}: {error.strerror}") from None
    for number, line in enumerate(content.splitlines(), 1):
        try:
            text = line.decode().removeprefix("\ufeff").lstrip()
        except UnicodeDecodeError as error:
            raise UsageError(f"env file {file}, line {number}: no UTF-8 at byte {error.start + 1}") from None
        if not text or text.startswith("#"):
            continue
        name = text.partition("=")[0]
        if not name or name != name.strip() or " " in name or "\t" in name:
            raise UsageError(f"env file {file}, line {number}: '{name}' is no variable's name")
        yield text
