"""Reading a Dockerfile: text → instructions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_pycontainer.build import instructions as kinds
from pytest_pycontainer.build.instructions import Instruction, Word
from pytest_pycontainer.build.lines import Line, read_lines
from pytest_pycontainer.build.words import (
    split_command,
    split_flags,
    split_json,
    split_pairs,
    split_quoted,
    split_spaces,
)
from pytest_pycontainer.errors import DockerfileError

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME = re.compile(r"\S+")
_STAGE_NAME = re.compile(r"[a-z][a-z0-9._-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# "<<" at the beginning of a word, but for a file descriptor, and then a name: not the shell's "<<<" nor a shift.
_HEREDOC = re.compile(r"(?<!\S)[0-9]*<<-?(?P<quote>[\"']?)[A-Za-z_]\w*(?P=quote)")
_LATER = frozenset({"ADD", "HEALTHCHECK", "ONBUILD"})
_NO_FLAGS: frozenset[str] = frozenset()


def parse(text: str, file: str) -> tuple[Instruction, ...]:
    """Reads a Dockerfile's text; ``file`` is its name for errors.

    Raises DockerfileError, at the line and column, for whatever is not Dockerfile language, and for what Docker knows
    and this version does not.
    """
    lines = read_lines(text, file)
    if not lines:
        raise DockerfileError(file, 1, 1, "", "no instructions in it; a Dockerfile begins with FROM")
    return tuple(_parse_line(line) for line in lines)


def _parse_line(line: Line) -> Instruction:
    match = _NAME.match(line.text)
    name = match[0].upper() if match else ""
    start = len(name)
    while line.text[start : start + 1].isspace():
        start += 1
    if name in _LATER:
        instead = "; use COPY" if name == "ADD" else ""
        raise line.error(0, f"this version of pytest-pycontainer does not know {name} yet{instead}")
    reader = _READERS.get(name)
    if reader is None:
        raise line.error(0, f"unknown instruction {line.text[: len(name)]}{_nearest(name)}")
    if start >= len(line.text):
        raise line.error(len(line.text), f"expected something after {name}")
    return reader(line, start)


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, _READERS, 1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(_READERS))}"


def _from(line: Line, start: int) -> Instruction:
    _, start = split_flags(line, start, _NO_FLAGS, frozenset({"platform"}))
    words = split_spaces(line, start)
    if not words:
        raise line.error(len(line.text), "expected an image after FROM")
    if len(words) == 1:
        return kinds.From(line, words[0], None)
    if words[1].text.upper() != "AS":
        raise line.error(words[1].offset, "expected AS and a stage's name, or nothing, after the image")
    if len(words) == 2:
        raise line.error(len(line.text), "expected a stage's name after AS")
    if len(words) > 3:
        raise line.error(words[3].offset, "expected nothing after the stage's name")
    name = words[2].text.lower()
    if not _STAGE_NAME.fullmatch(name):
        wanted = "a letter, then letters, digits, '.', '_' and '-'"
        raise line.error(words[2].offset, f"{words[2].text} cannot name a stage; wanted {wanted}")
    return kinds.From(line, words[0], name)


def _run(line: Line, start: int) -> Instruction:
    _, start = split_flags(line, start, _NO_FLAGS, frozenset({"mount", "network", "security", "device"}))
    _refuse_heredoc(line, start)
    command = split_command(line, start)
    if not command:
        raise line.error(start, "expected a command after RUN")
    return kinds.Run(line, command)


def _copy(line: Line, start: int) -> Instruction:
    known = frozenset({"from", "chown", "chmod"})
    flags, start = split_flags(line, start, known, frozenset({"link", "parents", "exclude"}))
    _refuse_heredoc(line, start)
    words = split_json(line, start)
    if words is None:
        words = split_spaces(line, start)
    if len(words) < 2:
        raise line.error(len(line.text), "expected at least one source and a destination after COPY")
    return kinds.Copy(
        line,
        sources=tuple(words[:-1]),
        destination=words[-1],
        source_stage=flags.get("from"),
        owner=flags.get("chown"),
        mode=flags.get("chmod"),
    )


def _refuse_heredoc(line: Line, start: int) -> None:
    if match := _HEREDOC.search(line.text, start):
        raise line.error(match.start(), "this version of pytest-pycontainer does not know here-documents yet")


def _arg(line: Line, start: int) -> Instruction:
    defaults: list[tuple[Word, Word | None]] = []
    for word in split_quoted(line, start):
        name, equals, default = word.text.partition("=")
        if not _VARIABLE.fullmatch(name):
            raise line.error(
                word.offset, f"{name or word.text} cannot name a build argument; wanted name or name=default"
            )
        value = Word(default, word.offset + len(name) + 1) if equals else None
        defaults.append((Word(name, word.offset), value))
    return kinds.Arg(line, tuple(defaults))


def _paths(line: Line, start: int) -> tuple[Word, ...]:
    words = split_json(line, start)
    if words is None:
        words = split_spaces(line, start)
    if not words:
        raise line.error(start, "expected at least one path")
    return tuple(words)


def _shell(line: Line, start: int) -> Instruction:
    words = split_json(line, start)
    if not words:
        raise line.error(start, 'expected a JSON array such as ["/bin/sh", "-c"]: SHELL has no other form')
    return kinds.Shell(line, tuple(word.text for word in words))


def _single(line: Line, start: int) -> Word:
    words = split_spaces(line, start)
    if len(words) > 1:
        raise line.error(words[1].offset, "expected one word")
    return words[0]


def _rest(line: Line, start: int) -> Word:
    return Word(line.text[start:], start)


_READERS: dict[str, Callable[[Line, int], Instruction]] = {
    "FROM": _from,
    "RUN": _run,
    "COPY": _copy,
    "ARG": _arg,
    "ENV": lambda line, start: kinds.Env(line, split_pairs(line, start)),
    "LABEL": lambda line, start: kinds.Label(line, split_pairs(line, start)),
    "WORKDIR": lambda line, start: kinds.Workdir(line, _rest(line, start)),
    "USER": lambda line, start: kinds.User(line, _single(line, start)),
    "EXPOSE": lambda line, start: kinds.Expose(line, tuple(split_spaces(line, start))),
    "VOLUME": lambda line, start: kinds.Volume(line, _paths(line, start)),
    "STOPSIGNAL": lambda line, start: kinds.StopSignal(line, _single(line, start)),
    "SHELL": _shell,
    "CMD": lambda line, start: kinds.Cmd(line, split_command(line, start)),
    "ENTRYPOINT": lambda line, start: kinds.Entrypoint(line, split_command(line, start)),
    "MAINTAINER": lambda line, start: kinds.Maintainer(line, _rest(line, start)),
}
