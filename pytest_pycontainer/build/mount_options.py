"""``RUN --mount``'s value: ``type=cache,target=/root/.cache,…`` as options (Dockerfile reference, "RUN --mount")."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from pytest_pycontainer.build.instructions import Word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pytest_pycontainer.build.instructions import Run
    from pytest_pycontainer.build.lines import Line
    from pytest_pycontainer.build.steps import Sharing

    _T = TypeVar("_T")

MountType = Literal["bind", "cache", "tmpfs", "secret", "ssh"]

_TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
_SHARINGS = ("shared", "private", "locked")
# The names of an option; the first is its own.
_SAME = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite"}
# The types that have an option; the others are everybody's, as BuildKit has it.
_ONLY: Mapping[str, tuple[str, ...]] = {
    "size": ("tmpfs",),
    "sharing": ("cache",),
    "env": ("secret",),
    "required": ("secret", "ssh"),
    "mode": ("secret", "ssh", "cache"),
    "uid": ("secret", "ssh", "cache"),
    "gid": ("secret", "ssh", "cache"),
}
_EVERYBODYS = ("type", "target", "source", "from", "id", "readonly", "readwrite")
_SWITCHES = ("readonly", "readwrite", "required")
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")
_MODE = re.compile(r"[0-7]{1,4}")
_NUMBER = re.compile(r"[0-9]{1,10}")
_LARGEST_ID = (1 << 32) - 2
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kmgtp]?)(?:i?b)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class MountOptions:
    """One mount as it is asked for, variables replaced; None is what was not given.

    ``offsets`` says where in the line the value of each option begins, under the option's own name; where the whole
    flag does, under "".
    """

    type: MountType
    target: str = ""
    source: str = ""
    stage: str = ""
    id: str = ""
    environment: str = ""
    sharing: Sharing = "shared"
    read_only: bool
    required: bool = False
    size: int | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    offsets: Mapping[str, int]

    def offset(self, option: str) -> int:
        """Where to point at for what is wrong with an option."""
        return self.offsets.get(option, self.offsets[""])


def read_mount(line: Line, flag: Word, expand: Callable[[Word], str]) -> MountOptions:
    """Reads the value of a ``--mount``. Raises DockerfileError at the option that is wrong."""
    given: dict[str, Word | None] = {}
    offsets = {"": flag.offset}
    for written, value, offset in _split(flag):
        name = _SAME.get(written, written)
        if name not in _EVERYBODYS and name not in _ONLY:
            raise line.error(offset, f"--mount has no option {written}; {_nearest(written)}")
        if value is None and name not in _SWITCHES:
            raise line.error(offset, f"expected = and a value after {written}")
        given[name] = None if value is None else Word(expand(value) if name != "from" else value.text, value.offset)
        offsets[name] = offset if value is None else value.offset
    return _Reader(line, given, offsets).read()


def stage_names(run: Run) -> Iterator[Word]:
    """What the mounts of a RUN name with ``from=``: there are no variables in that."""
    for flag in run.mounts:
        fields = {_SAME.get(name, name): value for name, value, _ in _split(flag)}
        type_ = fields.get("type")
        source = fields.get("from")
        if source is not None and source.text and (type_ is None or type_.text.lower() in ("bind", "cache")):
            yield source


def _split(flag: Word) -> Iterator[tuple[str, Word | None, int]]:
    """Each option's name in small letters, its value, and where it begins."""
    quoted = '"' in flag.text
    try:
        fields = next(csv.reader([flag.text], strict=True)) if quoted else flag.text.split(",")
    except csv.Error:
        fields = flag.text.split(",")
    at = flag.offset
    for field in fields:
        name, equals, value = field.partition("=")
        begin = flag.offset if quoted else at  # where quotes were taken away, nobody knows
        yield name.lower(), Word(value, begin if quoted else at + len(name) + 1) if equals else None, begin
        at += len(field) + 1


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    known = sorted({*_EVERYBODYS, *_ONLY, *_SAME})
    near = get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else f"it knows {', '.join(known)}"


class _Reader:
    def __init__(self, line: Line, given: Mapping[str, Word | None], offsets: Mapping[str, int]) -> None:
        self._line = line
        self._given = given
        self._offsets = offsets

    def read(self) -> MountOptions:
        kind = cast("MountType", self._choice("type", _TYPES, "bind"))
        for name in self._given:
            types = _ONLY.get(name, _TYPES)
            if kind not in types:
                offset = self._offsets[name]
                raise self._line.error(offset, f"a mount of type {kind} has no {name}; it is for {', '.join(types)}")
        read_only = kind not in ("cache", "tmpfs")
        for name in self._given:  # the last one counts
            if name in ("readonly", "readwrite"):
                read_only = self._switch(name) == (name == "readonly")
        return MountOptions(
            type=kind,
            target=self._text("target"),
            source=self._text("source"),
            stage=self._text("from"),
            id=self._text("id"),
            environment=self._text("env"),
            sharing=cast("Sharing", self._choice("sharing", _SHARINGS, "shared")),
            read_only=read_only,
            required=self._switch("required"),
            size=self._number("size", _read_size, "a size such as 64m"),
            mode=self._number("mode", _read_mode, "permissions in octal, such as 0400"),
            uid=self._number("uid", _read_id, "a number"),
            gid=self._number("gid", _read_id, "a number"),
            offsets=self._offsets,
        )

    def _text(self, name: str) -> str:
        word = self._given.get(name)
        return word.text if word else ""

    def _choice(self, name: str, known: tuple[str, ...], default: str) -> str:
        word = self._given.get(name)
        if word is None:
            return default
        if word.text.lower() not in known:
            raise self._line.error(word.offset, f"no mount's {name} is {word.text!r}; wanted {', '.join(known)}")
        return word.text.lower()

    def _switch(self, name: str) -> bool:
        if name not in self._given:
            return False
        word = self._given[name]
        if word is not None and word.text not in (*_TRUE, *_FALSE):
            raise self._line.error(word.offset, f"{name} is true or false, not {word.text!r}")
        return word is None or word.text in _TRUE

    def _number(self, name: str, read: Callable[[str], int | None], wanted: str) -> int | None:
        word = self._given.get(name)
        if word is None:
            return None
        number = read(word.text)
        if number is None:
            raise self._line.error(word.offset, f"{name} is {wanted}, not {word.text!r}")
        return number


def _read_size(text: str) -> int | None:
    match = _SIZE.fullmatch(text)
    return int(float(match[1]) * (1 << (10 * " kmgtp".index(match[2].lower() or " ")))) if match else None


def _read_mode(text: str) -> int | None:
    return int(text, 8) if _MODE.fullmatch(text) else None


def _read_id(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) and int(text) <= _LARGEST_ID else None
