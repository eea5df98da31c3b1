"""What a source of COPY or ADD stands for: files of the context or a stage, a here-document, a URL, a repository."""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pytest_pycontainer.build.instructions import Add, Copy, Heredoc, Word
from pytest_pycontainer.build.metadata import absolute
from pytest_pycontainer.build.patterns import (
    IgnoreRules,
    PatternProblem,
    compile_name,
    compile_path,
    has_wildcards,
    split_wildcards,
)
from pytest_pycontainer.build.remote import COMMIT, ChecksumProblem, GitSource, RemoteProblem, RemoteSources, is_url
from pytest_pycontainer.build.steps import Base, CopySource, SourceMissing
from pytest_pycontainer.errors import (
    CompressionUnavailableError,
    CopySourceInvalidError,
    CopySourceNotFoundError,
    LayerInvalidError,
    RemoteSourceError,
    RemoteSourceMismatchError,
)
from pytest_pycontainer.store.calling import Caller, read_through

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_pycontainer.build.context import BuildContext

MakeDirectory = Callable[[], Path]
"""Makes an empty directory that is there until the step has been carried out."""

_HEREDOC_MODE = 0o644
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Part:
    """What one source comes to: ``count`` things, what is read of them as a ``digest``, and how to bring them here.

    Of another stage, the digest is of the names alone; ``staged`` is what can be looked up there.
    """

    digest: bytes
    bring: Callable[[MakeDirectory], tuple[CopySource, ...]]
    count: int = 1
    is_directory: bool = False
    staged: CopySource | None = None


class Reader:
    """Reads the sources of one instruction. Every method raises DockerfileError at the source that is wrong."""

    def __init__(
        self,
        instruction: Copy | Add,
        root: BuildContext | Base,
        excluded: IgnoreRules,
        remote: RemoteSources | None,
        expand: Callable[[Word], str],
        call: Caller,
    ) -> None:
        self._call = call
        self._instruction = instruction
        self._root = root
        self._excluded = excluded
        self._excludes = tuple((leaves_out, pattern.pattern) for leaves_out, pattern in excluded.groups)
        self._remote = remote
        self._parents = isinstance(instruction, Copy) and instruction.parents
        self._add = instruction if isinstance(instruction, Add) else None
        word = self._add.checksum if self._add else None
        self._checksum = expand(word) if word else ""
        self._checksum_offset = word.offset if word else 0
        if self._checksum and len(instruction.sources) > 1:
            raise instruction.line.error(self._checksum_offset, "--checksum is for one source, and there are more")

    @property
    def place(self) -> str:
        """Where it looks, for people."""
        return "that stage or image" if isinstance(self._root, Base) else f"the build context {self._root.root}"

    @property
    def _fetcher(self) -> RemoteSources:
        if self._remote is None:
            raise RemoteProblem("this build has no way to fetch anything")
        return self._remote

    @property
    def options(self) -> tuple[object, ...]:
        """What of the flags changes the result, apart from what the digests cover."""
        add = self._add
        return (self._excludes, self._parents, *((add.unpack, add.keep_git_dir) if add else ()))

    def heredoc(self, heredoc: Heredoc, content: str) -> Part:
        """A file of that content, called as the here-document is."""
        data = content.encode(errors="surrogateescape")

        def bring(make_directory: MakeDirectory) -> tuple[CopySource, ...]:
            directory = make_directory()
            file = directory / "content"
            file.write_bytes(data)
            file.chmod(_HEREDOC_MODE)
            return (CopySource("content", name=heredoc.name, root=directory),)

        if "/" in heredoc.name:
            problem = f"{heredoc.name} is the name of a file here, and has a / in it"
            raise self._instruction.line.error(heredoc.offset, problem)
        return Part(_digest("heredoc", heredoc.name, hashlib.sha256(data).hexdigest()), bring)

    def read(self, word: Word, source: str) -> list[Part]:
        """Whatever the word stands for; nothing for a pattern that matches nothing."""
        git = GitSource.parse(source)
        with self._problems(word):
            if git is not None or is_url(source):
                if self._add is None:
                    what = "a git repository" if git else "a file from the web"
                    raise RemoteProblem(f"{what} is for ADD; COPY takes files of the build context or a stage")
                return [self._git(word, git) if git else self._url(word, source)]
            if self._checksum:
                problem = "--checksum is for URLs and git repositories"
                raise self._instruction.line.error(self._checksum_offset, problem)
            if isinstance(self._root, Base):
                return [self._staged(source)]
            return self._local(word, source, self._root)

    def _local(self, word: Word, source: str, context: BuildContext) -> list[Part]:
        select = context.select_with_parents if self._parents else context.select
        found = select(source, self._excluded)
        if not found:
            return []
        digest = bytes.fromhex(context.fingerprint(found))
        unpacks = self._add is not None and self._add.unpack is not False

        def bring(make_directory: MakeDirectory) -> tuple[CopySource, ...]:
            if not unpacks:
                return tuple(found)
            return tuple(self._unpacked(word, thing, context.root, make_directory) for thing in found)

        return [Part(digest, bring, len(found), found[0].entries is not None)]

    def _staged(self, source: str) -> Part:
        if self._parents:
            thing = self._staged_with_parents(source)
        else:
            path, wild = split_wildcards(absolute("/", source).lstrip("/"))
            thing = CopySource(path, pattern=tuple(compile_name(part).pattern for part in wild))
        thing = replace(thing, excludes=self._excludes)
        names = json.dumps([thing.path, thing.pattern, thing.parents])
        return Part(_digest("stage", names), lambda _: (thing,), staged=thing)

    def _staged_with_parents(self, source: str) -> CopySource:
        pivot, is_there, below = source.partition("/./")
        if not is_there:
            pivot, below = "", source
        path, below = (absolute("/", part).lstrip("/") for part in (pivot, below))
        if not below:
            return CopySource(path)
        return CopySource(
            path,
            pattern=(compile_path(below).pattern,),
            name=below,
            parents=True,
            required=not has_wildcards(below),
        )

    def _url(self, word: Word, url: str) -> Part:
        name = unquote(posixpath.basename(urlsplit(url).path))
        if self._checksum and not _DIGEST.fullmatch(self._checksum):
            problem = "wanted sha256: and 64 hexadecimal digits"
            raise self._instruction.line.error(self._checksum_offset, f"{self._checksum} is no checksum; {problem}")
        if not name or name in (".", "..") or "/" in name or "\0" in name:
            raise RemoteProblem(f"{url} has no file's name at its end to store it under")
        download = self._fetcher.download(url, self._checksum or None)
        thing = CopySource(download.path.name, name=name, root=download.path.parent)
        unpacks = self._add is not None and self._add.unpack is True

        def bring(make_directory: MakeDirectory) -> tuple[CopySource, ...]:
            return (self._unpacked(word, thing, download.path.parent, make_directory) if unpacks else thing,)

        return Part(_digest("url", name, download.digest), bring)

    def _git(self, word: Word, git: GitSource) -> Part:
        if self._checksum and not COMMIT.fullmatch(self._checksum):
            problem = f"{self._checksum} is no commit; wanted its 40 hexadecimal digits"
            raise self._instruction.line.error(self._checksum_offset, problem)
        commit = self._fetcher.find_commit(git.repository, git.reference)
        if self._checksum and commit != self._checksum:
            of = git.reference or "the default branch"
            raise ChecksumProblem(f"{of} of {git.repository} is commit {commit}; wanted {self._checksum}")
        keeps = self._add is not None and self._add.keep_git_dir

        def bring(make_directory: MakeDirectory) -> tuple[CopySource, ...]:
            directory = make_directory()
            with self._problems(word):
                self._fetcher.check_out(git.repository, commit, directory, keep_git_directory=keeps)
                if git.directory and not (directory / git.directory).resolve().is_relative_to(directory.resolve()):
                    raise RemoteProblem(f"{git.directory} leads out of the repository")
                if not (directory / git.directory).is_dir():
                    raise RemoteProblem(f"commit {commit} of {git.repository} has no directory {git.directory}")
            return (CopySource(git.directory, root=directory, excludes=self._excludes),)

        return Part(_digest("git", git.repository, commit, git.directory), bring, is_directory=True)

    def _unpacked(self, word: Word, thing: CopySource, root: Path, make_directory: MakeDirectory) -> CopySource:
        """An archive's content in its place; what is none, as it is."""
        from pytest_pycontainer.store.unpacking import is_archive, unpack

        if thing.entries is not None:
            return thing
        with self._problems(word):
            descriptor = os.open(root / thing.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:  # noqa: PTH123  (what was opened is no link)
                if not is_archive(file):
                    return thing
                directory = make_directory()
                read_through(self._call, partial(unpack, directory), file)
        return CopySource("", root=directory, unpacked=True, excludes=self._excludes)

    @contextmanager
    def _problems(self, word: Word) -> Iterator[None]:
        """Makes errors at the word of what goes wrong with it."""
        line = self._instruction.line
        try:
            yield
        except SourceMissing as missing:
            raise line.error(word.offset, missing.problem, CopySourceNotFoundError) from None
        except PatternProblem as problem:
            raise line.error(word.offset + problem.offset, problem.problem) from None
        except ChecksumProblem as problem:
            raise line.error(word.offset, problem.problem, RemoteSourceMismatchError) from problem
        except RemoteProblem as problem:
            raise line.error(word.offset, problem.problem, RemoteSourceError) from problem
        except LayerInvalidError as problem:
            reason = f"this archive can't be unpacked: {problem.detail}"
            raise line.error(word.offset, reason, CopySourceInvalidError) from problem
        except CompressionUnavailableError as problem:
            raise line.error(word.offset, str(problem), CopySourceInvalidError) from problem
        except OSError as problem:
            raise line.error(word.offset, f"cannot read it: {problem}", CopySourceInvalidError) from problem


def _digest(*parts: str) -> bytes:
    return hashlib.sha256(json.dumps(parts).encode(errors="surrogateescape")).digest()
