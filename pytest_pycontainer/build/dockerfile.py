"""Reading a Dockerfile: text → instructions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_pycontainer.build import instructions as kinds
from pytest_pycontainer.build.heredocs import find_markers
from pytest_pycontainer.build.instructions import Command, Heredoc, Instruction, Word
from pytest_pycontainer.build.lines import Line, read_lines
from pytest_pycontainer.build.words import (
    SPACE,
    FlagKind,
    Flags,
    split_command,
    split_flags,
    split_json,
    split_pairs,
    split_quoted,
    split_spaces,
)
from pytest_pycontainer.errors import DockerfileError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NAME = re.compile(rf"[^{SPACE}]+")
_STAGE_NAME = re.compile(r"[a-z][a-z0-9._-]*")
_VARIABLE = re.compile(r"[^\s\"'$=\\`]+")
_COPY_FLAGS: Mapping[str, FlagKind] = {
    "from": "text",
    "chown": "text",
    "chmod": "text",
    "link": "switch",
    "parents": "switch",
    "exclude": "texts",
}
_ADD_FLAGS: Mapping[str, FlagKind] = {
    "chown": "text",
    "chmod": "text",
    "link": "switch",
    "exclude": "texts",
    "checksum": "text",
    "keep-git-dir": "switch",
    "unpack": "switch",
}
_HEALTHCHECK_FLAGS: Mapping[str, FlagKind] = dict.fromkeys(
    ("interval", "timeout", "start-period", "start-interval", "retries"), "text"
)
_RUN_FLAGS: Mapping[str, FlagKind] = {"mount": "texts", "network": "text", "security": "text", "device": "texts"}
_NOT_AS_TRIGGER = ("ONBUILD", "FROM", "MAINTAINER")
# Where Docker puts a here-document that is a program, for the time that it runs.
_SCRIPTS = "/dev/pipes"


def parse(text: str, file: str) -> tuple[Instruction, ...]:
    """Reads a Dockerfile's text, or an ONBUILD trigger's; ``file`` is its name for errors.

    Raises DockerfileError, at the line and column, for whatever is not Dockerfile language.
    """
    lines = read_lines(text, file)
    if not lines:
        raise DockerfileError(file, 1, 1, "", "no instructions in it; a Dockerfile begins with FROM")
    return tuple(_parse_at(line, 0) for line in lines)


def _parse_at(line: Line, begin: int) -> Instruction:
    """The instruction whose name begins at ``begin``: an ONBUILD trigger does not begin its line."""
    match = _NAME.match(line.text, begin)
    written = match[0] if match else ""
    name = written.upper()
    reader = _READERS.get(name)
    if reader is None:
        raise line.error(begin, f"unknown instruction {written}{_nearest(name)}")
    known = _FLAGS.get(name, {})
    flags, start = split_flags(line, begin + len(name), name, known)
    if start >= len(line.text):
        raise line.error(len(line.text), f"expected something after {name}")
    return reader(line, start, flags)


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, _READERS, 1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(_READERS))}"


def _from(line: Line, start: int, flags: Flags) -> Instruction:
    words = split_spaces(line, start)
    platform = flags.word("platform")
    if len(words) == 1:
        return kinds.From(line, words[0], None, platform)
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
    return kinds.From(line, words[0], name, platform)


def _run(line: Line, start: int, flags: Flags) -> Instruction:
    command = _with_heredocs(line, start) if line.heredocs else split_command(line, start)
    if not command:
        raise line.error(start, "expected a command after RUN")
    if devices := flags.words("device"):
        raise line.error(devices[0].offset, "this version of pytest-pycontainer does not know RUN --device yet")
    return kinds.Run(line, command, flags.words("mount"), flags.word("network"), flags.word("security"), line.heredocs)


def _with_heredocs(line: Line, start: int) -> Command:
    first = find_markers(line.text)[0]
    if (first.start, first.end) != (start, len(line.text)):
        return _whole_text(line, start)
    script = line.heredocs[0].content
    return (f"{_SCRIPTS}/{first.name}",) if script.startswith("#!") else script


def _whole_text(line: Line, start: int) -> str:
    """The text from ``start`` on with the here-documents as a shell reads them, or an ONBUILD's next reader."""
    return "\n".join([line.text[start:], *(f"{document.content}{document.name}" for document in line.heredocs)])


def _copy(line: Line, start: int, flags: Flags) -> Instruction:
    sources, destination = _sources(line, start, "COPY")
    return kinds.Copy(
        line,
        sources=sources,
        destination=destination,
        source_stage=flags.word("from"),
        owner=flags.word("chown"),
        mode=flags.word("chmod"),
        link=bool(flags.switch("link")),
        parents=bool(flags.switch("parents")),
        excludes=flags.words("exclude"),
    )


def _add(line: Line, start: int, flags: Flags) -> Instruction:
    sources, destination = _sources(line, start, "ADD")
    return kinds.Add(
        line,
        sources=sources,
        destination=destination,
        owner=flags.word("chown"),
        mode=flags.word("chmod"),
        link=bool(flags.switch("link")),
        excludes=flags.words("exclude"),
        checksum=flags.word("checksum"),
        keep_git_dir=bool(flags.switch("keep-git-dir")),
        unpack=flags.switch("unpack"),
    )


def _sources(line: Line, start: int, name: str) -> tuple[tuple[Word | Heredoc, ...], Word]:
    words: list[Word | Heredoc] = list(split_json(line, start) or ())
    if not words:
        markers = find_markers(line.text)
        between = zip([start, *(marker.end for marker in markers)], [*markers, None], strict=True)
        for (begin, marker), document in zip(between, [*line.heredocs, None], strict=True):
            words += split_spaces(line, begin, marker.start if marker else len(line.text))
            words += [document] if document else []
    if len(words) < 2:
        raise line.error(len(line.text), f"expected at least one source and a destination after {name}")
    destination = words.pop()
    if isinstance(destination, Heredoc):
        raise line.error(destination.offset, "a here-document cannot be the destination, which is the last word")
    return tuple(words), destination


def _healthcheck(line: Line, start: int, flags: Flags) -> Instruction:
    kind, *_ = split_spaces(line, start)
    after = start + len(kind.text)
    after += len(line.text[after:]) - len(line.text[after:].lstrip(SPACE))
    if kind.text.upper() == "NONE":
        if after < len(line.text):
            raise line.error(after, "expected nothing after HEALTHCHECK NONE")
        return kinds.Healthcheck(line, None)
    if kind.text.upper() != "CMD":
        raise line.error(start, f"expected CMD or NONE after HEALTHCHECK, not {kind.text}")
    command = split_command(line, after)
    if not command:
        raise line.error(len(line.text), "expected a command after HEALTHCHECK CMD")
    words = (flags.word(name) for name in _HEALTHCHECK_FLAGS)
    return kinds.Healthcheck(line, command, *words)


def _onbuild(line: Line, start: int, _: Flags) -> Instruction:
    name = split_spaces(line, start)[0].text.upper()
    if name in _NOT_AS_TRIGGER:
        raise line.error(start, f"{name} cannot be an ONBUILD trigger")
    _parse_at(line, start)
    return kinds.OnBuild(line, Word(_whole_text(line, start), start))


def _arg(line: Line, start: int, _: Flags) -> Instruction:
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


def _shell(line: Line, start: int, _: Flags) -> Instruction:
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


_READERS: Mapping[str, Callable[[Line, int, Flags], Instruction]] = {
    "FROM": _from,
    "RUN": _run,
    "COPY": _copy,
    "ADD": _add,
    "ARG": _arg,
    "ENV": lambda line, start, _: kinds.Env(line, split_pairs(line, start)),
    "LABEL": lambda line, start, _: kinds.Label(line, split_pairs(line, start)),
    "WORKDIR": lambda line, start, _: kinds.Workdir(line, _rest(line, start)),
    "USER": lambda line, start, _: kinds.User(line, _single(line, start)),
    "EXPOSE": lambda line, start, _: kinds.Expose(line, tuple(split_spaces(line, start))),
    "VOLUME": lambda line, start, _: kinds.Volume(line, _paths(line, start)),
    "STOPSIGNAL": lambda line, start, _: kinds.StopSignal(line, _single(line, start)),
    "SHELL": _shell,
    "CMD": lambda line, start, _: kinds.Cmd(line, split_command(line, start)),
    "ENTRYPOINT": lambda line, start, _: kinds.Entrypoint(line, split_command(line, start)),
    "MAINTAINER": lambda line, start, _: kinds.Maintainer(line, _rest(line, start)),
    "HEALTHCHECK": _healthcheck,
    "ONBUILD": _onbuild,
}
_FLAGS: Mapping[str, Mapping[str, FlagKind]] = {
    "FROM": {"platform": "text"},
    "RUN": _RUN_FLAGS,
    "COPY": _COPY_FLAGS,
    "ADD": _ADD_FLAGS,
    "HEALTHCHECK": _HEALTHCHECK_FLAGS,
}
