"""Containers whose command sits at a terminal."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from pytest_pycontainer import AttachedSession, Container, Engine
from pytest_pycontainer.errors import ContainerHasNoTerminalError, ContainerInputClosedError, InvalidSpecError

SOON = 30.0
PROMPT = "ready> "


def _at_prompt(session: AttachedSession, command: str = "") -> str:
    """What a shell on a terminal prints, up to its next prompt."""
    if command:
        session.write(f"{command}\n")
    return session.read_until(PROMPT, timeout=SOON).removesuffix(PROMPT).partition("\r\n")[2]


@pytest.fixture
def shell(engine: Engine) -> Iterator[Container]:
    """A shell at a terminal."""
    environment = {"PS1": PROMPT, "HISTFILE": ""}
    command = ["bash", "--norc", "--noediting"]
    with engine.run("host", command, env=environment, stdin_open=True, tty=True) as container:
        yield container


def test_a_shell_before_a_terminal(shell: Container) -> None:
    with shell.attach(logs=True) as session:
        session.read_until(PROMPT, timeout=SOON)
        assert _at_prompt(session, "tty; stty size; echo $TERM") == "/dev/pts/0\r\n24 80\r\nxterm\r\n"
        assert _at_prompt(session, "[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all") == "all\r\n"
        process_session_and_terminal = _at_prompt(session, "cut -d' ' -f1,6,7 /proc/$$/stat")
        assert process_session_and_terminal == f"1 1 {os.makedev(136, 0)}\r\n"
        assert _at_prompt(session, "echo to error >&2") == "to error\r\n"
        session.close_stdin()
        assert shell.wait(timeout=SOON) == 0
        assert "to error" in shell.logs(stderr=False)
        assert shell.logs(stdout=False) == ""


def test_a_terminal_is_resized(shell: Container) -> None:
    with shell.attach(logs=True) as session:
        session.read_until(PROMPT, timeout=SOON)
        _at_prompt(session, "trap 'echo changed to $(stty size)' WINCH")
        session.resize(132, 50)
        session.write(":\n")  # after a command, a shell looks at signals
        session.read_until("changed to 50 132", timeout=SOON)
        session.read_until(PROMPT, timeout=SOON)  # bash forgets a signal that comes while its trap for it still runs
        shell.resize(80, 24)
        session.write(":\n")  # after a command, a shell looks at signals
        session.read_until("changed to 24 80", timeout=SOON)
        with pytest.raises(InvalidSpecError, match="columns"):
            shell.resize(-1, 24)


def test_a_size_is_kept_over_restarts_and_may_come_first(engine: Engine) -> None:
    with engine.create("host", ["stty", "size"], tty=True) as c:
        c.resize(100, 30)
        for _ in range(2):
            c.start()
            assert c.wait(timeout=SOON) == 0
        assert c.logs() == "30 100\r\n" * 2


def test_keys_send_signals_to_what_is_in_the_foreground(shell: Container) -> None:
    with shell.attach(logs=True) as session:
        session.read_until(PROMPT, timeout=SOON)
        command = "sh -c 'echo begun; exec sleep 1000'\n"  # it says so when it is in the foreground
        session.write(command)
        session.read_until("\nbegun", timeout=SOON)
        session.write("\x03")
        _at_prompt(session)
        assert _at_prompt(session, "echo $?") == "130\r\n"
        # Job control: stopped, shown, and ended in the background.
        session.write(command)
        session.read_until("\nbegun", timeout=SOON)
        session.write("\x1a")
        assert "Stopped" in session.read_until(PROMPT, timeout=SOON)
        assert "Stopped" in _at_prompt(session, "jobs")
        _at_prompt(session, "bg >/dev/null; kill %1; wait")
        assert _at_prompt(session, "jobs") == ""


def test_the_console_is_the_terminal(shell: Container) -> None:
    with shell.attach(logs=True) as session:
        session.read_until(PROMPT, timeout=SOON)
        assert _at_prompt(session, "stat -c %t,%T /dev/console /dev/pts/0") == "88,0\r\n88,0\r\n"
        assert _at_prompt(session, "echo by way of it >/dev/console") == "by way of it\r\n"
        assert "devpts /dev/console devpts" in _at_prompt(session, "grep console /proc/mounts")


def test_a_terminal_that_no_program_has_open_is_no_end(engine: Engine) -> None:
    script = "exec <&- >&- 2>&-; sleep 0.2; echo again >/dev/console; exec <>/dev/console >&0 2>&0; read x; echo got $x"
    with engine.run("host", ["sh", "-c", script], stdin_open=True, tty=True) as c, c.attach(logs=True) as session:
        session.read_until("again", timeout=SOON)
        session.write("word\n")
        session.read_until("got word", timeout=SOON)
        assert c.wait(timeout=SOON) == 0


def test_a_terminal_that_nobody_writes_to(engine: Engine) -> None:
    with engine.run("host", ["sh", "-c", "tty; read line"], tty=True) as c, c.attach(logs=True) as session:
        session.read_until("/dev/pts/0", timeout=SOON)
        with pytest.raises(ContainerInputClosedError):
            session.write("x\n")
        assert c.status == "running"


@pytest.mark.parametrize("options", [{"user": "nobody"}, {"init": True}, {"read_only": True}, {"privileged": True}])
def test_terminals_of_all_kinds_of_containers(engine: Engine, options: dict[str, object]) -> None:
    script = "tty; echo to tty >/dev/tty; echo to stdout >/dev/stdout; stat -c %U /dev/pts/0"
    with engine.run("host", ["sh", "-c", script], tty=True, **options) as c:  # type: ignore[arg-type]
        assert c.wait(timeout=SOON) == 0, c.logs()
        assert c.logs() == f"/dev/pts/0\r\nto tty\r\nto stdout\r\n{options.get('user', 'root')}\r\n"


def test_whatever_a_terminal_is_written_at_the_end_is_logged(engine: Engine) -> None:
    with engine.run("host", ["seq", "100000"], tty=True) as c:
        assert c.wait(timeout=SOON) == 0
        assert c.logs() == "".join(f"{number}\r\n" for number in range(1, 100_001))


def test_there_is_no_terminal_to_resize(engine: Engine) -> None:
    with engine.run("host", ["sleep", "1000"]) as c:
        with pytest.raises(ContainerHasNoTerminalError, match="tty=True"):
            c.resize(80, 24)
        with c.attach() as session, pytest.raises(ContainerHasNoTerminalError):
            session.resize(80, 24)
