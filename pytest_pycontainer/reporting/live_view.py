"""What goes on, redrawn on a terminal: sections of lines, one for each thing that is done at the moment."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

FRAMES_PER_SECOND: Final = 10
_FALLBACK_SIZE: Final = (80, 24)


@dataclass(frozen=True, slots=True)
class Row:
    """A line.

    Where there is no room for all, rows of the lowest ``rank`` stay. Those that have to go are counted under ``kind``;
    rows without one are not counted.
    """

    text: Text
    rank: int = 0
    kind: str = ""


class Section(Protocol):
    """Something that is done at the moment."""

    over: bool
    """Whether it has come to its end, and the rows are to be the last ones."""

    def rows(self, width: int) -> Iterable[Row]:
        """Its lines now, for a terminal of that many columns. Called by one thread at a time."""


class LiveView:
    """Sections that are drawn some ten times a second by a thread of their own; news between frames cost no drawing.

    Safe to use from several threads: sections are drawn below each other. One that has come to its end leaves its lines
    above the others. The cursor is never hidden and the terminal's modes are never changed: a process that is killed
    leaves nothing to mend but half a line.
    """

    def __init__(self, file: TextIO, *, color: bool = True) -> None:
        self._file = file
        self._console = _Terminal(
            file=file,
            force_terminal=True,
            force_interactive=True,
            force_jupyter=False,
            no_color=None if color else True,  # None: as $NO_COLOR says
            highlight=False,
        )
        # Held to change what follows, not to read it: a frame is drawn under rich's lock, which is asked for here.
        self._lock = threading.Lock()
        self._sections: tuple[Section, ...] = ()
        self._live: Live | None = None

    @contextmanager
    def showing(self, section: Section) -> Iterator[None]:
        """While it lasts, the section is drawn; what it says last, it says at the end."""
        try:
            with self._lock:
                self._sections = (*self._sections, section)
                if self._live is None:
                    self._live = self._new_live()
                    self._live.start(refresh=True)
            yield
        finally:
            section.over = True
            with self._lock:
                self._sections = tuple(other for other in self._sections if other is not section)
                if self._live is not None and not self._sections:
                    live, self._live = self._live, None
                    live.stop()
                # Whole lines, which the terminal wraps as it likes.
                self._console.print(_joined(section.rows(self._console.width)), soft_wrap=True)

    def _new_live(self) -> Live:
        return Live(
            console=self._console,
            get_renderable=self._frame,
            refresh_per_second=FRAMES_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def _frame(self) -> Text:
        # rich would measure standard output, which is a file while pytest captures it.
        self._console.size = width, height = _size_of(self._file)
        rows = [row for section in self._sections for row in section.rows(width)]
        if len(rows) > height:  # what has left the screen could not be drawn over
            rows = _most_telling(rows, height)
        for row in rows:
            row.text.truncate(width)
        return _joined(rows)


class _Terminal(Console):
    def show_cursor(self, show: bool = True) -> bool:  # noqa: ARG002
        """Leaves the cursor alone: whoever hides it may be killed before it is shown again."""
        return False


def _joined(rows: Iterable[Row]) -> Text:
    return Text("\n").join(row.text for row in rows)


def _most_telling(rows: list[Row], height: int) -> list[Row]:
    """As many rows as fit, in their order, and a last one that counts the others."""
    by_rank = sorted(range(len(rows)), key=lambda index: rows[index].rank)
    chosen, left_out = by_rank[: height - 1], [rows[index] for index in by_rank[height - 1 :]]
    counts = Counter(row.kind for row in left_out if row.kind)
    named = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    return [*(rows[index] for index in sorted(chosen)), Row(Text(f"and {named}" if named else "…"))]


def _size_of(file: TextIO) -> tuple[int, int]:
    """Columns and lines of the terminal; a pseudo-terminal that nobody has given a size has none."""
    columns, lines = os.get_terminal_size(file.fileno())
    return columns or _FALLBACK_SIZE[0], lines or _FALLBACK_SIZE[1]
