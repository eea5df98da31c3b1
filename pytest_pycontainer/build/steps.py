"""What a build hands to whoever can run containers: its steps as values, and the protocol that carries them out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

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
class CopySource:
    """One thing to copy.

    ``path`` is relative to the source root ("" is the root itself); ``root`` is a directory of this machine that takes
    the place of the step's. For a directory, ``entries`` names what below it is copied, parents first; None means all
    of it. ``name`` is what a file is called in a destination directory if not as ``path`` ends: COPY of a link copies
    what it stands for, under the link's name.

    Where a root can't be looked at before, in a stage, the executor matches ``pattern``: regular expressions, one for
    each name below ``path``. With ``parents`` it is one expression, for paths below the directory ``path``, and what
    matches is copied with the directories that it lies in; if something has to match it is ``required``, and called
    ``name``. ``excludes`` are expressions for paths, each with whether it leaves out what matches or takes it back in;
    the last that matches decides.

    With ``unpacked`` the directory was an archive, whose owners are kept and which takes the place of what is in its
    way; ``--chmod`` is not for it.
    """

    path: str
    entries: tuple[str, ...] | None = None
    pattern: tuple[str, ...] = ()
    name: str = ""
    root: Path | None = None
    parents: bool = False
    required: bool = False
    excludes: tuple[tuple[bool, str], ...] = ()
    unpacked: bool = False


@dataclass(frozen=True, slots=True)
class ModeClause:
    """A part of a ``chmod`` expression, such as ``g=rX``.

    ``who`` is a mask of the mode's bits that it is about, ``bits`` those to add (``+``), to take away (``-``), or to be
    the only ones there (``=``). ``execute`` is an X: as x, for directories and what is executable. ``copied`` names
    whose rwx bits are to be taken besides.
    """

    who: int
    operator: Literal["+", "-", "="]
    bits: int
    execute: bool = False
    copied: tuple[Literal["u", "g", "o"], ...] = ()


@dataclass(frozen=True, slots=True)
class BindMount:
    """Shows ``source``, found in a directory of this machine or another stage's file system, at ``target``.

    What is written there is lost when the command has ended. The files of this machine belong to 0:0, as COPY's do.
    """

    root: Path | Base
    source: CopySource
    target: str
    read_only: bool = True


Sharing = Literal["shared", "private", "locked"]
"""What becomes of two RUNs that want one cache at once: both have it, the second has another, the second waits."""


@dataclass(frozen=True, slots=True)
class CacheMount:
    """Shows a directory at ``target`` that stays for later builds, the same for the same ``key`` (a digest).

    At first it holds what ``source`` holds in ``root``, or is empty, with ``mode``, ``uid`` and ``gid``.
    """

    key: str
    target: str
    sharing: Sharing = "shared"
    read_only: bool = False
    root: Base | None = None
    source: str = ""
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class TmpfsMount:
    """An empty directory in memory, of ``size`` bytes at most."""

    target: str
    size: int | None = None
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class FileMount:
    """A read-only file that is in memory alone: a secret, or a script. Its content is nobody's to print."""

    target: str
    content: bytes = field(repr=False)
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class AgentMount:
    """A socket at ``target`` on which the SSH agent answers that listens on ``socket`` of this machine."""

    socket: Path
    target: str
    mode: int = 0o600
    uid: int = 0
    gid: int = 0


Mount = BindMount | CacheMount | TmpfsMount | FileMount | AgentMount

Network = Literal["default", "none", "host"]
"""The build's own network, none, or this machine's."""


@dataclass(frozen=True, slots=True)
class RunStep:
    """A command to run. ``user`` reads as USER: a name or number, perhaps with ``:group``; empty for root.

    ``mounts`` are made in their order.
    """

    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    working_directory: str
    user: str
    mounts: tuple[Mount, ...] = ()
    network: Network = "default"


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
    mode: tuple[ModeClause, ...] | None


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
        """Runs a command to its end; ``output`` gets what it prints, in pieces that need not be lines.

        Raises SourceMissing if what a mount is to show is not there.
        """

    def copy(self, base: Base, step: CopyStep) -> AbstractContextManager[StepResult]:
        """Copies. Raises SourceMissing if a source in another stage's file system is not there."""

    def digest(self, root: Base, sources: tuple[CopySource, ...]) -> str:
        """A digest of what these are in a stage's file system: all but times. Raises SourceMissing as ``copy`` does."""

    def interrupt(self) -> None:
        """Ends what runs, and what is begun later, as soon as may be; from any thread, any number of times.

        What was running ends with any result, or an error: the build that is given up does not look at it.
        """
