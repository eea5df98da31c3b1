"""Being attached to containers: standard input, and output as it comes."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path

import pytest

from pytest_pycontainer import AttachedSession, Container, Engine
from pytest_pycontainer.errors import (
    ContainerInputClosedError,
    ContainerNotFoundError,
    WaitTimeoutError,
)
from pytest_pycontainer.runtime.logs import STDERR, STDOUT

SOON = 30.0


def _write_all(session: AttachedSession, data: bytes) -> None:
    session.write(data)
    session.close_stdin()


# Standard input


def test_what_is_written_is_read_and_answered(engine: Engine) -> None:
    with engine.run("host", ["cat"], stdin_open=True) as c, c.attach() as session:
        session.write("text\n")
        assert session.readline(timeout=SOON) == "text\n"
        session.write(b"\xff\x00bytes\r\n")
        assert session.readline_bytes(timeout=SOON) == b"\xff\x00bytes\r\n"
        session.close_stdin()
        with pytest.raises(ContainerInputClosedError, match="has been closed"):
            session.write("x")
        assert c.wait(timeout=SOON) == 0
        assert session.read(timeout=SOON) == ""
        assert c.logs_bytes() == b"text\n\xff\x00bytes\r\n"


def test_without_an_open_standard_input_there_is_nothing_to_read(engine: Engine) -> None:
    with engine.run("host", ["sh", "-c", "readlink /proc/self/fd/0; cat"]) as c:
        assert c.wait(timeout=SOON) == 0
        assert c.logs() == "/dev/null\n"


def test_what_is_written_before_the_start_waits_for_it(engine: Engine) -> None:
    with engine.create("host", ["cat"], stdin_open=True) as c, c.attach() as session:
        session.write("early\n")
        session.close_stdin()
        c.start()
        assert session.read(timeout=SOON) == "early\n"
        assert c.wait(timeout=SOON) == 0


def test_much_is_written_in_both_directions(engine: Engine) -> None:
    data = os.urandom(1 << 20) * 32
    with engine.run("host", ["cat"], stdin_open=True) as c, c.attach() as session:
        writer = threading.Thread(target=_write_all, args=(session, data))
        writer.start()
        assert session.read_bytes(timeout=60) == data
        writer.join()
        assert c.wait(timeout=SOON) == 0


def test_what_several_write_at_once_is_not_mixed(engine: Engine) -> None:
    with engine.run("host", ["cat"], stdin_open=True) as c, c.attach(stdin=False) as reader:

        def write(letter: str) -> None:
            with c.attach() as session:
                for length in range(100, 20_000, 100):
                    session.write(letter * length + "\n")

        with ThreadPoolExecutor() as threads:
            list(threads.map(write, "abcd"))
        found = sorted(reader.readline(timeout=SOON) for _ in range(4 * 199))
        assert found == sorted(letter * length + "\n" for letter in "abcd" for length in range(100, 20_000, 100))


def test_who_writes_faster_than_is_read_waits(engine: Engine) -> None:
    with engine.run("host", ["sleep", "1000"], stdin_open=True) as c, c.attach() as session:
        with pytest.raises(WaitTimeoutError, match="writing to the standard input"):
            session.write(bytes(10 << 20), timeout=0.2)
        # Nothing has piled up in the monitor, and it is there for others.
        assert c.exec(["true"]).exit_code == 0
        with c.attach(stdin=False) as other, pytest.raises(WaitTimeoutError):
            other.read(timeout=0.05)


def test_writing_what_nobody_reads_any_more(engine: Engine) -> None:
    with engine.run("host", ["sh", "-c", "exec <&-; echo closed; sleep 1000"], stdin_open=True) as c:
        with c.attach(logs=True) as session:
            session.read_until("closed", timeout=SOON)
            with pytest.raises(ContainerInputClosedError, match="nobody reads"):
                session.write(bytes(100 << 20), timeout=SOON)
        with c.attach() as late, pytest.raises(ContainerInputClosedError):
            late.write("x")


def test_a_writer_that_waits_is_told_when_the_container_ends(engine: Engine) -> None:
    with engine.run("host", ["sleep", "1000"], stdin_open=True) as c, c.attach() as session:
        threading.Timer(0.2, c.kill).start()
        with pytest.raises(ContainerInputClosedError):
            session.write(bytes(10 << 20), timeout=SOON)
        assert session.read(timeout=SOON) == ""


def test_a_container_without_standard_input_takes_nothing(engine: Engine) -> None:
    with engine.run("host", ["sleep", "1000"]) as c, c.attach() as session:
        with pytest.raises(ContainerInputClosedError, match="stdin_open=True"):
            session.write("x")
        session.close_stdin()


def test_standard_input_stays_open_when_who_was_attached_goes(engine: Engine) -> None:
    with engine.run("host", ["cat"], stdin_open=True) as c:
        with c.attach() as first:
            first.write("one\n")
            assert first.readline(timeout=SOON) == "one\n"
        with c.attach() as second:
            second.write("two\n")
            assert second.readline(timeout=SOON) == "two\n"
        assert c.status == "running"


def test_standard_input_ends_with_the_first_that_could_write(engine: Engine) -> None:
    with engine.run("host", ["cat"], stdin_open=True, stdin_once=True) as c:
        with c.attach(stdin=False) as only_reads, pytest.raises(ContainerInputClosedError, match="without it"):
            only_reads.write("x")
        with c.attach() as first:
            first.write("one\n")
        assert c.wait(timeout=SOON) == 0
        assert c.logs() == "one\n"


def test_a_restart_gives_a_new_standard_input(engine: Engine) -> None:
    with engine.run("host", ["cat"], stdin_open=True) as c:
        for text in ("one\n", "two\n"):
            with c.attach() as session:
                session.write(text)
                session.close_stdin()
                assert session.read(timeout=SOON) == text
            assert c.wait(timeout=SOON) == 0
            c.start()
        assert c.logs() == "one\ntwo\n"


# Output


def test_output_is_that_from_now_on_or_all(engine: Engine) -> None:
    with engine.run("host", ["sh", "-c", "echo before; read line; echo after"], stdin_open=True) as c:
        for line in c.follow(SOON):
            assert line == "before\n"
            break
        with c.attach() as now, c.attach(logs=True) as whole:
            now.write("go\n")
            assert list(now.lines(SOON)) == ["after\n"]
            assert list(whole.lines(SOON)) == ["before\n", "after\n"]


def test_streams_are_told_apart(engine: Engine) -> None:
    script = "read go; echo out; echo err >&2"
    with engine.run("host", ["sh", "-c", script], stdin_open=True) as c:
        with c.attach() as both, c.attach(stderr=False) as out, c.attach(stdout=False) as err:
            both.write("go\n")
            assert sorted(both.lines(SOON)) == ["err\n", "out\n"]
            assert out.read(timeout=SOON) == "out\n"
            assert err.read(timeout=SOON) == "err\n"
        with c.attach(logs=True) as raw:
            c.start()
            raw.write("go\n")
            entries = []
            while piece := raw.read_entries(timeout=SOON):
                entries += piece
            assert {(entry.stream, entry.data) for entry in entries} == {(STDOUT, b"out\n"), (STDERR, b"err\n")}
            assert len(entries) == 4


def test_a_session_is_for_one_run(engine: Engine) -> None:
    with engine.run("host", ["sh", "-c", "read go; echo run; exit 1"], stdin_open=True, restart="always") as c:
        for _ in range(2):
            with c.attach() as session:
                session.write("go\n")
                assert session.read(timeout=SOON) == "run\n"


def test_every_session_gets_all_of_the_output(engine: Engine) -> None:
    with engine.run("host", ["sh", "-c", "read go; seq 50000"], stdin_open=True) as c:
        sessions = [c.attach() for _ in range(5)]
        sessions[0].write("go\n")
        for session in sessions:
            with session:
                assert session.read(timeout=SOON) == "".join(f"{number}\n" for number in range(1, 50001))


def test_who_does_not_read_holds_nobody_up(engine: Engine) -> None:
    script = "read go; head -c 50000000 /dev/zero"
    with engine.run("host", ["sh", "-c", script], stdin_open=True) as c, c.attach() as slow:
        slow.write("go\n")
        assert c.wait(timeout=SOON) == 0
        assert len(slow.read_bytes(timeout=SOON)) == 50_000_000


def test_a_descriptor_tells_when_there_is_something(engine: Engine) -> None:
    with engine.run("host", ["cat"], stdin_open=True) as c, c.attach() as session:
        assert select.select([session], [], [], 0.05)[0] == []
        session.write("x")
        assert select.select([session], [], [], SOON)[0] == [session]
        assert [entry.data for entry in session.read_entries(timeout=SOON)] == [b"x"]
        session.close_stdin()
        assert select.select([session], [], [], SOON)[0] == [session]
        assert session.read_entries(timeout=SOON) == []


def test_detaching_ends_what_other_threads_wait_for(engine: Engine) -> None:
    with engine.run("host", ["sleep", "1000"], stdin_open=True) as c:
        session = c.attach()
        with ThreadPoolExecutor() as threads:
            reading = threads.submit(session.read, SOON)
            writing = threads.submit(session.write, bytes(10 << 20), SOON)
            with pytest.raises(FutureTimeoutError):
                writing.result(timeout=0.2)
            session.detach()
            session.detach()
            with pytest.raises(ValueError, match="detached"):
                reading.result(timeout=SOON)
            with pytest.raises(ContainerInputClosedError):
                writing.result(timeout=SOON)
        with pytest.raises(ValueError, match="detached"):
            session.write("x")
        with pytest.raises(ValueError, match="detached"):
            session.readline()


def test_what_is_expected_does_not_come(engine: Engine) -> None:
    with engine.run("host", ["sh", "-c", "echo this; read go"], stdin_open=True) as c, c.attach(logs=True) as session:
        with pytest.raises(WaitTimeoutError):
            session.read_until("that", timeout=0.1)
        assert session.readline(timeout=SOON) == "this\n"
        session.write("go\n")
        with pytest.raises(EOFError):
            session.read_until("that", timeout=SOON)


def test_a_session_ends_when_its_container_is_removed(engine: Engine) -> None:
    never, c = engine.create("host", ["cat"], stdin_open=True), engine.run("host", ["cat"], stdin_open=True)
    with never, c, never.attach() as of_never, c.attach() as session:
        c.remove(force=True)
        never.remove()
        assert session.read(timeout=SOON) == of_never.read(timeout=SOON) == ""
        with pytest.raises(ContainerInputClosedError):
            session.write("x")
        with pytest.raises(ContainerNotFoundError):
            session.resize(80, 24)


def test_other_processes_attach(engine: Engine) -> None:
    with engine.run("host", ["cat"], stdin_open=True) as c, Engine(engine.settings) as other:
        with other.find(c.id).attach() as theirs, c.attach() as ours:
            theirs.write("from theirs\n")
            assert ours.readline(timeout=SOON) == theirs.readline(timeout=SOON) == "from theirs\n"
        c.remove(force=True)
    with pytest.raises(ContainerNotFoundError):
        c.attach()


_CLIENT = """
import sys
from pathlib import Path
from pytest_pycontainer import Engine, Settings

with Engine(Settings(root=Path(sys.argv[1]), state=Path(sys.argv[2]))) as engine:
    with engine.find(sys.argv[3]).attach() as session:
        session.write("from a client\\n")
        print(session.readline(timeout=30), end="", flush=True)
        sys.stdin.read()
"""


def _attach_and_kill(container: Container, engine: Engine) -> None:
    """Another process that attaches, writes a line and reads it, and is killed."""
    command = [sys.executable, "-c", _CLIENT, str(engine.settings.root), str(engine.settings.state), container.id]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "from a client\n"
        client.send_signal(signal.SIGKILL)


def test_the_end_of_a_client_ends_standard_input_that_is_for_one(engine: Engine) -> None:
    with engine.run("host", ["cat"], stdin_open=True, stdin_once=True) as c:
        _attach_and_kill(c, engine)
        assert c.wait(timeout=SOON) == 0


def test_the_end_of_a_client_ends_nothing_else(engine: Engine) -> None:
    with engine.run("host", ["cat"], stdin_open=True) as c, c.attach() as session:
        _attach_and_kill(c, engine)
        assert session.readline(timeout=SOON) == "from a client\n"
        session.write("still here\n")
        assert session.readline(timeout=SOON) == "still here\n"


_OWNER = """
import sys
from pathlib import Path
from pytest_pycontainer import Engine, Settings

with Engine(Settings(root=Path(sys.argv[1]), state=Path(sys.argv[2]))) as engine:
    print(engine.run("host", ["cat"], stdin_open=True, tty=sys.argv[3] == "tty").id, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("kind", ["pipes", "tty"])
def test_a_session_ends_with_the_container_and_that_with_its_owner(engine: Engine, kind: str) -> None:
    settings = engine.settings
    command = [sys.executable, "-c", _OWNER, str(settings.root), str(settings.state), kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        found = engine.find(owner.stdout.readline().strip())
        with found.attach() as session:
            session.write("x\n")
            assert session.readline(timeout=SOON).strip() == "x"
            owner.send_signal(signal.SIGKILL)
            session.read(timeout=SOON)
            with pytest.raises(ContainerInputClosedError):
                session.write("y\n")
        found.remove(force=True)


def test_pipes_belong_to_the_containers_user(engine: Engine) -> None:
    script = "echo out >/dev/stdout; echo err >/dev/stderr; read x </dev/stdin; echo $x"
    with engine.run("host", ["sh", "-c", script], user="nobody", stdin_open=True) as c, c.attach() as session:
        session.write("in\n")
        assert c.wait(timeout=SOON) == 0
        assert sorted(c.logs().split()) == ["err", "in", "out"]


def test_nothing_of_sessions_stays_in_the_monitor(engine: Engine) -> None:
    with engine.run("host", ["cat"], stdin_open=True) as c:
        monitor = int(re.search(r"PPid:\s+(\d+)", Path(f"/proc/{c.pid}/status").read_text())[1])  # type: ignore[index]
        before = len(list(Path(f"/proc/{monitor}/fd").iterdir()))
        for _ in range(50):
            with c.attach() as session:
                session.write("x\n")
                session.readline(timeout=SOON)
        with c.attach() as last:  # what it answers comes after it has seen the others go
            last.write("x\n")
            last.readline(timeout=SOON)
        assert len(list(Path(f"/proc/{monitor}/fd").iterdir())) <= before + 1
