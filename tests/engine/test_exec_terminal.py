"""Further processes that sit at a terminal."""

from __future__ import annotations

import pytest

from pytest_pycontainer import Container, Engine
from pytest_pycontainer.errors import ExecStartError, InvalidSpecError


def test_it_is_the_controlling_terminal_of_a_session(sleeper: Container) -> None:
    look = "tty; ps -o pid=,pgid=,sid=,tpgid= $$; stty size; echo $TERM; ls -l /proc/self/fd"
    result = sleeper.exec(["sh", "-c", look], tty=True)
    terminal, numbers, size, kind, _, *descriptors = result.stdout.split("\r\n")
    assert terminal.startswith("/dev/pts/")
    pid, group, session, foreground = numbers.split()
    assert pid == group == session
    assert foreground == pid
    assert (size, kind) == ("24 80", "xterm")
    assert {line.split()[-1] for line in descriptors if "/dev/pts" in line} == {terminal}
    assert result.stderr == ""


def test_another_size_and_kind(sleeper: Container) -> None:
    result = sleeper.exec(["sh", "-c", "stty size; echo $TERM"], tty=True, size=(132, 43), env={"TERM": "vt100"})
    assert result.stdout == "43 132\r\nvt100\r\n"
    assert sleeper.exec(["sh", "-c", "echo $TERM"]).stdout == "\n"


def test_the_containers_own_terminal_is_not_that_of_what_is_executed(engine: Engine) -> None:
    with engine.run("host", ["sh", "-c", "echo $TERM $(tty); exec sleep 1000"], tty=True) as c:
        while "\n" not in c.logs():
            assert not c.exited_within(0.01)
        kind, own = c.logs().split()
        assert kind == "xterm"
        assert c.exec(["sh", "-c", "echo $TERM; tty"]).stdout == "\nnot a tty\n"
        assert c.exec("tty", tty=True).stdout.strip() not in (own, "not a tty")


def test_it_belongs_to_the_user(sleeper: Container) -> None:
    result = sleeper.exec(["sh", "-c", "stat -c '%U %t' $(tty); echo again > /dev/tty"], tty=True, user="nobody")
    assert result.stdout == "nobody 88\r\nagain\r\n"


def test_a_conversation(sleeper: Container) -> None:
    with sleeper.popen("sh", tty=True, env={"PS1": "> "}) as shell:
        shell.stdout.read_until("> ", timeout=60)
        shell.write("echo $((6*7))\n")
        assert shell.stdout.read_until("> ", timeout=60) == "echo $((6*7))\r\n42\r\n> "
        shell.close_stdin()
        assert shell.wait(timeout=60) == 0


@pytest.mark.parametrize("size", [(-1, 24), (80, 65536), (80.5, 24), ("80", "24"), (80,), 80])
def test_a_size_that_no_terminal_has(sleeper: Container, size: tuple[int, int]) -> None:
    with pytest.raises(InvalidSpecError, match=r"invalid (size|columns|lines)"):
        sleeper.exec("true", tty=True, size=size)
    with sleeper.popen("cat", tty=True) as process, pytest.raises(InvalidSpecError, match="invalid columns"):
        process.resize(-1, 24)


def test_a_new_size_is_told(sleeper: Container) -> None:
    script = "trap 'stty size' WINCH; echo ready; while :; do read word && break; done; echo end"
    with sleeper.popen(["sh", "-c", script], tty=True) as process:
        process.stdout.read_until("ready\r\n", timeout=60)
        process.resize(100, 40)
        process.write("\n")
        assert "40 100" in process.stdout.read_until("end", timeout=60)
        assert process.wait(timeout=60) == 0
        process.resize(90, 30)  # no error


def test_a_new_size_without_input(sleeper: Container) -> None:
    with sleeper.popen(
        ["sh", "-c", "trap 'stty size; exit' WINCH; echo ready; sleep 1000 & wait"], tty=True, stdin=False
    ) as process:
        process.stdout.read_until("ready\r\n", timeout=60)
        process.resize(100, 40)
        assert process.stdout.readline(timeout=60) == "40 100\r\n"


def test_nothing_written_is_no_part_of_a_line(sleeper: Container) -> None:
    with sleeper.popen(["sh", "-c", "cat; cat; echo end"], tty=True) as process:
        process.write("word\n")
        process.write("")
        process.close_stdin()  # ends one cat, not both
        process.stdout.read_until("word\r\nword\r\n", timeout=60)
        process.write("again\n")
        process.stdout.read_until("again\r\nagain\r\n", timeout=60)
        process.close_stdin()
        process.stdout.read_until("end", timeout=60)


def test_control_c_is_an_interrupt(sleeper: Container) -> None:
    with sleeper.popen(
        ["sh", "-c", "trap 'echo interrupted; exit 9' INT; echo ready; sleep 1000 & wait"], tty=True
    ) as process:
        process.stdout.read_until("ready", timeout=60)
        process.write(b"\x03")
        assert process.wait(timeout=60) == 9
        assert "interrupted" in process.stdout.read()


@pytest.mark.parametrize("text", ["word\n", "word", ""])
def test_the_end_of_input(sleeper: Container, text: str) -> None:
    result = sleeper.exec(["sh", "-c", "stty -echo; cat; echo end"], tty=True, stdin=text, timeout=60)
    assert result.stdout.endswith("end\r\n")
    assert result.exit_code == 0


def test_without_input_nobody_types(sleeper: Container) -> None:
    with sleeper.popen("cat", tty=True, stdin=False) as process, pytest.raises(BrokenPipeError):
        process.write("word\n")


def test_nothing_of_much_output_is_lost(sleeper: Container) -> None:
    result = sleeper.exec("seq 100000", tty=True, timeout=60)
    assert result.stdout.split() == [str(number) for number in range(1, 100001)]


def test_it_goes_on_without_the_caller_and_gets_no_hangup(sleeper: Container) -> None:
    sleeper.exec("mkfifo /go /done")
    whole = "seq 100000 && echo alive > /done || echo broken > /done"
    script = f"trap 'echo hangup > /done' HUP; echo ready; read word < /go; {whole}"
    process = sleeper.popen(["sh", "-c", script], tty=True)
    process.stdout.read_until("ready", timeout=60)
    process.close()
    sleeper.exec(["sh", "-c", "echo go > /go"], timeout=60)
    assert sleeper.exec("cat /done", timeout=60).stdout == "alive\n"


def test_detached(sleeper: Container) -> None:
    sleeper.exec("mkfifo /go /done")
    with sleeper.popen(["sh", "-c", "read word < /go; tty > /done"], tty=True, detach=True):
        pass
    sleeper.exec(["sh", "-c", "echo go > /go"], timeout=60)
    assert sleeper.exec("cat /done", timeout=60).stdout.startswith("/dev/pts/")


def test_what_the_container_puts_in_its_place_is_not_taken_for_it(engine: Engine) -> None:
    with engine.run("host", ["sleep", "1000"], privileged=True) as c:
        c.exec("umount /dev/pts", check=True)
        c.exec(["ln", "-s", "/dev/null", "/dev/pts/ptmx"], check=True)
        with pytest.raises(ExecStartError, match="make a terminal: Too many levels of symbolic links"):
            c.exec("true", tty=True)
        for node in ("mkfifo /dev/pts/ptmx", "mknod /dev/pts/ptmx c 1 3"):
            c.exec("rm /dev/pts/ptmx", check=True)
            c.exec(node, check=True)
            with pytest.raises(ExecStartError, match="has put something else at /dev/pts/ptmx"):
                c.exec("true", tty=True)
