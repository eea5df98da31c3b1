"""Images on their way, on a terminal: a line for each layer, with a bar while it moves."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.text import Text

from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.registry.progress import Progress, Stage
from pytest_pycontainer.reporting.live_view import FRAMES_PER_SECOND, LiveView, Row
from pytest_pycontainer.reporting.transfers import ENDED, ShownTransfers, Transfer

_SPEED_FRAMES: Final = 3 * FRAMES_PER_SECOND
"""How many frames back the speed is measured from."""

_MOVING: Final = frozenset({Stage.COMPRESSING, Stage.DOWNLOADING, Stage.UPLOADING})
_WORD_WIDTH: Final = 11
"""That of "Downloading", so that bars stand below each other."""

_BAR_WIDTHS: Final = (10, 52)
"""Of a bar with its brackets: what is narrower tells nothing, what is wider nothing more."""

_SIZES_WIDTH: Final = len("999.9MB/999.9MB")
_SPEED_WIDTH: Final = len("999.9MB/s")


class TransferBars(ShownTransfers):
    """Bars for images that are on their way, in a live view. Safe to use from several threads."""

    def __init__(self, view: LiveView) -> None:
        self._view = view

    @contextmanager
    def _showing(self, transfer: Transfer) -> Iterator[Progress]:
        image = _Image(transfer)
        with self._view.showing(image):
            yield image.note


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

    def rows(self, width: int) -> Iterator[Row]:
        yield from (Row(Text(line)) for line in self._transfer.opening)
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
            yield Row(line, *_rank(stage))
        yield from (Row(Text(line)) for line in closing)


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


def _rank(stage: Stage) -> tuple[int, str]:
    """Layers that move come before those that wait and those that are through."""
    if stage in _MOVING:
        return 0, "moving"
    return (2, "complete") if stage in ENDED else (1, "waiting")


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
