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


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A here-document, ``<<name`` at ``offset`` in the logical line, and the lines up to ``name`` as its ``body``.

    ``<<-name`` has taken the tabs away from the beginnings of the body's lines. With ``expands``, the name was not
    quoted: variables in the content of one that COPY or ADD writes are replaced.
    """

    name: str
    body: Line
    expands: bool
    offset: int

    @property
    def content(self) -> str:
        """The text: empty, or with a line end at its end."""
        return self.body.text


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
    platform: Word | None = None


@dataclass(frozen=True, slots=True)
class Run(Instruction):
    """``mounts`` are the values of its ``--mount`` flags.

    In shell form, ``command`` is the text for the shell, with here-documents in it where there are some, or is the
    here-document that stands alone in place of a command. If that begins with ``#!``, it is a program to execute:
    ``script``, and ``command`` is the path where it is expected.
    """

    command: Command
    mounts: tuple[Word, ...] = ()
    network: Word | None = None
    security: Word | None = None
    heredocs: tuple[Heredoc, ...] = ()

    @property
    def script(self) -> Heredoc | None:
        """The here-document to execute as a file at ``command[0]``."""
        return self.heredocs[0] if self.heredocs and not isinstance(self.command, str) else None


@dataclass(frozen=True, slots=True)
class Copy(Instruction):
    """``source_stage`` is ``--from``, ``owner`` ``--chown``, ``mode`` ``--chmod``."""

    sources: tuple[Word | Heredoc, ...]
    destination: Word
    source_stage: Word | None
    owner: Word | None
    mode: Word | None
    link: bool = False
    parents: bool = False
    excludes: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Add(Instruction):
    """As Copy; ``unpack`` None leaves it to what the source is: local archives are unpacked, downloads are not."""

    sources: tuple[Word | Heredoc, ...]
    destination: Word
    owner: Word | None
    mode: Word | None
    link: bool = False
    excludes: tuple[Word, ...] = ()
    checksum: Word | None = None
    keep_git_dir: bool = False
    unpack: bool | None = None


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


@dataclass(frozen=True, slots=True)
class Healthcheck(Instruction):
    """``command`` None is ``HEALTHCHECK NONE``, which takes away what the base image has."""

    command: Command | None
    interval: Word | None = None
    timeout: Word | None = None
    start_period: Word | None = None
    start_interval: Word | None = None
    retries: Word | None = None


@dataclass(frozen=True, slots=True)
class OnBuild(Instruction):
    """``trigger`` is an instruction's text, here-documents included, for builds on the image that this one makes."""

    trigger: Word
