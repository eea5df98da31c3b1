r"""What ``${x#p}``, ``${x%p}`` and ``${x/p/w}`` make of a value.

Patterns are Docker's: ``*`` is any text, ``?`` any character, and ``\`` stands before ``*``, ``?`` and ``\`` that mean
themselves (and before ``}`` and ``/``, which would end the pattern). Brackets mean themselves, unlike in a shell.
"""

from __future__ import annotations

import re

from pytest_pycontainer.build.patterns import PatternProblem

_ANY_TEXT, _ANY_CHARACTER = 0, 1


def without_prefix(value: str, pattern: str, *, longest: bool) -> str:
    """The value without the shortest or longest beginning that matches. Raises PatternProblem."""
    match = _compile(_read(pattern), longest=longest).match(value)
    return value[match.end() :] if match else value


def without_suffix(value: str, pattern: str, *, longest: bool) -> str:
    """The value without the shortest or longest end that matches. Raises PatternProblem."""
    match = _compile(_read(pattern)[::-1], longest=longest).match(value[::-1])
    return value[: len(value) - match.end()] if match else value


def replaced(value: str, pattern: str, replacement: str, *, everywhere: bool) -> str:
    """The value with the first match, or every match, replaced; a match is as long as can be. Raises PatternProblem."""
    out, copied, last = "", 0, -1
    for match in _compile(_read(pattern), longest=True).finditer(value):
        # As in Go, and unlike in Python, there is no empty match right behind a match.
        if match.start() == match.end() == last:
            continue
        out += value[copied : match.start()] + replacement
        copied = last = match.end()
        if not everywhere:
            break
    return out + value[copied:]


def _read(pattern: str) -> list[str | int]:
    """A pattern's characters, wildcards being numbers."""
    out: list[str | int] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            escaped = pattern[at + 1 : at + 2]
            if not escaped or escaped not in "*?\\}/":
                raise PatternProblem(at, f"in a pattern, a backslash stands before *, ?, \\, }} or /, not {escaped!r}")
            out.append(escaped)
            at += 1
        else:
            out.append({"*": _ANY_TEXT, "?": _ANY_CHARACTER}.get(character, character))
        at += 1
    return out


def _compile(pattern: list[str | int], *, longest: bool) -> re.Pattern[str]:
    """A regular expression that matches the shortest or longest beginning.

    Each wildcard but the last takes as little as it can and is never tried again (which could change nothing): the time
    stays that of one search, however many there are.
    """
    literals = [""]
    for token in pattern:
        if token == _ANY_TEXT:
            literals.append("")
        else:
            literals[-1] += "." if token == _ANY_CHARACTER else re.escape(str(token))
    first, *others = literals
    if not others:
        return re.compile(first, re.DOTALL)
    *middle, last = others
    earliest = "".join(f"(?>.*?{literal})" for literal in middle)
    return re.compile(f"{first}{earliest}.*{'' if longest else '?'}{last}", re.DOTALL)
