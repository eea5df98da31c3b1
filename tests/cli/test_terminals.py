"""``pycontainer`` before a terminal: a program's keys, size and end."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pytest_pycontainer import Container, Engine, wait

SOON = 60.0
PROMPT = b"ready> "


class Terminal:
    """A call of the command, and the other side of its terminal."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process = process
        self._descriptor = descriptor

    def type(self, keys: bytes) -> None:
        os.write(self._descriptor, keys)

    def read_until(self, end: bytes) -> bytes:
        """What it prints up to there."""
        deadline = time.monotonic() + SOON
        printed = b""
        while not printed.endswith(end):
            readable, _, _ = select.select([self._descriptor], [], [], deadline - time.monotonic())
            assert readable, f"no {end!r} in {printed!r}"
            try:
                piece = os.read(self._descriptor, 1)
            except OSError:  # the other side is closed
                piece = b""
            assert piece, f"it ended without {end!r}: {printed!r}"
            printed += piece
        return printed

    def resize(self, columns: int, lines: int) -> None:
        import termios

        termios.tcsetwinsize(self._descriptor, (lines, columns))
        self.process.send_signal(signal.SIGWINCH)  # it is not the terminal's session


@contextmanager
def called(engine: Engine, *words: str) -> Iterator[Terminal]:
    """Calls the command on a terminal of its own, for the length of a block."""
    outer, inner = pty.openpty()
    places = ["--root", str(engine.settings.root), "--state", str(engine.settings.state)]
    command = [sys.executable, "-m", "pytest_pycontainer", *places, *words]
    process = subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner)
    os.close(inner)
    try:
        yield Terminal(process, outer)
    finally:
        process.kill()
        process.wait()
        os.close(outer)


@pytest.fixture
def sleeper(engine: Engine) -> Iterator[Container]:
    with engine.run("host", ["sleep", "1000"], env={"PS1": PROMPT.decode()}) as container:
        yield container


SHELL = ("sh", "-i")


def test_a_shell(engine: Engine, sleeper: Container) -> None:
    with called(engine, "exec", "-it", sleeper.name, *SHELL) as terminal:
        terminal.read_until(PROMPT)
        terminal.type(b"tty; stty size\n")
        assert b"/dev/pts/" in terminal.read_until(PROMPT)
        terminal.type(b"sh -c 'echo begun; exec sleep 1000'\n")  # it says so when it is in the foreground
        terminal.read_until(b"\r\nbegun\r\n")
        terminal.type(b"\x03")  # it is the container's Ctrl-C
        terminal.read_until(PROMPT)
        terminal.resize(132, 50)
        terminal.type(b"until [ \"$(stty size)\" = '50 132' ]; do sleep 0.01; done; echo it is\n")
        terminal.read_until(b"it is\r\n" + PROMPT)
        terminal.type(b"exit 7\n")
        assert terminal.process.wait(SOON) == 7


def test_the_keys_that_leave_a_program(engine: Engine, sleeper: Container) -> None:
    with called(engine, "exec", "-it", "--detach-keys", "ctrl-x,q", sleeper.name, *SHELL) as terminal:
        terminal.read_until(PROMPT)
        terminal.type(b"\x18")
        terminal.type(b"q")
        assert terminal.process.wait(SOON) == 0
    assert [process.command for process in sleeper.processes()][1:] == [SHELL]


def test_attached_and_left(engine: Engine) -> None:
    options = {"stdin_open": True, "tty": True, "env": {"PS1": PROMPT.decode()}}
    with engine.run("host", SHELL, wait=wait.log(PROMPT.decode()), **options) as shell:  # type: ignore[arg-type]
        with called(engine, "attach", shell.name) as terminal:
            terminal.type(b"echo $((6 * 7))\n")
            terminal.read_until(b"42\r\n" + PROMPT)
            terminal.type(b"\x10\x11")
            assert terminal.process.wait(SOON) == 0
        assert shell.status == "running"
        with called(engine, "attach", shell.name) as terminal:
            terminal.type(b"exit 3\n")
            assert terminal.process.wait(SOON) == 3


def test_signals_are_the_containers(engine: Engine) -> None:
    script = "trap 'exit 5' INT; while :; do echo tick; sleep 0.05; done"
    with engine.run("host", ["sh", "-c", script]) as container, called(engine, "attach", container.name) as terminal:
        terminal.read_until(b"tick")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(SOON) == 5
