"""What a text is to be like, as callers of waits say it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from pytest_pycontainer.errors import InvalidSpecError

TextMatch: TypeAlias = str | re.Pattern[str] | Callable[[str], object]
"""A text that is to be in it, a pattern that is to be found in it, or a function that says whether it is right."""

_SHOWN = 200


def parse_match(field: str, match: TextMatch | None) -> TextMatch | None:
    """Raises InvalidSpecError for what is none."""
    if match is None or isinstance(match, str) or callable(match):
        return match
    if isinstance(match, re.Pattern) and isinstance(match.pattern, str):
        return match
    raise InvalidSpecError(field, repr(match), "a text, a compiled pattern of text, or a function of the text")


def unlike(text: str, match: TextMatch | None) -> str | None:
    """None for a text that is so, as any is without a ``match``; else its beginning, for a message.

    An exception of a function means that it is not so (yet), and is in the message.
    """
    try:
        if match is None or _is_like(text, match):
            return None
    except Exception as error:  # noqa: BLE001  (whatever a parser raises for half an answer)
        return f"{beginning(text)} ({type(error).__name__}: {error})"
    return beginning(text)


def _is_like(text: str, match: TextMatch) -> bool:
    if isinstance(match, str):
        return match in text
    return bool(match.search(text) if isinstance(match, re.Pattern) else match(text))


def in_words(match: TextMatch) -> str:
    """What is wanted, for a message."""
    if isinstance(match, str):
        return repr(match)
    return repr(match.pattern) if isinstance(match, re.Pattern) else getattr(match, "__name__", repr(match))


def beginning(text: str) -> str:
    """As much of it as a message has room for."""
    return repr(text[:_SHOWN]) + (f" and {len(text) - _SHOWN} more characters" if len(text) > _SHOWN else "")
