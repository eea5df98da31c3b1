"""The instructions of a Dockerfile as values. Words are as written: variables are replaced when a step is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_pycontainer.build.lines import Line


@dataclass(frozen=True, slots=True)
class Word:
    """A word as written, and its offset in the logical line."""

    text: str
    offset: int


Command = tuple[str, ...] | str
"""Exec form (the arguments) or shell form (the text)."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, and the line that it was written in."""

    line: Line


@dataclass(frozen=True, slots=True)
class From(Instruction):
    image: Word
    name: str | None


@dataclass(frozen=True, slots=True)
class Run(Instruction):
    command: Command


@dataclass(frozen=True, slots=True)
class Copy(Instruction):
    """``source_stage`` is ``--from``, ``owner`` ``--chown``, ``mode`` ``--chmod``."""

    sources: tuple[Word, ...]
    destination: Word
    source_stage: Word | None
    owner: Word | None
    mode: Word | None


@dataclass(frozen=True, slots=True)
class Arg(Instruction):
    """Names, each with its default if it has one."""

    defaults: tuple[tuple[Word, Word | None], ...]


@dataclass(frozen=True, slots=True)
class Env(Instruction):
    values: tuple[tuple[Word, Word], ...]


@dataclass(frozen=True, slots=True)
class Label(Instruction):
    values: tuple[tuple[Word, Word], ...]


@dataclass(frozen=True, slots=True)
class Workdir(Instruction):
    path: Word


@dataclass(frozen=True, slots=True)
class User(Instruction):
    user: Word


@dataclass(frozen=True, slots=True)
class Expose(Instruction):
    ports: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Volume(Instruction):
    paths: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class StopSignal(Instruction):
    signal: Word


@dataclass(frozen=True, slots=True)
class Shell(Instruction):
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cmd(Instruction):
    command: Command


@dataclass(frozen=True, slots=True)
class Entrypoint(Instruction):
    command: Command


@dataclass(frozen=True, slots=True)
class Maintainer(Instruction):
    author: Word
