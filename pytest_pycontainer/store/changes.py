"""What an overlay's upper directory changes in the layers below it, as ``docker diff`` tells.

The upper directory may be written to meanwhile, by a container that is nobody's friend: it is read through descriptors,
by no link, and what is gone is left out.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pytest_pycontainer.kernel.mount import open_in_root
from pytest_pycontainer.store.diff import is_opaque, is_whiteout

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """A path that a container added (``A``), changed (``C``) or deleted (``D``). As text it is docker's line."""

    path: str
    kind: Literal["A", "C", "D"]

    def __str__(self) -> str:
        return f"{self.kind} {self.path}"


def find_changes(upper: Path, layers: Sequence[Path], ignored: Collection[str]) -> list[Change]:
    """The changes that ``upper`` makes to ``layers``, topmost first, sorted by path; a directory changes with what is
    in it.

    ``ignored`` are paths in ``upper`` that are nobody's change. Raises OSError.
    """
    with ExitStack() as opened:
        tops = []
        for directory in (upper, *layers):
            tops.append(os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            opened.callback(os.close, tops[-1])
        found: dict[str, Change] = {}
        for change in _Changes(tops[0], tops[1:]).walk():
            if change.path.lstrip("/") not in ignored:
                found[change.path] = change
                parent = posixpath.dirname(change.path)
                while parent != "/" and parent not in found:
                    found[parent] = Change(parent, "C")
                    parent = posixpath.dirname(parent)
    return sorted(found.values())


class _Changes:
    def __init__(self, upper: int, layers: list[int]) -> None:
        self._upper = upper
        self._layers = layers

    def walk(self) -> Iterator[Change]:
        waiting = [""]
        while waiting:
            path = waiting.pop()
            try:
                directory = open_in_root(self._upper, path or ".", _READ_DIRECTORY, follow=False)
            except OSError as problem:
                if problem.errno not in _GONE:
                    raise
                continue
            try:
                names = sorted(os.listdir(directory))  # noqa: PTH208  (Path knows no descriptors)
                hides = bool(path) and is_opaque(b"/proc/self/fd/%d" % directory)
                for name in names:
                    whole = posixpath.join(path, name)
                    try:
                        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    if stat.S_ISDIR(status.st_mode):
                        waiting.append(whole)
                    yield from self._compare(whole, status)
            finally:
                os.close(directory)
            if hides:
                yield from (Change(f"/{path}/{name}", "D") for name in self._names_below(path) - set(names))

    def _compare(self, path: str, status: os.stat_result) -> Iterator[Change]:
        below = self._below(path)
        if is_whiteout(status):
            if below is not None:
                yield Change(f"/{path}", "D")
        elif below is None:
            yield Change(f"/{path}", "A")
        elif not (stat.S_ISDIR(status.st_mode) and stat.S_ISDIR(below.st_mode)) or _differ(status, below):
            yield Change(f"/{path}", "C")

    def _below(self, path: str) -> os.stat_result | None:
        """What the layers have at ``path``; None if nothing is there."""
        for layer in self._layers:
            found, is_last = _look(layer, path)
            if found is not None or is_last:
                return None if found is None or is_whiteout(found) else found
        return None

    def _names_below(self, path: str) -> set[str]:
        names: set[str] = set()
        for layer in self._layers:
            try:
                directory = open_in_root(layer, path, _READ_DIRECTORY, follow=False)
            except OSError as problem:
                if problem.errno not in _GONE:
                    raise
                continue
            try:
                names.update(os.listdir(directory))  # noqa: PTH208  (Path knows no descriptors)
            finally:
                os.close(directory)
        return {name for name in names if self._below(posixpath.join(path, name)) is not None}


def _look(layer: int, path: str) -> tuple[os.stat_result | None, bool]:
    """What a layer has at ``path``, and whether it hides what lower layers have there."""
    hides = False
    parts = path.split("/")
    for number in range(1, len(parts) + 1):
        try:
            found = open_in_root(layer, "/".join(parts[:number]), _PATH, follow=False)
        except OSError as problem:
            if problem.errno in _GONE:
                return None, hides
            raise
        try:
            status = os.fstat(found)
            if number == len(parts):
                return status, True
            if not stat.S_ISDIR(status.st_mode):
                return None, True
            hides = hides or is_opaque(b"/proc/self/fd/%d" % found)
        finally:
            os.close(found)
    return None, hides


def _differ(one: os.stat_result, other: os.stat_result) -> bool:
    compared = ("st_mode", "st_uid", "st_gid", "st_mtime_ns")
    return any(getattr(one, name) != getattr(other, name) for name in compared)
