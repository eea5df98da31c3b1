"""What is said of images on their way where no bars can be drawn, and where they can."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer.errors import InvalidReferenceError
from pytest_pycontainer.registry.progress import Stage
from pytest_pycontainer.reporting.display import open_display
from pytest_pycontainer.reporting.transfers import Pull, Push, TransferLines

if TYPE_CHECKING:
    from tests.conftest import Terminal

A, B, IMAGE = (f"sha256:{digit * 64}" for digit in "abc")


def test_a_pull_by_lines() -> None:
    file = io.StringIO()
    with open_display(file).pulling("redis:7", missing=True) as progress:
        progress(A, Stage.WAITING, 0, 500)
        progress(B, Stage.WAITING, 0, 500)
        progress(A, Stage.DOWNLOADING, 250, 500)
        progress(B, Stage.HERE, 500, 500)
        assert file.getvalue().splitlines() == [
            "Unable to find image 'redis:7' locally",
            "7: Pulling from library/redis",
            "bbbbbbbbbbbb: Already exists",
        ]
        progress(A, Stage.DONE, 500, 500)
        progress(IMAGE, Stage.IMAGE, 0, 0)
    assert file.getvalue().splitlines()[3:] == [
        "aaaaaaaaaaaa: Pull complete",
        f"Digest: {IMAGE}",
        "Status: Downloaded newer image for redis:7",
    ]


def test_a_pull_of_what_is_here() -> None:
    file = io.StringIO()
    with open_display(file).pulling(f"localhost:5000/mine@{A}", missing=False) as progress:
        progress(A, Stage.IMAGE, 0, 0)
    assert file.getvalue().splitlines() == [
        f"{A}: Pulling from mine",
        f"Digest: {A}",
        f"Status: Image is up to date for localhost:5000/mine@{A}",
    ]


def test_a_push_by_lines() -> None:
    file = io.StringIO()
    with open_display(file).pushing("localhost:5000/mine") as progress:
        progress(A, Stage.COMPRESSING, 100, 0)
        progress(A, Stage.UPLOADING, 100, 200)
        progress(A, Stage.DONE, 200, 200)
        progress(B, Stage.MOUNTED, 200, 200)
        progress(IMAGE, Stage.HERE, 200, 200)
        progress(IMAGE, Stage.IMAGE, 528, 528)
    assert file.getvalue().splitlines() == [
        "The push refers to repository [localhost:5000/mine]",
        "aaaaaaaaaaaa: Pushed",
        "bbbbbbbbbbbb: Mounted from another repository",
        "cccccccccccc: Layer already exists",
        f"latest: digest: {IMAGE} size: 528",
    ]


@pytest.mark.parametrize("transfer", [Pull, Push])
def test_every_stage_of_a_layer_has_a_word(transfer: type[Pull | Push]) -> None:
    assert set(transfer.words) == set(Stage) - {Stage.IMAGE}


def test_what_is_no_name() -> None:
    with pytest.raises(InvalidReferenceError), open_display(io.StringIO()).pulling("Redis", missing=True):
        pass
    with pytest.raises(InvalidReferenceError), open_display(io.StringIO()).pushing("a::b"):
        pass


@pytest.mark.parametrize("kind", ["dumb", "", None])
def test_a_terminal_that_cannot_move_its_cursor_gets_lines(
    open_terminal: Callable[..., Terminal], monkeypatch: pytest.MonkeyPatch, kind: str | None
) -> None:
    if kind is None:
        monkeypatch.delenv("TERM", raising=False)
    else:
        monkeypatch.setenv("TERM", kind)
    terminal = open_terminal()
    with open_display(terminal.file).pulling("redis", missing=False) as progress:
        progress(A, Stage.DOWNLOADING, 1, 2)
        progress(A, Stage.DONE, 2, 2)
    terminal.await_text("Pull complete")
    assert terminal.written == "latest: Pulling from library/redis\r\naaaaaaaaaaaa: Pull complete\r\n"


def test_a_file_gets_lines_whatever_the_environment_forces(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_INTERACTIVE", "TTY_COMPATIBLE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(open_display(io.StringIO()), TransferLines)
