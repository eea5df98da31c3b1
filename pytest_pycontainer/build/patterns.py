"""Wildcards: those of COPY sources (Go's ``filepath.Match``) and those of .dockerignore (moby's patternmatcher)."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import DockerfileError

if TYPE_CHECKING:
    from collections.abc import Callable

_WILDCARDS = frozenset("*?[\\")


class PatternProblem(ValueError):  # noqa: N818  (becomes an error where the line is known)
    """A pattern that has no meaning: ``problem`` at ``offset``."""

    def __init__(self, offset: int, problem: str) -> None:
        super().__init__(offset, problem)
        self.offset = offset
        self.problem = problem


def has_wildcards(path: str) -> bool:
    return not _WILDCARDS.isdisjoint(path)


def split_wildcards(path: str) -> tuple[str, tuple[str, ...]]:
    """The path up to the first name with wildcards, and the names from there on."""
    names = path.split("/")
    first = next((number for number, name in enumerate(names) if has_wildcards(name)), len(names))
    return "/".join(names[:first]), tuple(names[first:])


def compile_name(pattern: str) -> re.Pattern[str]:
    r"""What one name in a path must match: ``*``, ``?``, ``[a-z]``, ``[^a-z]``, and ``\`` before a literal.

    Raises PatternProblem.
    """
    return re.compile(_translate(pattern, double_star=False), re.DOTALL)


def compile_path(pattern: str) -> re.Pattern[str]:
    """What a path must match, itself or by a directory that it lies in; ``**`` stands for any number of names.

    Raises PatternProblem.
    """
    return re.compile(_below(_translate(_clean(pattern), double_star=True)), re.DOTALL)


def _clean(pattern: str) -> str:
    """As Go's filepath.Clean, then relative."""
    return posixpath.normpath(pattern).lstrip("/")


def _below(expression: str) -> str:
    """What lies below a match matches too."""
    return f"(?:{expression})(?:/.*)?"


def _translate(pattern: str, *, double_star: bool) -> str:
    out: list[str] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "*":
            stars = 2 if double_star and pattern.startswith("**", at) else 1
            at += stars
            if stars == 1:
                out.append("[^/]*")
            else:
                at += pattern.startswith("/", at)
                out.append("(?:.*/)?" if at < len(pattern) else ".*")
            continue
        if character == "?":
            out.append("[^/]")
        elif character == "[":
            text, at = _translate_class(pattern, at)
            out.append(text)
            continue
        elif character == "\\":
            at += 1
            if at == len(pattern):
                raise PatternProblem(at - 1, "nothing follows this backslash")
            out.append(re.escape(pattern[at]))
        else:
            out.append(re.escape(character))
        at += 1
    return "".join(out)


def _translate_class(pattern: str, opened: int) -> tuple[str, int]:
    """A bracket expression as a regular one, and the place after it."""
    at = opened + 1
    negated = pattern.startswith("^", at)
    at += negated
    ranges: list[str] = []
    while not (ranges and pattern.startswith("]", at)):
        low, at = _class_character(pattern, opened, at)
        high = low
        if pattern.startswith("-", at):
            high, at = _class_character(pattern, opened, at + 1)
        if low > high:
            raise PatternProblem(opened, f"the range {low}-{high} is empty")
        ranges.append(f"{re.escape(low)}-{re.escape(high)}")
    return f"[{'^' if negated else ''}{''.join(ranges)}{'/' if negated else ''}]", at + 1


def _class_character(pattern: str, opened: int, at: int) -> tuple[str, int]:
    escaped = pattern.startswith("\\", at)
    at += escaped
    if at >= len(pattern):
        raise PatternProblem(opened, "this [ has no ]")
    if pattern[at] in "-]" and not escaped:
        raise PatternProblem(opened, f"expected a character or a range before {pattern[at]}")
    return pattern[at], at + 1


@dataclass(frozen=True, slots=True)
class IgnoreRules:
    """A .dockerignore: in the order written, what each group of like-minded patterns excludes or takes back in."""

    groups: tuple[tuple[bool, re.Pattern[str]], ...] = ()

    @classmethod
    def parse(cls, text: str, file: str) -> IgnoreRules:
        """Reads a .dockerignore. Raises DockerfileError, which names ``file`` and the line."""
        rules: list[tuple[bool, str]] = []
        for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
            pattern = line.strip()
            if line.startswith("#") or not pattern:
                continue
            excludes = not pattern.startswith("!")
            pattern = pattern.removeprefix("!").strip()
            column = line.rindex(pattern) + 1
            if not pattern:
                raise DockerfileError(file, number, column, line, "expected a pattern after !")
            cleaned = _clean(pattern)
            if cleaned in ("", "."):
                continue
            try:
                rules.append((excludes, _translate(cleaned, double_star=True)))
                re.compile(rules[-1][1])
            except PatternProblem as problem:
                raise DockerfileError(file, number, column + problem.offset, line, problem.problem) from None
        return cls(_grouped(rules))

    @classmethod
    def excluding(cls, pattern: str) -> IgnoreRules:
        """The rule of one pattern, perhaps with ``!``; add up several. Raises PatternProblem."""
        excludes = not pattern.startswith("!")
        cleaned = _clean(pattern.removeprefix("!"))
        return cls() if cleaned in ("", ".") else cls(_grouped([(excludes, _translate(cleaned, double_star=True))]))

    def __add__(self, later: IgnoreRules) -> IgnoreRules:
        return IgnoreRules(self.groups + later.groups)

    @property
    def has_exceptions(self) -> bool:
        """Whether something below an excluded directory may be taken back in."""
        return any(not excludes for excludes, _ in self.groups)

    @property
    def check(self) -> Callable[[str], object] | None:
        """As ``excludes``, true or not; None if nothing is excluded. For many paths."""
        if len(self.groups) == 1 and not self.has_exceptions:
            return self.groups[0][1].fullmatch
        return self.excludes if self.groups else None

    def excludes(self, path: str) -> bool:
        """Whether ``path``, relative to the context, is left out: the last pattern that matches decides."""
        for excludes, pattern in reversed(self.groups):
            if pattern.fullmatch(path):
                return excludes
        return False


def _grouped(rules: list[tuple[bool, str]]) -> tuple[tuple[bool, re.Pattern[str]], ...]:
    return tuple(
        (excludes, re.compile(_below("|".join(pattern for _, pattern in group)), re.DOTALL))
        for excludes, group in groupby(rules, key=lambda rule: rule[0])
    )
