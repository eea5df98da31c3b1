"""COPY and ADD worked out: which sources, to where, for whom, and what the step's key has to hold."""

from __future__ import annotations

import hashlib
import json
import posixpath
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_pycontainer.build.copy_sources import Reader
from pytest_pycontainer.build.instructions import Add, Copy, Heredoc, Word
from pytest_pycontainer.build.metadata import absolute
from pytest_pycontainer.build.modes import ModeProblem, parse_mode
from pytest_pycontainer.build.patterns import IgnoreRules, PatternProblem
from pytest_pycontainer.build.steps import Base, CopyStep, SourceMissing
from pytest_pycontainer.errors import CopySourceNotFoundError
from pytest_pycontainer.store.calling import Caller, directly
from pytest_pycontainer.store.files import storing, unfinished_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_pycontainer.build.context import BuildContext
    from pytest_pycontainer.build.copy_sources import Part
    from pytest_pycontainer.build.remote import RemoteSources
    from pytest_pycontainer.build.steps import CopySource, ModeClause
    from pytest_pycontainer.errors import DockerfileError


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """A COPY or ADD before it is known whether it has to be carried out.

    ``digest`` stands for what it reads, as Docker shows it: ``file:…``, ``dir:…``. ``key`` is all that its layer
    depends on apart from what it lies on and, for another stage, what that holds. With ``link`` it lies on nothing: the
    step is carried out on an empty base, and its layer goes onto any.
    """

    instruction: Copy | Add
    digest: str
    key: tuple[str, ...]
    destination: str
    link: bool
    _root: Path | Base
    _parts: tuple[Part, ...]
    _owner: str
    _mode: tuple[ModeClause, ...] | None
    _temporary: Path
    _call: Caller

    def key_by_content(self, digest: Callable[[Base, tuple[CopySource, ...]], str]) -> tuple[str, ...]:
        """The key of a COPY from another stage, with what that holds, which ``digest`` reads.

        Two stages may have been made differently, or at another time, and hold the same. Raises
        CopySourceNotFoundError.
        """
        assert isinstance(self._root, Base)
        try:
            return (*self.key, digest(self._root, tuple(part.staged for part in self._parts if part.staged)))
        except SourceMissing as missing:
            raise self.missing(missing) from None

    def missing(self, problem: SourceMissing) -> DockerfileError:
        """The error for a source in another stage that was not there when the step was carried out."""
        words = [word for word in self.instruction.sources if isinstance(word, Word)]
        offset = next(
            (word.offset for word in words if word.text.strip("/") == problem.source.strip("/")),
            self.instruction.sources[0].offset,
        )
        return self.instruction.line.error(offset, problem.problem, CopySourceNotFoundError)

    @contextmanager
    def open(self) -> Iterator[CopyStep]:
        """The step, with its sources brought here: archives unpacked, repositories checked out.

        What had to be made for it is removed at the end. Raises DockerfileError at the source that can't be used, and
        StoreError.
        """
        with ExitStack() as opened:

            def make_directory() -> Path:
                with storing("make a directory in", self._temporary):
                    return opened.enter_context(unfinished_directory(self._temporary, self._call))

            sources = tuple(source for part in self._parts for source in part.bring(make_directory))
            destination = self.destination
            if not sources and not self.instruction.excludes:
                destination = "/"  # as BuildKit: a pattern that matches nothing makes nothing
            elif not sources and not destination.endswith("/"):
                # Everything is excluded: as in BuildKit there is at least the directory that it would be in.
                destination = posixpath.dirname(destination)
            yield CopyStep(self._root, sources, destination, self._owner, self._mode)


def plan_copy(
    instruction: Copy | Add,
    root: BuildContext | Base,
    expand: Callable[[Word], str],
    expand_heredoc: Callable[[Heredoc], str],
    working_directory: str,
    *,
    temporary: Path,
    call: Caller = directly,
    remote: RemoteSources | None,
) -> CopyPlan:
    """Works a COPY or ADD out; ``root`` is what it reads from, ``temporary`` a directory of the store.

    ``call`` does what takes rights over files of whatever users.

    For another stage the digest covers the names alone; what they hold there is that stage's business. Raises
    CopySourceNotFoundError and other DockerfileErrors at the word that is wrong.
    """
    line = instruction.line
    excluded = IgnoreRules()
    for pattern in instruction.excludes:
        try:
            excluded += IgnoreRules.excluding(expand(pattern))
        except PatternProblem as wrong:
            raise line.error(pattern.offset, f"{pattern.text}: {wrong.problem}") from None
    reader = Reader(instruction, root, excluded, remote, expand, call)
    parts: list[Part] = []
    for source in instruction.sources:
        if isinstance(source, Heredoc):
            parts.append(reader.heredoc(source, expand_heredoc(source)))
        else:
            parts += reader.read(source, expand(source))
    destination = _destination(expand(instruction.destination), working_directory)
    count = max(len(instruction.sources), sum(part.count for part in parts))
    if count > 1 and not destination.endswith("/"):
        raise line.error(instruction.destination.offset, "with more than one source, the destination must end with /")
    owner = expand(instruction.owner) if instruction.owner else ""
    mode = expand(instruction.mode) if instruction.mode else ""
    digest = hashlib.sha256(b"".join(part.digest for part in parts)).hexdigest()
    kind = "multi" if count > 1 else "dir" if parts and parts[0].is_directory else "file"
    return CopyPlan(
        instruction,
        f"{kind}:{digest}",
        (type(instruction).__name__, digest, destination, owner, mode, json.dumps(reader.options)),
        destination,
        instruction.link,
        root if isinstance(root, Base) else root.root,
        tuple(parts),
        owner,
        _mode(instruction, mode),
        temporary,
        call,
    )


def _destination(path: str, working_directory: str) -> str:
    is_directory = posixpath.basename(path) in ("", ".", "..")
    path = absolute(working_directory, path)
    return f"{path}/" if is_directory and path != "/" else path


def _mode(instruction: Copy | Add, text: str) -> tuple[ModeClause, ...] | None:
    if instruction.mode is None or not text:
        return None
    try:
        return parse_mode(text)
    except ModeProblem as problem:
        raise instruction.line.error(instruction.mode.offset, problem.problem) from None
