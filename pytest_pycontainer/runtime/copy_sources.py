"""What a copy reads: names and patterns looked up in a source's root, which can be anybody's.

Every path is resolved by the kernel inside that root (CVE-2018-15664). As in BuildKit, links are followed in what a
source names, and nowhere below it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator

from pytest_pycontainer.kernel import mount
from pytest_pycontainer.runtime.failure import StepFailed
from pytest_pycontainer.runtime.messages import Failed
from pytest_pycontainer.runtime.spec import CopySource
from pytest_pycontainer.runtime.values import dataclass, field, replace

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)

SOURCE_STEP = "find the source"
"""The name of the step whose failure means: a source is not there; its detail is the source."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something below a source directory, by its path there."""

    path: str
    is_directory: bool


@dataclass(frozen=True, slots=True)
class Filter:
    """Which of the paths below a directory are copied; ``included`` None means all that are not excluded."""

    included: re.Pattern[str] | None = None
    excludes: tuple[tuple[bool, re.Pattern[str]], ...] = ()
    has_exceptions: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "has_exceptions", any(not leaves_out for leaves_out, _ in self.excludes))

    @classmethod
    def of(cls, source: CopySource) -> Filter:
        """The filter of a source."""
        return cls(
            re.compile(source.pattern[0], re.DOTALL) if source.parents else None,
            tuple((leaves_out, re.compile(pattern, re.DOTALL)) for leaves_out, pattern in source.excludes),
        )

    def leaves_out(self, path: str) -> bool:
        """Whether the last of the ``excludes`` that matches says so."""
        for leaves_out, pattern in reversed(self.excludes):
            if pattern.fullmatch(path):
                return leaves_out
        return False


class SourceRoot:
    """The root open as ``descriptor``, which is the caller's."""

    def __init__(self, descriptor: int) -> None:
        self._root = descriptor

    def open(self, path: str, flags: int) -> int:
        """Opens a path, whose links are followed inside the root."""
        return mount.open_in_root(self._root, path or ".", flags)

    def status(self, path: str) -> os.stat_result:
        """Of what the path stands for when links are followed."""
        descriptor = self.open(path, os.O_PATH)
        try:
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)

    def find(self, source: CopySource) -> list[tuple[CopySource, os.stat_result]]:
        """The things that a source stands for, none of which has a pattern for names any more.

        Raises StepFailed (SOURCE_STEP) for a name that is not there; a pattern may match nothing.
        """
        try:
            if not source.pattern or source.parents:
                return self._unless_left_out(source)
            paths = sorted(self._match(source.path, [re.compile(part, re.DOTALL) for part in source.pattern]))
        except OSError as problem:
            if problem.errno not in _NOT_THERE:
                raise
            raise StepFailed(Failed(SOURCE_STEP, problem.errno, source.path)) from None
        return [thing for path in paths for thing in self._unless_left_out(replace(source, path=path, pattern=()))]

    def _unless_left_out(self, thing: CopySource) -> list[tuple[CopySource, os.stat_result]]:
        status = self.status(thing.path)
        is_file = not stat.S_ISDIR(status.st_mode)
        left_out = is_file and thing.excludes and Filter.of(thing).leaves_out(os.path.basename(thing.path))
        return [] if left_out else [(thing, status)]

    def _match(self, directory: str, patterns: list[re.Pattern[str]]) -> Iterator[str]:
        descriptor = self.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.scandir(descriptor) as entries:
                found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        finally:
            os.close(descriptor)
        for name, is_directory in found:
            if not patterns[0].fullmatch(name):
                continue
            path = os.path.join(directory, name)
            if len(patterns) == 1:
                yield path
            elif is_directory:
                yield from self._match(path, patterns[1:])


def walk(top: int, rules: Filter) -> Iterator[Entry]:
    """What is below the directory open as ``top``, sorted, parents first, as far as the filter takes it."""
    return _walk(top, "", rules, rules.included is None)


def _walk(top: int, directory: str, rules: Filter, all_included: bool) -> Iterator[Entry]:
    descriptor = mount.open_in_root(top, directory or ".", _DIRECTORY, follow=False)
    try:
        with os.scandir(descriptor) as found:
            entries = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in found)
    finally:
        os.close(descriptor)
    for name, is_directory in entries:
        path = f"{directory}/{name}" if directory else name
        left_out = bool(rules.excludes) and rules.leaves_out(path)
        included = all_included or (rules.included is not None and rules.included.fullmatch(path) is not None)
        entry = Entry(path, is_directory)
        if included and not left_out:
            yield entry
            if is_directory:
                yield from _walk(top, path, rules, all_included=True)
        elif is_directory and (not left_out or rules.has_exceptions):
            yield from _with_parent(entry, _walk(top, path, rules, included))


def _with_parent(directory: Entry, below: Iterator[Entry]) -> Iterator[Entry]:
    """A directory that is not wanted for itself is there only if something below it is."""
    for number, entry in enumerate(below):
        if number == 0:
            yield directory
        yield entry
