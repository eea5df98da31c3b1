"""The build context: what COPY may read from the directory that is built, and a digest of what it does read."""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
from typing import TYPE_CHECKING

from pytest_pycontainer.build.patterns import IgnoreRules, PatternProblem, compile_name, has_wildcards
from pytest_pycontainer.build.steps import CopySource, SourceMissing

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

_LINKS_AT_MOST = 40


class BuildContext:
    """A directory without what its .dockerignore excludes. Nothing outside is reached, through no link either."""

    def __init__(self, root: Path, ignored: IgnoreRules) -> None:
        self.root = root.resolve()
        self._ignored = ignored

    def select(self, source: str) -> list[CopySource]:
        """What a COPY source stands for, sorted: one thing, or with wildcards any number.

        Raises SourceMissing for nothing, and for a path that leads outside.
        """
        path = _normalise(source)
        if not has_wildcards(path):
            return [self._source(source, path)]
        try:
            patterns = [compile_name(part) for part in path.split("/")]
        except PatternProblem as problem:
            raise SourceMissing(source, f"{source}: {problem.problem}") from None
        found = [match for match in self._match("", patterns) if not self._is_left_out(match)]
        if not found:
            raise SourceMissing(source, f"nothing in the build context {self.root} matches {source}")
        return [self._source(match, match) for match in found]

    def fingerprint(self, sources: Sequence[CopySource]) -> str:
        """A digest of names, kinds, modes, contents and link targets; not of times and owners, which COPY sets."""
        state = hashlib.sha256()
        for source in sources:
            if source.entries is None:
                self._add(state.update, source.name or posixpath.basename(source.path), source.path)
            for entry in source.entries or ():
                self._add(state.update, entry, posixpath.join(source.path, entry))
        return state.hexdigest()

    def _add(self, update: Callable[[bytes], None], label: str, path: str) -> None:
        file = self.root / path
        try:
            status = file.lstat()
            if stat.S_ISREG(status.st_mode):
                with file.open("rb") as content:
                    what = hashlib.file_digest(content, "sha256").digest()
            elif stat.S_ISLNK(status.st_mode):
                what = os.fsencode(file.readlink())
            else:
                what = b"%d" % status.st_rdev
        except OSError as problem:
            raise SourceMissing(path, f"cannot read {file}: {problem.strerror}") from problem
        fields = (os.fsencode(label), b"%o" % status.st_mode, what)
        update(b"".join(b"%d:%b" % (len(field), field) for field in fields))

    def _source(self, source: str, path: str) -> CopySource:
        resolved = self._resolve(source, path)
        if (self.root / resolved).is_dir():
            try:
                entries = tuple(self._walk(resolved))
            except OSError as problem:
                raise SourceMissing(source, f"cannot read {problem.filename}: {problem.strerror}") from problem
            if entries or not (self._is_left_out(path) or self._is_left_out(resolved)):
                return CopySource(resolved, entries)
        elif not (self._is_left_out(path) or self._is_left_out(resolved)):
            name = posixpath.basename(path)
            return CopySource(resolved, name="" if name == posixpath.basename(resolved) else name)
        raise SourceMissing(source, f"{source} is in the build context {self.root}, but .dockerignore excludes it")

    def _is_left_out(self, path: str) -> bool:
        return bool(path) and self._ignored.excludes(path)

    def _resolve(self, source: str, path: str) -> str:
        """The path without links. Raises SourceMissing if it is not there or leads out of the context."""
        waiting = path.split("/")[::-1] if path else []
        here: list[str] = []
        links = 0
        while waiting:
            name = waiting.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if not here:
                    raise _outside(source)
                here.pop()
                continue
            file = self.root.joinpath(*here, name)
            try:
                is_link = stat.S_ISLNK(file.lstat().st_mode)
            except (OSError, ValueError):  # ValueError for a NUL, which no name has
                raise SourceMissing(source, f"{source} does not exist in the build context {self.root}") from None
            if not is_link:
                here.append(name)
                continue
            links += 1
            target = os.fspath(file.readlink())
            if target.startswith("/") or links > _LINKS_AT_MOST:
                raise _outside(source)
            waiting += target.split("/")[::-1]
        return "/".join(here)

    def _match(self, directory: str, patterns: Sequence[re.Pattern[str]]) -> Iterator[str]:
        try:
            names = sorted(os.listdir(self.root / self._resolve(directory, directory)))  # noqa: PTH208
        except (NotADirectoryError, SourceMissing):
            return
        for name in names:
            if not patterns[0].fullmatch(name):
                continue
            path = posixpath.join(directory, name)
            if len(patterns) == 1:
                yield path
            else:
                yield from self._match(path, patterns[1:])

    def _walk(self, top: str, directory: str = "") -> Iterator[str]:
        """What is below ``top``, relative to it, parents first, without what is ignored."""
        with os.scandir(self.root / top / directory) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            path = posixpath.join(directory, entry.name)
            left_out = self._ignored.excludes(posixpath.join(top, path))
            if not entry.is_dir(follow_symlinks=False):
                if not left_out:
                    yield path
            elif not left_out:
                yield path
                yield from self._walk(top, path)
            elif self._ignored.has_exceptions:
                yield from _with_parent(path, self._walk(top, path))


def _with_parent(directory: str, below: Iterable[str]) -> Iterator[str]:
    """An excluded directory is there only if something below it is."""
    for number, path in enumerate(below):
        if number == 0:
            yield directory
        yield path


def _normalise(source: str) -> str:
    """The source relative to the context, without ``.`` and ``..``; "" is the context itself."""
    parts: list[str] = []
    for part in source.split("/"):
        if part == "..":
            if not parts:
                raise _outside(source)
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _outside(source: str) -> SourceMissing:
    return SourceMissing(source, f"{source} lies outside the build context")
