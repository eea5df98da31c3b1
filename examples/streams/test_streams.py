"""What a container's own command prints and reads: its log by time, its prompt, a terminal of some size."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pytest_pycontainer import Container, Engine, container
from pytest_pycontainer.errors import ContainerInputClosedError

GAME = """
trap 'echo "screen: $(stty size)"' WINCH
printf 'your guess: '
while read guess; do
    echo "$(date -Is) $guess was tried" >>/var/log/game
    [ "$guess" = 7 ] && { echo right; exit 0; }
    echo wrong
    printf 'your guess: '
done
echo bye
"""

game = container("host", ["sh", "-c", GAME], stdin_open=True)
on_a_terminal = container("host", ["sh", "-c", GAME], stdin_open=True, tty=True)


def test_a_game_is_played(game: Container) -> None:
    with game.attach(logs=True) as session:
        session.read_until("your guess: ", timeout=10)
        session.write("3\n")
        assert session.readline(timeout=10) == "wrong\n"
        session.write("7\n")
        session.read_until("right", timeout=10)
    assert game.wait(timeout=10) == 0
    assert b"3 was tried" in game.read("/var/log/game")


def test_a_game_is_left(game: Container) -> None:
    with game.attach() as session:
        session.close_stdin()
        assert "bye" in session.read(timeout=10)
        with pytest.raises(ContainerInputClosedError):
            session.write("7\n")
    assert game.wait(timeout=10) == 0


def test_only_what_this_step_has_logged(game: Container) -> None:
    with game.attach() as session:
        session.write("1\n")
        session.read_until("wrong\n", timeout=10)
        before = datetime.now(UTC)
        session.write("2\n")
        session.read_until("wrong\n", timeout=10)
    assert game.logs(since=before).count("wrong") == 1
    assert game.logs().count("wrong") == 2


def test_a_screen_is_resized(on_a_terminal: Container) -> None:
    with on_a_terminal.attach(logs=True) as session:
        session.read_until("your guess: ", timeout=10)
        session.resize(columns=132, lines=50)
        session.write("7\n")
        assert "screen: 50 132" in session.read(timeout=10)


def test_a_log_that_is_followed_over_restarts(pycontainer: Engine) -> None:
    with pycontainer.run("host", ["sh", "-c", "echo attempt; exit 1"], restart="on-failure:2") as flaky:
        assert list(flaky.follow(timeout=30)) == ["attempt\n"] * 3
