"""``--chmod``: octal digits, or chmod's symbols, as ``u=rwX,go=rX`` (POSIX chmod, "Extended Description")."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from pytest_pycontainer.build.steps import ModeClause

if TYPE_CHECKING:
    from typing import Literal

_OCTAL = re.compile(r"[0-7]+")
_HIGHEST = 0o7777
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)")
_ACTION = re.compile(r"([-+=])([rwxXstugo]*)")
_WHO = {"u": 0o4700, "g": 0o2070, "o": 0o1007, "a": _HIGHEST}
_BITS = {"r": 0o444, "w": 0o222, "x": 0o111, "s": 0o6000, "t": 0o1000}
# Where nobody is named, chmod spares what the umask does; Docker's is this.
_UMASK = 0o022


class ModeProblem(ValueError):  # noqa: N818  (becomes a DockerfileError where the line is known)
    """A text that is no mode: ``problem`` says what was wanted."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


def parse_mode(text: str) -> tuple[ModeClause, ...]:
    """What a mode's text says is to be done to a file's mode. Raises ModeProblem."""
    if _OCTAL.fullmatch(text):
        if int(text, 8) > _HIGHEST:
            raise ModeProblem(f"{text} is no mode; wanted 7777 at most")
        return (ModeClause(_HIGHEST, "=", int(text, 8)),)
    clauses: list[ModeClause] = []
    for part in text.split(","):
        clause = _CLAUSE.fullmatch(part)
        if clause is None:
            raise ModeProblem(f"{text} is no mode; wanted octal digits such as 755, or symbols such as u=rwX,go=rX")
        who = 0
        for letter in clause[1]:
            who |= _WHO[letter]
        for operator, permissions in _ACTION.findall(clause[2]):
            clauses.append(_clause(who, operator, permissions))
    return tuple(clauses)


def _clause(who: int, operator: Literal["+", "-", "="], permissions: str) -> ModeClause:
    bits = 0
    for letter in permissions:
        bits |= _BITS.get(letter, 0)
    if not who:
        # The bits that = takes away are everybody's all the same.
        bits &= ~_UMASK
    copied = tuple(cast("Literal['u', 'g', 'o']", letter) for letter in permissions if letter in "ugo")
    return ModeClause(who or _HIGHEST, operator, bits, "X" in permissions, copied)
