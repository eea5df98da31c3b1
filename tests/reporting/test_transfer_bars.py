"""Bars, on real pseudo-terminals."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.registry.progress import Progress, Stage, TransferDisplay
from pytest_pycontainer.reporting.display import open_display
from pytest_pycontainer.reporting.live_view import LiveView
from pytest_pycontainer.reporting.transfer_bars import TransferBars, format_size

if TYPE_CHECKING:
    from tests.conftest import Terminal

    OpenTerminal = Callable[..., Terminal]

A, B, IMAGE = (f"sha256:{digit * 64}" for digit in "abc")
HIDE_CURSOR = "\x1b[?25l"
COLORS = re.compile(r"\x1b\[[0-9;]*m")
ERASE = "\x1b[2K"


@pytest.fixture
def display(terminal: Terminal) -> TransferDisplay:
    return open_display(terminal.file)


def digests(count: int) -> Iterator[str]:
    return (f"sha256:{number:03d}{'0' * 61}" for number in range(count))


def finish(progress: Progress, *layers: str) -> None:
    for layer in layers:
        progress(layer, Stage.DONE, 5, 5)
    progress(IMAGE, Stage.IMAGE, 0, 0)


def test_a_pull(terminal: Terminal, display: TransferDisplay) -> None:
    with display.pulling("redis:7", missing=True) as progress:
        terminal.await_text("^Unable to find image 'redis:7' locally\n7: Pulling from library/redis$")
        progress(A, Stage.WAITING, 0, 50_000_000)
        progress(B, Stage.WAITING, 0, 1234)
        terminal.await_text("aaaaaaaaaaaa: Waiting\nbbbbbbbbbbbb: Waiting$")
        progress(A, Stage.DOWNLOADING, 25_000_000, 50_000_000)
        progress(B, Stage.HERE, 1234, 1234)
        terminal.await_text(r"redis\na{12}: Downloading \[=+> +\] 25.0MB/50.0MB\nb{12}: Already exists$")
        finish(progress, A)
    assert terminal.await_text("Status: ").splitlines() == [
        "Unable to find image 'redis:7' locally",
        "7: Pulling from library/redis",
        "aaaaaaaaaaaa: Pull complete",
        "bbbbbbbbbbbb: Already exists",
        f"Digest: {IMAGE}",
        "Status: Downloaded newer image for redis:7",
    ]
    assert terminal.cursor == (6, 0)
    # Somebody may kill us: what was hidden would stay so.
    assert HIDE_CURSOR not in terminal.written


def test_a_push(terminal: Terminal, display: TransferDisplay) -> None:
    with display.pushing("localhost:5000/mine:1") as progress:
        progress(A, Stage.COMPRESSING, 2_000_000, 0)
        terminal.await_text(r"mine\]\na{12}: Compressing \[ +\] 2.0MB$")
        progress(A, Stage.UPLOADING, 1_000, 1_000)
        terminal.await_text(r"mine\]\na{12}: Pushing     \[=+\] 1.0kB/1.0kB$")
        progress(A, Stage.DONE, 1_000, 1_000)
        progress(IMAGE, Stage.IMAGE, 528, 528)
    assert terminal.await_text("digest: ").splitlines() == [
        "The push refers to repository [localhost:5000/mine]",
        "aaaaaaaaaaaa: Pushed",
        f"1: digest: {IMAGE} size: 528"[:80],
        f"1: digest: {IMAGE} size: 528"[80:],
    ]


def test_the_speed(terminal: Terminal, display: TransferDisplay) -> None:
    with display.pulling("redis", missing=False) as progress:
        progress(A, Stage.DOWNLOADING, 0, 9_000_000)
        terminal.await_text(r"0B/9.0MB$")
        progress(A, Stage.DOWNLOADING, 3_000_000, 9_000_000)
        terminal.await_text(r"3.0MB/9.0MB +[0-9.]+[kM]?B/s$")


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError])
def test_a_pull_that_is_broken_off(terminal: Terminal, display: TransferDisplay, failure: type[BaseException]) -> None:
    def fail() -> None:
        with display.pulling("redis", missing=False) as progress:
            progress(A, Stage.DONE, 5, 5)
            progress(B, Stage.DOWNLOADING, 4, 5)
            terminal.await_text("Downloading")
            raise failure

    with pytest.raises(failure):
        fail()
    terminal.file.write("next")
    terminal.file.flush()
    assert terminal.await_text("next$").splitlines() == [
        "latest: Pulling from library/redis",
        "aaaaaaaaaaaa: Pull complete",
        "bbbbbbbbbbbb: Not pulled",
        "next",
    ]
    assert not [thread for thread in threading.enumerate() if "Refresh" in type(thread).__name__ and not thread.daemon]


def test_more_layers_than_lines(terminal: Terminal, display: TransferDisplay) -> None:
    layers = list(digests(127))
    with display.pulling("many", missing=False) as progress:
        for layer in layers:
            progress(layer, Stage.WAITING, 0, 5)
        for layer in layers[:50]:
            progress(layer, Stage.DONE, 5, 5)
        for layer in layers[100:104]:
            progress(layer, Stage.DOWNLOADING, 2, 5)
        terminal.await_text(r"(?s)\A(.+\n){23}and 55 waiting, 50 complete\Z")
        assert terminal.screen[0] == "latest: Pulling from library/many"
        assert [line[:24] for line in terminal.screen if "Downloading" in line] == [
            f"{layer[7:19]}: Downloading"[:24] for layer in layers[100:104]
        ]
        finish(progress, *layers)
    text = terminal.await_text("Status: ")
    assert re.findall(r"^\w{12}(?=: Pull complete$)", text, re.MULTILINE) == [layer[7:19] for layer in layers]
    assert text.count("Pulling from") == 1
    assert "Downloading" not in text


@pytest.mark.parametrize("lines", [2, 5])
def test_a_low_terminal(open_terminal: OpenTerminal, lines: int) -> None:
    terminal = open_terminal(80, lines)
    with open_display(terminal.file).pulling("many", missing=True) as progress:
        for layer in digests(9):
            progress(layer, Stage.DOWNLOADING, 2, 5)
        terminal.await_text("and [0-9]+ moving$")
        finish(progress, *digests(9))
    text = terminal.await_text("Status: ")
    assert len(text.splitlines()) == 2 + 9 + 2


@pytest.mark.parametrize("columns", [200, 80, 71, 60, 45, 20, 5, 1])
def test_a_narrow_terminal(open_terminal: OpenTerminal, columns: int) -> None:
    terminal = open_terminal(columns, 30)
    with open_display(terminal.file).pulling("narrow:terminal", missing=False) as progress:
        progress(A, Stage.DOWNLOADING, 999_900_000, 999_900_000)
        progress(B, Stage.DOWNLOADING, 1, 2)
        terminal.await_text(rf"\n{'b' * 12}"[: columns + 1])
        assert len(terminal.screen[0]) <= columns
        assert [line[:1] for line in terminal.screen] == ["t", "a", "b"] + [""] * 27
        if columns >= 45:
            terminal.await_text(r"999.9MB/999.9MB")
        finish(progress, A, B)
    assert f"\n{IMAGE}"[1:] in terminal.await_text("(?s)S.?t.?a.?t.?u.?s.*l$").replace("\n", "")
    assert f"Digest: {IMAGE}\r\n" in terminal.written, "a line that is whole can be copied"


def test_a_terminal_that_changes_its_size(terminal: Terminal, display: TransferDisplay) -> None:
    with display.pulling("redis", missing=False) as progress:
        progress(A, Stage.DOWNLOADING, 1, 2)
        terminal.await_text(r"\[=+> +\] 1B/2B$")
        terminal.resize(40, 10)
        terminal.await_text(r"Downloading 1B/2B$|Downloading$")


def test_no_size_at_all(open_terminal: OpenTerminal) -> None:
    terminal = open_terminal()
    terminal.resize(0, 0)
    with TransferBars(LiveView(terminal.file)).pulling("redis", missing=False) as progress:
        finish(progress, A)


@pytest.mark.parametrize("way", ["environment", "argument", "none"])
def test_colors(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    if way == "environment":
        monkeypatch.setenv("NO_COLOR", "1")
    with open_display(terminal.file, color=way != "argument").pulling("redis", missing=False) as progress:
        progress(A, Stage.DOWNLOADING, 1, 2)
        terminal.await_text(r"1B/2B")
        finish(progress, A)
    terminal.await_text("Status: ")
    assert bool(COLORS.search(terminal.written)) == (way == "none")
    assert ERASE in terminal.written


def test_images_on_their_way_at_once(terminal: Terminal, display: TransferDisplay) -> None:
    with display.pulling("second", missing=False) as second:
        second(B, Stage.DOWNLOADING, 1, 2)
        with display.pulling("first", missing=False) as first:
            first(A, Stage.DOWNLOADING, 1, 2)
            terminal.await_text("(?s)/second\nb{12}: Downloading.*/first\na{12}: Downloading")
            finish(first, A)
        terminal.await_text(
            r"(?s)\Alatest: Pulling from library/first\na{12}: Pull.*Status.*/second\nb{12}: Down[^\n]*\Z"
        )
        finish(second, B)
    lines = terminal.await_text("Status: .* second").splitlines()
    assert [line.split()[-1] for line in lines] == [
        "library/first", "complete", IMAGE, "first:latest", "library/second", "complete", IMAGE, "second:latest",
    ]  # fmt: skip


def test_news_is_not_drawn_one_by_one(terminal: Terminal, display: TransferDisplay) -> None:
    with display.pulling("redis", missing=False) as progress:

        def tell(layer: str) -> None:
            for done in range(10_000):
                progress(layer, Stage.DOWNLOADING, done, 10_000)

        threads = [threading.Thread(target=tell, args=(layer,)) for layer in digests(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        finish(progress, *digests(4))
    terminal.await_text("Status: ")
    assert terminal.written.count("\r") < 4_000


@given(st.integers(0, 10**15 - 10**12))
def test_sizes_are_short(size: int) -> None:
    number, unit = re.fullmatch(r"([0-9.]+)([kMGT]?B)", format_size(size)).groups()  # type: ignore[union-attr]
    assert len(number) <= 5
    shown = float(number) * 1000 ** ["B", "kB", "MB", "GB", "TB"].index(unit)
    assert abs(shown - size) <= size / 20


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1.0kB"), (999_949, "999.9kB"), (999_950, "1.0MB"), (45_600_000, "45.6MB"),
     (2 * 10**9, "2.0GB"), (3 * 10**12, "3.0TB")],
)  # fmt: skip
def test_sizes(size: int, text: str) -> None:
    assert format_size(size) == text
