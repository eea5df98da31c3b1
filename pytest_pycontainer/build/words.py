"""How an instruction's arguments are cut: flags, words, ``name=value`` pairs, and the JSON (exec) form."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pytest_pycontainer.build.instructions import Command, Word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_pycontainer.build.lines import Line

SPACE = " \t\v\f\r"
"""What stands between words, and nothing else does: a no-break space, for one, belongs to its word."""

WHITE = SPACE + "\n\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
"""What is white to Go: it is taken away around lines and arguments, and stands between quoted words."""

_WORD = re.compile(rf"[^{SPACE}]+")
_END_OF_FLAGS = re.compile(rf"[{SPACE}]*--(?![^{SPACE}])")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

FlagKind = Literal["text", "texts", "switch"]
"""``--name=value`` once, ``--name=value`` any number of times, ``--name`` or ``--name=true`` or ``--name=false``."""


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags of an instruction that were given: their values, and where they begin (at the value)."""

    given: Mapping[str, tuple[Word, ...]]

    def word(self, name: str) -> Word | None:
        """A flag's value; None if it was not given, or empty."""
        words = self.given.get(name)
        return words[0] if words and words[0].text else None

    def words(self, name: str) -> tuple[Word, ...]:
        """The values of a flag that may be repeated, in order."""
        return self.given.get(name, ())

    def switch(self, name: str) -> bool | None:
        """Whether a switch is on; None if it was not given."""
        words = self.given.get(name)
        return words[0].text.lower() != "false" if words else None


def split_flags(line: Line, start: int, instruction: str, known: Mapping[str, FlagKind]) -> tuple[Flags, int]:
    """The flags from ``start`` on, and where what follows them begins. Quotes in them are taken away.

    Raises DockerfileError for flags that are not ``known``, repeated, or have a value that makes no sense.
    """
    given: dict[str, tuple[Word, ...]] = {}
    while (flag := _read_flag(line.text, start)) is not None:
        word, start = flag
        name, equals, value = word.text[2:].partition("=")
        kind = known.get(name)
        if kind is None:
            have = ", ".join(f"--{other}" for other in sorted(known)) or "none"
            raise line.error(word.offset, f"{instruction} has no flag --{name}; it knows {have}")
        if kind == "switch" and (value.lower() not in ("", "true", "false") or (equals and not value)):
            raise line.error(word.offset, f"--{name} is true or false, not {value!r}")
        if kind != "switch" and not equals:
            raise line.error(word.offset, f"--{name} needs a value: --{name}=…")
        if name in given and kind != "texts":
            raise line.error(word.offset, f"--{name} was given before")
        given[name] = (*given.get(name, ()), Word(value, word.offset + 2 + len(name) + len(equals)))
    return Flags(given), skip_flags(line.text, start)


def skip_flags(text: str, start: int) -> int:
    """Where what follows the flags begins."""
    while (flag := _read_flag(text, start)) is not None:
        _, start = flag
    if end := _END_OF_FLAGS.match(text, start):
        start = end.end()
    return _skip(text, start, WHITE)


def _skip(text: str, start: int, characters: str) -> int:
    return len(text) - len(text[start:].lstrip(characters))


def _read_flag(text: str, start: int) -> tuple[Word, int] | None:
    r"""The flag that comes next, if one does, and where it ends. The escape here is always ``\``, as in Docker."""
    begin = at = _skip(text, start, SPACE)
    if not text.startswith("--", at) or _END_OF_FLAGS.match(text, at):
        return None
    flag, quote = "", ""
    while at < len(text) and (quote or text[at] not in SPACE):
        character = text[at]
        if character == "\\":
            at += 1
            flag += text[at : at + 1]
        elif quote:
            flag += "" if character == quote else character
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        else:
            flag += character
        at += 1
    return Word(flag, begin), min(at, len(text))


def split_spaces(line: Line, start: int, end: int | None = None) -> list[Word]:
    """Words between white space, whatever quotes they hold."""
    end = len(line.text) if end is None else end
    return [Word(match[0], match.start()) for match in _WORD.finditer(line.text, start, end)]


def split_quoted(line: Line, start: int) -> list[Word]:
    """Words between white space that is neither quoted nor escaped; quotes and escapes are kept."""
    text, words, at = line.text, [], start
    while at < len(text):
        if text[at] in WHITE:
            at += 1
            continue
        begin, quote = at, ""
        while at < len(text) and (quote or text[at] not in WHITE):
            character = text[at]
            if character == line.escape and quote != "'":
                if at + 1 == len(text):
                    text = text[:at]  # it has nothing to escape
                    break
                at += 1
            elif quote:
                quote = "" if character == quote else quote
            elif character in "'\"":
                quote = character
            at += 1
        if begin < at:
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
        name, *others = split_spaces(line, start)
        if not others:
            raise line.error(name.offset + len(name.text), f"expected = and a value after {name.text}")
        return ((name, Word(line.text[others[0].offset :], others[0].offset)),)
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
    try:
        array = read_json(text)
    except json.JSONDecodeError as problem:
        wanted = "a JSON array of strings in double quotes"
        raise line.error(start + problem.pos, f"expected {wanted}: {problem.msg[0].lower()}{problem.msg[1:]}") from None
    if array is None:
        return None
    if not all(isinstance(item, str) for item in array):
        raise line.error(start, "expected a JSON array of strings; something else than a string is in this one")
    return [Word(item, start) for item in array if isinstance(item, str)]


def read_json(text: str) -> list[object] | None:
    """A JSON array's items, numbers as text; None for text in another form.

    Raises json.JSONDecodeError for what begins as an array of strings and is none.
    """
    if not text.startswith("["):
        return None
    try:
        # Numbers are refused anyway; Python would first make them, and has its limits.
        array = json.loads(text, parse_int=_Number, parse_float=_Number, parse_constant=_no_constant)
    except (json.JSONDecodeError, RecursionError) as problem:
        if isinstance(problem, json.JSONDecodeError) and text[1:2] in ("'", '"'):
            raise
        return None
    # Half a UTF-16 pair is no character: Go's decoder puts this in its place.
    return [_LONE_SURROGATE.sub("\ufffd", item) if isinstance(item, str) else item for item in array]


class _Number:
    """A number in JSON, which is all that is to be known of it."""

    def __init__(self, text: str) -> None:
        del text


def _no_constant(name: str) -> object:
    raise json.JSONDecodeError(f"{name} is no JSON", name, 0)
