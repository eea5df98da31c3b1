r"""Variables, quotes and escapes in a Dockerfile's words (Dockerfile reference, "Environment replacement").

``$x`` and ``${x}``; ``-``, ``+`` and ``?`` (and ``:-``, ``:+``, ``:?``) for a variable that is unset (or empty); ``#``,
``##``, ``%``, ``%%``, ``/`` and ``//`` for parts of a value. Single quotes keep everything; in double quotes the escape
character works before ``"``, ``$`` and itself. In patterns, quotes are taken away and escapes stay for the pattern.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_pycontainer.build.patterns import PatternProblem
from pytest_pycontainer.build.substitution import replaced, without_prefix, without_suffix

if TYPE_CHECKING:
    from collections.abc import Mapping

# A name, a positional parameter, or one of the shell's special ones (which are never set here).
_NAME = re.compile(r"[^\W\d]\w*|\d+|[@*#?\-$!]")


class ExpansionProblem(ValueError):  # noqa: N818  (becomes a DockerfileError where the line is known)
    """A word that can't be expanded: ``problem``, and its ``offset`` in the word."""

    def __init__(self, offset: int, problem: str) -> None:
        super().__init__(offset, problem)
        self.offset = offset
        self.problem = problem


def expand(word: str, variables: Mapping[str, str], escape: str = "\\", *, quotes: bool = True) -> str:
    """``word`` with variables replaced (by nothing where unset) and quotes and escapes taken away.

    Without ``quotes`` they are characters as all others: in a here-document. Raises ExpansionProblem for an open quote
    or brace, an unknown modifier, a pattern without meaning, and ``${x?message}`` where x is unset.
    """
    return _Expansion(word, variables, escape, quotes).until("", 0)


class _Expansion:
    def __init__(self, word: str, variables: Mapping[str, str], escape: str, quotes: bool) -> None:
        self._word = word
        self._variables = variables
        self._escape = escape
        self._quotes = "'\"" if quotes else ""
        self._at = 0

    def until(self, end: str, opened: int, *, keeps_escapes: bool = False) -> str:
        """Expands up to the character ``end``, which is taken too and ends what was ``opened``; to the end for ""."""
        out: list[str] = []
        while self._at < len(self._word):
            character = self._word[self._at]
            if character == end:
                self._at += 1
                return "".join(out)
            if keeps_escapes and character == self._escape:
                out.append(character)
            out.append(self._next(character))
        if end:
            raise ExpansionProblem(opened, f"this ${{ has no {end}")
        return "".join(out)

    def _next(self, character: str) -> str:
        if character in self._quotes:
            return self._single_quoted() if character == "'" else self._double_quoted()
        if character == "$":
            return self._variable()
        if character == self._escape:
            escaped = self._word[self._at + 1 : self._at + 2]
            self._at += 2
            return escaped
        self._at += 1
        return character

    def _single_quoted(self) -> str:
        close = self._word.find("'", self._at + 1)
        if close < 0:
            raise ExpansionProblem(self._at, "this single quote has no end")
        quoted = self._word[self._at + 1 : close]
        self._at = close + 1
        return quoted

    def _double_quoted(self) -> str:
        opened = self._at
        self._at += 1
        out: list[str] = []
        while self._at < len(self._word):
            character = self._word[self._at]
            if character == '"':
                self._at += 1
                return "".join(out)
            following = self._word[self._at + 1 : self._at + 2]
            if character == "$":
                out.append(self._variable())
            elif character == self._escape and following and following in ('"', "$", self._escape):
                out.append(following)
                self._at += 2
            else:
                out.append(character)
                self._at += 1
        raise ExpansionProblem(opened, "this double quote has no end")

    def _variable(self) -> str:
        dollar = self._at
        self._at += 1
        if self._word[self._at : self._at + 1] != "{":
            name = self._name()
            return self._variables.get(name, "") if name else "$"
        self._at += 1
        name = self._name()
        if not name:
            raise ExpansionProblem(dollar, "expected a variable's name after ${")
        value = self._variables.get(name)
        modifier = self._take()
        if modifier == "}":
            return value or ""
        if modifier in ("#", "%"):
            return self._without(dollar, modifier, value or "")
        if modifier == "/":
            return self._replaced(dollar, value or "")
        if modifier == ":":
            modifier = self._take()
            value = value or None  # with a colon, empty counts as unset
        if not modifier:
            raise ExpansionProblem(dollar, "this ${ has no }")
        if modifier not in "-+?":
            raise ExpansionProblem(
                self._at - 1, f"unknown modifier {modifier!r}; known are -, + and ?, those after a :, #, % and /"
            )
        word = self.until("}", dollar)
        if modifier == "+":
            return "" if value is None else word
        if value is None and modifier == "?":
            raise ExpansionProblem(dollar, f"{name}: {word or 'it must be set'}")
        return word if value is None else value

    def _without(self, dollar: int, modifier: str, value: str) -> str:
        longest = self._word.startswith(modifier, self._at)
        self._at += longest
        begin = self._at
        pattern = self.until("}", dollar, keeps_escapes=True)
        without = without_prefix if modifier == "#" else without_suffix
        try:
            return without(value, pattern, longest=longest)
        except PatternProblem as problem:
            raise ExpansionProblem(begin, problem.problem) from None

    def _replaced(self, dollar: int, value: str) -> str:
        everywhere = self._word.startswith("/", self._at)
        self._at += everywhere
        begin = self._at
        pattern = self.until("/", dollar, keeps_escapes=True)
        replacement = self.until("}", dollar, keeps_escapes=True)
        try:
            return replaced(value, pattern, replacement, everywhere=everywhere)
        except PatternProblem as problem:
            raise ExpansionProblem(begin, problem.problem) from None

    def _take(self) -> str:
        character = self._word[self._at : self._at + 1]
        self._at += 1
        return character

    def _name(self) -> str:
        match = _NAME.match(self._word, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match[0]
