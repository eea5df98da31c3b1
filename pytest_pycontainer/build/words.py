"""How an instruction's arguments are cut: flags, words, ``name=value`` pairs, and the JSON (exec) form."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from pytest_pycontainer.build.instructions import Command, Word

if TYPE_CHECKING:
    from pytest_pycontainer.build.lines import Line

_FLAG = re.compile(r"\s*--([A-Za-z][A-Za-z0-9_-]*)(=(\S*))?(?=\s|$)")


def split_flags(line: Line, start: int, known: frozenset[str], later: frozenset[str]) -> tuple[dict[str, Word], int]:
    """The ``--name=value`` flags from ``start`` on, and where what follows them begins.

    ``later`` holds flags that Docker knows and this version does not. Raises DockerfileError.
    """
    flags: dict[str, Word] = {}
    while match := _FLAG.match(line.text, start):
        name, offset = match[1], match.start(1) - 2
        instruction = line.text.split(maxsplit=1)[0].upper()
        if name in later:
            raise line.error(offset, f"this version of pytest-pycontainer does not know {instruction} --{name} yet")
        if name not in known:
            have = ", ".join(f"--{flag}" for flag in sorted(known)) or "none"
            raise line.error(offset, f"{instruction} has no flag --{name}; it knows {have}")
        if not match[3]:
            raise line.error(offset, f"--{name} needs a value: --{name}=…")
        if name in flags:
            raise line.error(offset, f"--{name} was given before")
        flags[name] = Word(match[3], match.start(3))
        start = match.end()
    rest = re.compile(r"\s*").match(line.text, start)
    return flags, rest.end() if rest else start


def split_spaces(line: Line, start: int) -> list[Word]:
    """Words between white space, whatever quotes they hold."""
    return [Word(match[0], match.start()) for match in re.compile(r"\S+").finditer(line.text, start)]


def split_quoted(line: Line, start: int) -> list[Word]:
    """Words between white space that is neither quoted nor escaped; quotes and escapes are kept."""
    text, words, at = line.text, [], start
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        begin, quote = at, ""
        while at < len(text) and (quote or not text[at].isspace()):
            character = text[at]
            if character == line.escape and quote != "'":
                at += 1
            elif quote:
                quote = "" if character == quote else quote
            elif character in "'\"":
                quote = character
            at += 1
        words.append(Word(text[begin:at], begin))
    return words


def split_pairs(line: Line, start: int) -> tuple[tuple[Word, Word], ...]:
    """``name=value …``, or the old form ``name value``, in which the value goes to the line's end.

    Raises DockerfileError.
    """
    words = split_quoted(line, start)
    if not words:
        raise line.error(len(line.text), "expected name=value")
    if "=" not in words[0].text:
        if len(words) == 1:
            raise line.error(words[0].offset + len(words[0].text), f"expected = and a value after {words[0].text}")
        return ((words[0], Word(line.text[words[1].offset :], words[1].offset)),)
    return tuple(_pair(line, word) for word in words)


def _pair(line: Line, word: Word) -> tuple[Word, Word]:
    name, equals, value = word.text.partition("=")
    if not equals:
        raise line.error(word.offset, f"expected name=value; {word.text} has no =")
    if not name:
        raise line.error(word.offset, "expected a name before =")
    return Word(name, word.offset), Word(value, word.offset + len(name) + 1)


def split_command(line: Line, start: int) -> Command:
    """Exec form if it is JSON, else shell form. Raises DockerfileError for what was meant as JSON and is not."""
    return line.text[start:] if (words := split_json(line, start)) is None else tuple(word.text for word in words)


def split_json(line: Line, start: int) -> list[Word] | None:
    """The strings of a JSON array, all at its offset; None for text in another form.

    The shell's ``[`` is a command and has a space after it, so that ``["`` can only be meant as JSON. Raises
    DockerfileError.
    """
    text = line.text[start:]
    if not text.startswith("["):
        return None
    meant = text[1:2] in ("'", '"')
    try:
        array = json.loads(text)
    except json.JSONDecodeError as problem:
        if not meant:
            return None
        wanted = "a JSON array of strings in double quotes"
        raise line.error(start + problem.pos, f"expected {wanted}: {problem.msg[0].lower()}{problem.msg[1:]}") from None
    if not all(isinstance(item, str) for item in array):
        raise line.error(start, "expected a JSON array of strings; something else than a string is in this one")
    return [Word(item, start) for item in array]
