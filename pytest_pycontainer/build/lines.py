"""A Dockerfile's text as logical lines, each knowing where it stands in the file."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytest_pycontainer.errors import DockerfileError

_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*")
_DIRECTIVES = frozenset({"syntax", "escape", "check"})
_ESCAPES = ("\\", "`")


@dataclass(frozen=True, slots=True)
class Piece:
    """What one line of the file adds to a logical line.

    It begins at ``offset`` there and at ``column`` (from 0) in line ``number`` (from 1) of the file, which is ``text``.
    """

    offset: int
    number: int
    column: int
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """An instruction as one line: continuations joined, comments and empty lines among them left out."""

    file: str
    escape: str
    text: str
    pieces: tuple[Piece, ...]

    def error(self, offset: int, problem: str, kind: type[DockerfileError] = DockerfileError) -> DockerfileError:
        """An error that points at ``offset`` of this line's text."""
        piece = next(piece for piece in reversed(self.pieces) if piece.offset <= max(offset, 0))
        column = piece.column + offset - piece.offset
        return kind(self.file, piece.number, column + 1, piece.text, problem)


def read_lines(text: str, file: str) -> list[Line]:
    """Splits a Dockerfile into logical lines (Dockerfile reference, "Format" and "Parser directives").

    Raises DockerfileError for a directive that makes no sense.
    """
    lines = [line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")]
    first, escape = _read_directives(lines, file)
    continued = re.compile(rf"(?<!{re.escape(escape)}){re.escape(escape)}[ \t]*$")
    logical: list[Line] = []
    pieces: list[Piece] = []
    joined = ""
    for number, line in enumerate(lines[first:], first + 1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        column = 0 if pieces else len(line) - len(line.lstrip())
        pieces.append(Piece(len(joined), number, column, line))
        mark = continued.search(line)
        joined += line[column : mark.start() if mark else None]
        if not mark:
            logical.append(Line(file, escape, joined.rstrip(), tuple(pieces)))
            pieces, joined = [], ""
    if pieces and joined.strip():
        logical.append(Line(file, escape, joined.rstrip(), tuple(pieces)))
    return logical


def _read_directives(lines: list[str], file: str) -> tuple[int, str]:
    """How many lines at the top are directives, and the escape character."""
    escape = _ESCAPES[0]
    seen: set[str] = set()
    for number, line in enumerate(lines):
        match = _DIRECTIVE.fullmatch(line.strip())
        if match is None or match[1].lower() not in _DIRECTIVES:
            return number, escape
        name, value = match[1].lower(), match[2]
        if name in seen:
            raise DockerfileError(file, number + 1, 1, line, f"the directive {name} was given before")
        seen.add(name)
        if name == "escape":
            if value not in _ESCAPES:
                column = line.index("=") + 1
                column += len(line[column:]) - len(line[column:].lstrip())
                raise DockerfileError(file, number + 1, column + 1, line, "the escape character is \\ or `")
            escape = value
    return len(lines), escape
