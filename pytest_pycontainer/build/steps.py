"""What a build hands to whoever can run containers: its steps as values, and the protocol that carries them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Base:
    """What a step runs on: overlay lower directories, topmost first; with ``host``, this machine's root below them."""

    layers: tuple[Path, ...]
    host: bool


@dataclass(frozen=True, slots=True)
class RunStep:
    """A command to run. ``user`` reads as USER: a name or number, perhaps with ``:group``; empty for root."""

    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    working_directory: str
    user: str


@dataclass(frozen=True, slots=True)
class CopySource:
    """One thing to copy.

    ``path`` is relative to the source root ("" is the root itself) and goes through no link. For a directory,
    ``entries`` names what below it is copied, parents first; None means all of it. With ``pattern``, ``path`` holds
    wildcards (Go's filepath.Match) that the executor matches. ``name`` is what a file is called in a destination
    directory if not as ``path`` ends: COPY of a link copies what it stands for, under the link's name.
    """

    path: str
    entries: tuple[str, ...] | None = None
    pattern: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class CopyStep:
    """Copies files from a directory of this machine or another stage's file system.

    ``destination`` is absolute; with a slash at its end it is a directory. Of a directory source the content is copied.
    Without sources the destination is made a directory (WORKDIR). ``owner`` reads as ``--chown``, empty for 0:0;
    ``mode`` is ``--chmod``'s.
    """

    root: Path | Base
    sources: tuple[CopySource, ...]
    destination: str
    owner: str
    mode: int | None


@dataclass(frozen=True, slots=True)
class StepResult:
    """How a step ended, and the directory with what it wrote; the build may rename ``upper`` away."""

    exit_code: int
    upper: Path


class SourceMissing(LookupError):  # noqa: N818  (a signal between two rooms, never seen outside the build)
    """A copy source is not there: ``problem`` says how. The build adds the Dockerfile's line."""

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(source, problem)
        self.source = source
        self.problem = problem


class StepExecutor(Protocol):
    """Carries out steps on a base. What it makes, it removes when the context ends, but for a renamed ``upper``."""

    def run(self, base: Base, step: RunStep, output: Callable[[str], None]) -> AbstractContextManager[StepResult]:
        """Runs a command to its end; ``output`` gets what it prints, in pieces that need not be lines."""

    def copy(self, base: Base, step: CopyStep) -> AbstractContextManager[StepResult]:
        """Copies. Raises SourceMissing if a source in another stage's file system is not there."""
