"""A Dockerfile's text as logical lines, each knowing where it stands in the file."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_pycontainer.build.heredocs import Marker, find_markers
from pytest_pycontainer.build.instructions import Heredoc
from pytest_pycontainer.build.words import WHITE
from pytest_pycontainer.errors import DockerfileError

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    """An instruction as one line: continuations joined, comments and empty lines among them left out.

    Its here-documents, if it has some, are not in the text. (Their bodies are Lines too, of several lines.)
    """

    file: str
    escape: str
    text: str
    pieces: tuple[Piece, ...]
    heredocs: tuple[Heredoc, ...] = ()

    def error(self, offset: int, problem: str, kind: type[DockerfileError] = DockerfileError) -> DockerfileError:
        """An error that points at ``offset`` of this line's text."""
        piece = next(piece for piece in reversed(self.pieces) if piece.offset <= max(offset, 0))
        column = piece.column + offset - piece.offset
        return kind(self.file, piece.number, column + 1, piece.text, problem)


def read_lines(text: str, file: str) -> list[Line]:
    """Splits a Dockerfile into logical lines (Dockerfile reference, "Format", "Parser directives", "Here-Documents").

    Raises DockerfileError for a directive that makes no sense, and a here-document without an end.
    """
    lines = text.removeprefix("\ufeff").split("\n")
    first, escape = _read_directives([line.rstrip("\r") for line in lines], file)
    continued = re.compile(rf"(?<!{re.escape(escape)}){re.escape(escape)}[ \t]*\Z")
    numbered = iter(list(enumerate(lines, 1))[first:])
    logical: list[Line] = []
    pieces: list[Piece] = []
    joined = ""
    for number, ended in numbered:
        line = ended.rstrip("\r")
        content = line.strip(WHITE)
        if not content or content.startswith("#"):
            continue
        column = len(line) - len(line.lstrip(WHITE)) if not joined else 0
        pieces.append(Piece(len(joined), number, column, line))
        mark = continued.search(line)
        joined += line[column : mark.start() if mark else None]
        if not mark:
            logical.append(_finish(Line(file, escape, joined.rstrip(WHITE), tuple(pieces)), numbered))
            pieces, joined = [], ""
    if joined.strip(WHITE):
        logical.append(_finish(Line(file, escape, joined.rstrip(WHITE), tuple(pieces)), numbered))
    return logical


def _finish(line: Line, following: Iterator[tuple[int, str]]) -> Line:
    """The line with its here-documents, which are taken from the lines ``following``."""
    markers = find_markers(line.text)
    if not markers:
        return line
    return replace(line, heredocs=tuple(_read_heredoc(line, marker, following) for marker in markers))


def _read_heredoc(line: Line, marker: Marker, following: Iterator[tuple[int, str]]) -> Heredoc:
    pieces: list[Piece] = []
    content = ""
    for number, whole in following:
        text = whole.lstrip("\t") if marker.strips_tabs else whole
        pieces.append(Piece(len(content), number, len(whole) - len(text), whole.rstrip("\r")))
        if text.rstrip("\r") == marker.name:
            body = Line(line.file, line.escape, content, tuple(pieces))
            return Heredoc(marker.name, body, marker.expands, marker.start)
        content += f"{text}\n"
    raise line.error(marker.start, f"this here-document has no end: no line after it is {marker.name} alone")


def _read_directives(lines: list[str], file: str) -> tuple[int, str]:
    """How many lines at the top are directives, and the escape character."""
    escape = _ESCAPES[0]
    seen: set[str] = set()
    for number, line in enumerate(lines):
        match = _DIRECTIVE.fullmatch(line.strip(WHITE))
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
