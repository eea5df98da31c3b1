"""The build context: what COPY may read from the directory that is built, and a digest of what it does read."""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
from typing import TYPE_CHECKING

from pytest_pycontainer.build.file_digests import FileDigests
from pytest_pycontainer.build.patterns import (
    IgnoreRules,
    PatternProblem,
    compile_name,
    compile_path,
    has_wildcards,
    split_wildcards,
)
from pytest_pycontainer.build.steps import CopySource, SourceMissing

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_LINKS_AT_MOST = 40
_KIND = 0o170000
_NOTHING = IgnoreRules()


class BuildContext:
    """A directory without what its .dockerignore excludes. Nothing outside is reached, through no link either.

    ``digests`` remembers the files' contents. Safe for several threads.
    """

    def __init__(self, root: Path, ignored: IgnoreRules, digests: FileDigests | None = None) -> None:
        self.root = root.resolve()
        self._top = os.fspath(self.root)
        self._ignored = ignored
        self._digests = digests or FileDigests(None, self.root)
        self._digest = self._digests.of
        self._statuses: dict[str, os.stat_result] = {}

    def select(self, source: str, excluded: IgnoreRules = _NOTHING) -> list[CopySource]:
        """What a COPY source stands for, sorted: one thing, or with wildcards any number, none too.

        ``excluded`` is about the paths in what is copied, and the names of files. Raises SourceMissing for what is not
        there, and for a path that leads outside.
        """
        path = _normalise(source)
        fixed, wild = split_wildcards(path)
        if not wild:
            return self._source(source, path, excluded)
        try:
            patterns = [compile_name(part) for part in wild]
        except PatternProblem as problem:
            raise SourceMissing(source, f"{source}: {problem.problem}") from None
        found = (match for match in self._match(self._resolve(source, fixed), patterns) if not self._is_left_out(match))
        return [thing for match in found for thing in self._source(match, match, excluded)]

    def select_with_parents(self, source: str, excluded: IgnoreRules = _NOTHING) -> list[CopySource]:
        """As ``select`` for ``--parents``: what matches keeps its path, from ``/./`` on if that is in it.

        In what comes after, ``**`` stands for any number of directories, and no link is followed.
        """
        pivot, is_there, below = source.partition("/./")
        if not is_there:
            pivot, below = "", source
        top = self._resolve(source, _normalise(pivot))
        try:
            included = compile_path(_normalise(below))
        except PatternProblem as problem:
            raise SourceMissing(source, f"{source}: {problem.problem}") from None
        entries = self._walk(top, excluded, source, included if _normalise(below) else None)
        if not entries and not has_wildcards(below):
            raise self._missing(source, posixpath.join(top, _normalise(below)))
        return [CopySource(top, tuple(entries))] if entries else []

    def fingerprint(self, sources: Sequence[CopySource]) -> str:
        """A digest of names, kinds, modes, contents and link targets; not of times and owners, which COPY sets."""
        pieces: list[bytes] = []
        for source in sources:
            if source.entries is None:
                self._add(pieces, source.name or posixpath.basename(source.path), source.path)
            else:
                prefix = f"{source.path}/" if source.path else ""
                pieces.append(b"dir\0")
                for entry in source.entries:
                    self._add(pieces, entry, prefix + entry)
        self._digests.remember()
        return hashlib.sha256(b"".join(pieces)).hexdigest()

    def _add(self, pieces: list[bytes], label: str, path: str) -> None:
        # Called for each of thousands of files, at every build.
        status = self._statuses.get(path)
        file = f"{self._top}/{path}"
        try:
            if status is None:
                status = os.lstat(file)
            mode = status.st_mode
            kind = mode & _KIND
            if kind == stat.S_IFREG:
                what = self._digest(file, status)
            elif kind == stat.S_IFDIR:
                what = b""
            elif kind == stat.S_IFLNK:
                target = os.fsencode(os.readlink(file))  # noqa: PTH115  (a Path for each of thousands of files is slow)
                what = b"%d:%b" % (len(target), target)
            else:
                what = b"%d" % status.st_rdev
        except OSError as problem:
            raise SourceMissing(path, f"cannot read {file}: {problem.strerror}") from problem
        name = label.encode(errors="surrogateescape")
        pieces.append(b"%d:%b%o:%b" % (len(name), name, mode, what))

    def _source(self, source: str, path: str, excluded: IgnoreRules) -> list[CopySource]:
        resolved = self._resolve(source, path)
        left_out = self._is_left_out(path) or self._is_left_out(resolved)
        file = f"{self._top}/{resolved}"
        status = os.stat(file)  # noqa: PTH116
        if stat.S_ISDIR(status.st_mode):
            entries = self._walk(resolved, excluded, source)
            if entries or not left_out:
                return [CopySource(resolved, tuple(entries))]
        elif not left_out:
            if stat.S_ISSOCK(status.st_mode):
                raise SourceMissing(source, f"{source} is a socket, which can't be copied")
            self._statuses[resolved] = status
            name = posixpath.basename(path)
            if excluded.groups and excluded.excludes(name):
                return []
            return [CopySource(resolved, name="" if name == posixpath.basename(resolved) else name)]
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
                raise self._missing(source, "/".join((*here, name))) from None
            if not is_link:
                here.append(name)
                continue
            links += 1
            target = os.fspath(file.readlink())
            if target.startswith("/") or links > _LINKS_AT_MOST:
                raise _outside(source)
            waiting += target.split("/")[::-1]
        return "/".join(here)

    def _missing(self, source: str, path: str) -> SourceMissing:
        """The error for a source that is not there, of which ``path`` is as much as is known where to look."""
        from difflib import get_close_matches

        directory, name = posixpath.split(path)
        try:
            names = [posixpath.join(directory, name) for name in os.listdir(self.root / directory)]  # noqa: PTH208
        except (OSError, ValueError):
            names = []
        near = get_close_matches(posixpath.join(directory, name), [n for n in names if not self._is_left_out(n)], 1)
        hint = f"; {near[0]} does" if near else ""
        return SourceMissing(source, f"{source} does not exist in the build context {self.root}{hint}")

    def _match(self, directory: str, patterns: Sequence[re.Pattern[str]]) -> Iterator[str]:
        try:
            with os.scandir(self.root / directory) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except NotADirectoryError:
            return
        for entry in entries:
            if not patterns[0].fullmatch(entry.name):
                continue
            path = posixpath.join(directory, entry.name)
            if len(patterns) == 1:
                yield path
            elif entry.is_dir(follow_symlinks=False):
                yield from self._match(path, patterns[1:])

    def _walk(self, top: str, excluded: IgnoreRules, source: str, included: re.Pattern[str] | None = None) -> list[str]:
        """What is below ``top``, relative to it, sorted, parents first, without what is ignored."""
        walk = _Walk(self._top, top, self._ignored, excluded, self._statuses)
        try:
            walk.into("", included)
        except OSError as problem:
            raise SourceMissing(source, f"cannot read {problem.filename.rstrip('/')}: {problem.strerror}") from problem
        return walk.entries


class _Walk:
    """A way through the directory ``top`` of a context; what it finds is in ``entries``, and its status noted."""

    def __init__(
        self, root: str, top: str, ignored: IgnoreRules, excluded: IgnoreRules, statuses: dict[str, os.stat_result]
    ) -> None:
        self.entries: list[str] = []
        self._root = root
        self._prefix = f"{top}/" if top else ""
        self._ignores = ignored.check
        self._excludes = excluded.check
        self._has_exceptions = ignored.has_exceptions or excluded.has_exceptions
        self._statuses = statuses

    def into(self, directory: str, included: re.Pattern[str] | None) -> None:
        """Adds what is in ``directory`` (relative, with a slash at its end) as far as it is wanted."""
        prefix = self._prefix + directory
        entries, statuses, ignores, excludes = self.entries, self._statuses, self._ignores, self._excludes
        with os.scandir(f"{self._root}/{prefix}") as found:
            listed = sorted([(entry.name, entry) for entry in found])
        for name, entry in listed:
            path = directory + name
            wanted = not (
                (ignores is not None and ignores(prefix + name))
                or (excludes is not None and excludes(path))
                or (included is not None and not included.fullmatch(path))
            )
            if not entry.is_dir(follow_symlinks=False):
                if wanted:
                    status = entry.stat(follow_symlinks=False)
                    if status.st_mode & _KIND != stat.S_IFSOCK:
                        statuses[prefix + name] = status
                        entries.append(path)
            elif wanted or included is not None or self._has_exceptions:
                # A directory that is not wanted for itself is there only if something below it is.
                number = len(entries)
                statuses[prefix + name] = entry.stat(follow_symlinks=False)
                entries.append(path)
                self.into(f"{path}/", included)
                if not wanted and len(entries) == number + 1:
                    entries.pop()


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
