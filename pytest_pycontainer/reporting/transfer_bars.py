"""Images on their way, on a terminal: a line for each layer, with a bar while it moves."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image.reference import Reference
from pytest_pycontainer.registry.progress import Progress, Stage
from pytest_pycontainer.reporting.transfers import ENDED, Pull, Push, Transfer

_FRAMES_PER_SECOND: Final = 10
_SPEED_FRAMES: Final = 3 * _FRAMES_PER_SECOND
"""How many frames back the speed is measured from."""

_MOVING: Final = frozenset({Stage.COMPRESSING, Stage.DOWNLOADING, Stage.UPLOADING})
_WORD_WIDTH: Final = 11
"""That of "Downloading", so that bars stand below each other."""

_BAR_WIDTHS: Final = (10, 52)
"""Of a bar with its brackets: what is narrower tells nothing, what is wider nothing more."""

_SIZES_WIDTH: Final = len("999.9MB/999.9MB")
_SPEED_WIDTH: Final = len("999.9MB/s")
_FALLBACK_SIZE: Final = (80, 24)


class TransferBars:
    """Bars that are drawn some ten times a second by a thread of their own; news between two frames cost no drawing.

    Safe to use from several threads: images that are on their way at once are drawn below each other. One that has come
    to its end leaves its lines above the bars. The cursor is never hidden and the terminal's modes are never changed: a
    process that is killed leaves nothing to mend but half a bar.
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
        self._images: tuple[_Image, ...] = ()
        self._live: Live | None = None

    def pulling(self, name: str, *, missing: bool) -> AbstractContextManager[Progress]:
        """As TransferDisplay has it. Raises InvalidReferenceError for what is no name."""
        return self._showing(Pull(Reference.parse(name), missing))

    def pushing(self, name: str) -> AbstractContextManager[Progress]:
        """As TransferDisplay has it. Raises InvalidReferenceError for what is no name."""
        return self._showing(Push(Reference.parse(name)))

    @contextmanager
    def _showing(self, transfer: Transfer) -> Iterator[Progress]:
        image = _Image(transfer)
        try:
            with self._lock:
                self._images = (*self._images, image)
                if self._live is None:
                    self._live = self._new_live()
                    self._live.start(refresh=True)
            yield image.note
        finally:
            image.over = True
            with self._lock:
                self._images = tuple(other for other in self._images if other is not image)
                if self._live is not None and not self._images:
                    live, self._live = self._live, None
                    live.stop()
                # Whole lines, which the terminal wraps as it likes.
                self._console.print(_joined(image.rows(self._console.width)), soft_wrap=True)

    def _new_live(self) -> Live:
        return Live(
            console=self._console,
            get_renderable=self._frame,
            refresh_per_second=_FRAMES_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def _frame(self) -> Text:
        # rich would measure standard output, which is a file while pytest captures it.
        self._console.size = width, height = _size_of(self._file)
        rows = [row for image in self._images for row in image.rows(width)]
        if len(rows) > height:  # what has left the screen could not be drawn over
            rows = _most_telling(rows, height)
        for row in rows:
            row.text.truncate(width)
        return _joined(rows)


class _Terminal(Console):
    def show_cursor(self, show: bool = True) -> bool:  # noqa: ARG002
        """Leaves the cursor alone: whoever hides it may be killed before it is shown again."""
        return False


@dataclass(frozen=True, slots=True)
class _Row:
    """A line; ``stage`` is the layer's whose it is, None where it is no layer's."""

    text: Text
    stage: Stage | None = None


class _Image:
    """One image's news. ``note`` is called by the threads of its transfer, all else by the one that draws."""

    def __init__(self, transfer: Transfer) -> None:
        self.over = False
        self._transfer = transfer
        self._layers: dict[str, tuple[Stage, int, int]] = {}
        self._closing: tuple[str, ...] = ()
        self._speeds: dict[str, _Speed] = {}

    def note(self, digest: str, stage: Stage, done: int, total: int) -> None:
        if stage is Stage.IMAGE:
            self._closing = self._transfer.closing(digest, total, moved=bool(self._layers))
        else:
            self._layers[digest] = (stage, done, total)

    def rows(self, width: int) -> Iterator[_Row]:
        yield from (_Row(Text(line)) for line in self._transfer.opening)
        closing = self._closing
        for digest, (stage, done, total) in self._layers.copy().items():
            line = Text(f"{digests.short(digest)}: ")
            if stage in ENDED:
                line.append(self._transfer.words[stage], "green")
            elif self.over:
                line.append(self._transfer.unfinished, "red")
            else:
                line.append(self._transfer.words[stage].ljust(_WORD_WIDTH))
                if stage in _MOVING:
                    speed = self._speeds.setdefault(digest, _Speed(time.monotonic))
                    _append_bar(line, done, total, speed.after(stage, done), width - len(line))
            yield _Row(line, stage)
        yield from (_Row(Text(line)) for line in closing)


class _Speed:
    """Bytes per second over the last frames."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._stage: Stage | None = None
        self._frames: deque[tuple[float, int]] = deque(maxlen=_SPEED_FRAMES)

    def after(self, stage: Stage, done: int) -> float:
        """What it is at a frame at which ``done`` bytes are through; 0 at a stage's first."""
        if stage is not self._stage:
            self._stage = stage
            self._frames.clear()
        self._frames.append((self._clock(), done))
        (begin, before), (now, _) = self._frames[0], self._frames[-1]
        return (done - before) / (now - begin) if now > begin else 0.0


def _joined(rows: Iterable[_Row]) -> Text:
    return Text("\n").join(row.text for row in rows)


def _append_bar(line: Text, done: int, total: int, speed: float, room: int) -> None:
    """Appends bar, sizes and speed, as far as there is room: the sizes before the bar, the bar before the speed."""
    sizes = f" {format_size(done)}/{format_size(total)}" if total else f" {format_size(done)}"
    least, most = _BAR_WIDTHS
    room -= 1 + _SIZES_WIDTH
    if room < 0:
        return
    shows_speed = room >= 1 + least + 1 + _SPEED_WIDTH
    bar = min(most, room - 1 - (1 + _SPEED_WIDTH if shows_speed else 0))
    if bar >= least:
        inner = bar - 2
        filled = min(inner, inner * done // total) if total else 0
        line.append(" [")
        line.append(("=" * filled + ">")[:inner] if filled else "", "cyan")
        line.append(" " * (inner - min(inner, filled + 1 if filled else 0)) + "]")
    line.append(sizes.ljust(1 + _SIZES_WIDTH) if shows_speed else sizes)
    if shows_speed and speed > 0:
        line.append(f" {format_size(int(speed))}/s")


def format_size(size: int) -> str:
    """A number of bytes as docker shows it: ``999B``, ``12.3MB``, in powers of a thousand."""
    if size < 1000:
        return f"{size}B"
    value = float(size)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.95:
            return f"{value:.1f}{unit}"
    return f"{value / 1000:.1f}TB"


def _most_telling(rows: list[_Row], height: int) -> list[_Row]:
    """As many rows as fit, in their order: layers that move before those that wait and those that are through."""

    def rank(row: _Row) -> int:
        if row.stage is None or row.stage in _MOVING:
            return 0
        return 2 if row.stage in ENDED else 1

    by_rank = sorted(range(len(rows)), key=lambda index: rank(rows[index]))
    chosen, left_out = by_rank[: height - 1], Counter(rank(rows[index]) for index in by_rank[height - 1 :])
    counts = [f"{left_out[key]} {name}" for key, name in enumerate(("moving", "waiting", "complete")) if left_out[key]]
    return [*(rows[index] for index in sorted(chosen)), _Row(Text(f"and {', '.join(counts)}"))]


def _size_of(file: TextIO) -> tuple[int, int]:
    """Columns and lines of the terminal; a pseudo-terminal that nobody has given a size has none."""
    columns, lines = os.get_terminal_size(file.fileno())
    return columns or _FALLBACK_SIZE[0], lines or _FALLBACK_SIZE[1]
