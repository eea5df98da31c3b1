"""Where here-documents begin in an instruction: ``<<name``, ``<<-name``, ``<<'name'``, ``3<<name`` …"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from pytest_pycontainer.build.words import SPACE, WHITE, read_json, skip_flags

_HOLDER = re.compile(rf"[{SPACE}]*(?:ONBUILD[{SPACE}]+)?(?:RUN|COPY|ADD)[{SPACE}]+", re.IGNORECASE)
_MARK = re.compile(rf"[0-9]*<<(-?)[{SPACE}]*(?=[^{SPACE}<])")


@dataclass(frozen=True, slots=True)
class Marker:
    """A here-document's beginning, from ``start`` to ``end`` in the logical line.

    ``expands`` is false if part of the name was quoted, ``strips_tabs`` is true for ``<<-``.
    """

    name: str
    expands: bool
    strips_tabs: bool
    start: int
    end: int


def find_markers(text: str) -> list[Marker]:
    """The markers in a logical line, in order; none where the instruction takes none, or has the JSON form.

    As in BuildKit a name reaches to the next white space, and a marker is a word of its own: ``a<<b`` is none. Quotes
    here are the shell's, whatever the file's escape character. One difference: ``<<`` in ``$((…))`` is a shift.
    """
    holder = _HOLDER.match(text) if "<<" in text else None
    if holder is None:
        return []
    at = skip_flags(text, holder.end())
    try:
        if read_json(text[at:]) is not None:
            return []
    except json.JSONDecodeError:
        return []
    markers: list[Marker] = []
    begins_word, depth = True, 0
    while at < len(text):
        mark = _MARK.match(text, at) if begins_word and not depth else None
        if mark and (marker := _read_name(text, mark)):
            markers.append(marker)
            at = marker.end
            continue
        begins_word = text[at] in WHITE
        if text.startswith(("((", "))"), at):
            depth = max(depth + (1 if text[at] == "(" else -1), 0)
            at += 2
        else:
            _, at = _unquote(text, at)
    return markers


def _read_name(text: str, mark: re.Match[str]) -> Marker | None:
    name, at, quoted = "", mark.end(), False
    while at < len(text) and text[at] not in WHITE:
        if text[at] == "<":
            return None
        quoted |= text[at] in "'\""
        piece, at = _unquote(text, at)
        name += piece
    if not name or at > len(text):
        return None
    return Marker(name, not quoted, bool(mark[1]), mark.start(), at)


def _unquote(text: str, at: int) -> tuple[str, int]:
    """What the character, escaped character or quoted text at ``at`` stands for, and the place after it.

    A quote without an end takes all that follows, and one more, so that this can be told.
    """
    character = text[at]
    if character == "\\":
        return text[at + 1 : at + 2], at + 2
    if character not in "'\"":
        return character, at + 1
    out, at = "", at + 1
    while at < len(text) and text[at] != character:
        if text[at] == "\\" and character == '"' and text[at + 1 : at + 2] in ('"', "\\", "$"):
            at += 1
        out += text[at : at + 1]
        at += 1
    return out, at + 1
