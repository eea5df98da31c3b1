"""Processes in a container that are written to, read from and waited for while they run."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from pytest_pycontainer import Container, ContainerProcess, Engine
from pytest_pycontainer.errors import InvalidSpecError, WaitTimeoutError


def test_lines_come_as_they_are_written(sleeper: Container) -> None:
    with sleeper.popen(["sh", "-c", "while read word; do echo got $word; done; echo end"]) as process:
        for word in ("one", "two"):
            process.write(f"{word}\n", timeout=60)
            assert process.stdout.readline(timeout=60) == f"got {word}\n"
        assert process.exit_code is None
        process.close_stdin()
        assert list(process.stdout) == ["end\n"]
        assert process.wait(timeout=60) == 0


def test_a_last_line_without_an_end_and_what_is_no_text(sleeper: Container) -> None:
    with sleeper.popen(["printf", r"one\ntw\377o"]) as process:
        assert [process.stdout.readline(60) for _ in range(3)] == ["one\n", "tw�o", ""]
    with sleeper.popen(["printf", r"one\ntw\377o"]) as process:
        assert [process.stdout.readline_bytes(60) for _ in range(3)] == [b"one\n", b"tw\xffo", b""]


def test_a_time_limit_loses_nothing(sleeper: Container) -> None:
    with sleeper.popen(["sh", "-c", "printf half; read word; echo ' whole'"]) as process:
        with pytest.raises(WaitTimeoutError, match=r"waiting for a line from a process in .* longer than 0\.2 s"):
            process.stdout.readline(timeout=0.2)
        with pytest.raises(WaitTimeoutError):
            process.wait(timeout=0.1)
        process.write("go\n")
        assert process.stdout.readline(timeout=60) == "half whole\n"


def test_reading_up_to_a_pattern(sleeper: Container) -> None:
    with sleeper.popen(["sh", "-c", "echo listening on 10.0.0.1:8080; echo rest; read word; echo end"]) as process:
        assert process.stdout.read_until(r":(\d+)\n", timeout=60) == "listening on 10.0.0.1:8080\n"
        with pytest.raises(WaitTimeoutError, match="waiting for 'nothing like it' from a process in"):
            process.stdout.read_until("nothing like it", timeout=0.1)
        process.close_stdin()
        with pytest.raises(EOFError, match=r"without 'nothing like it': rest\nend"):
            process.stdout.read_until("nothing like it", timeout=60)
        assert process.stdout.read() == "rest\nend\n"


def test_reading_pieces(sleeper: Container) -> None:
    with sleeper.popen(["sh", "-c", "printf abcdef; read word; printf ghi"]) as process:
        assert process.stdout.read_bytes(4, timeout=60) == b"abcd"
        assert process.stdout.read_bytes(4, timeout=60) == b"ef"
        with pytest.raises(WaitTimeoutError):
            process.stdout.read_bytes(4, timeout=0.1)
        process.close_stdin()
        assert process.stdout.read_bytes(timeout=60) == b"ghi"
        assert process.stdout.read_bytes(4) == b""


def test_no_output_has_to_be_read_for_the_other_or_the_end(sleeper: Container) -> None:
    script = "seq 200000 >&2; echo out; seq 200000"
    with sleeper.popen(["sh", "-c", script]) as process:
        assert process.stdout.readline(timeout=60) == "out\n"
        assert process.wait(timeout=60) == 0
        assert process.stdout.read().split() == process.stderr.read().split() == [str(n) for n in range(1, 200001)]


def test_writing_more_than_is_read_yet(sleeper: Container) -> None:
    content = os.urandom(2_000_000)
    with sleeper.popen("cat") as process:
        process.write(content, timeout=60)  # cat waits for a reader of what it writes, meanwhile
        process.close_stdin()
        assert process.stdout.read_bytes(timeout=60) == content


def test_streaming_many_lines(sleeper: Container) -> None:
    with sleeper.popen("seq 300000") as process:
        for number, line in enumerate(process.stdout.lines(timeout=60), 1):
            assert line == f"{number}\n"
        assert number == 300000


def test_one_thread_writes_while_another_reads(sleeper: Container) -> None:
    with sleeper.popen("cat") as process:
        read: list[str] = []
        reader = threading.Thread(target=lambda: read.extend(process.stdout))
        reader.start()
        for number in range(2000):
            process.write(f"{number} {'x' * 500}\n", timeout=60)
        process.close_stdin()
        reader.join(timeout=60)
        assert [line.split()[0] for line in read] == [str(number) for number in range(2000)]


def test_each_output_has_its_reader_and_another_waits(sleeper: Container) -> None:
    with sleeper.popen(["sh", "-c", "for n in $(seq 5000); do echo $n; echo $n >&2; done; exit 3"]) as process:
        streams = {"out": process.stdout, "err": process.stderr}
        read: dict[str, list[str]] = {}
        codes: list[int] = []
        threads = [
            *(
                threading.Thread(target=lambda name: read.update({name: list(streams[name])}), args=[n])
                for n in streams
            ),
            *(threading.Thread(target=lambda: codes.append(process.wait(60))) for _ in range(3)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert read["out"] == read["err"] == [f"{number}\n" for number in range(1, 5001)]
        assert codes == [3, 3, 3]


def test_who_reads_no_more_is_told_of(sleeper: Container) -> None:
    with sleeper.popen(["sh", "-c", "exec <&-; echo closed; sleep 1000"]) as process:
        assert process.stdout.readline(timeout=60) == "closed\n"
        with pytest.raises(BrokenPipeError):
            process.write("word\n", timeout=60)
    with sleeper.popen("cat") as process:
        process.close_stdin()
        with pytest.raises(BrokenPipeError):
            process.write("word\n", timeout=60)
    with sleeper.popen("cat", stdin=False) as process:
        assert process.wait(timeout=60) == 0


def test_writing_has_a_time_limit(sleeper: Container) -> None:
    with sleeper.popen("sleep 1000") as process, pytest.raises(WaitTimeoutError, match="writing to 'sleep' in"):
        process.write(bytes(1_000_000), timeout=0.1)


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (ContainerProcess.kill, 137),
        (ContainerProcess.terminate, 143),
        (lambda process: process.send_signal("SIGUSR1"), 138),
        (lambda process: process.send_signal(signal.SIGINT), 130),
    ],
)
def test_signals(sleeper: Container, end: Any, code: int) -> None:
    with sleeper.popen("sleep 1000") as process:
        end(process)
        assert process.wait(timeout=60) == process.exit_code == code
        end(process)  # no error


def test_numbers_here_and_there(sleeper: Container) -> None:
    with sleeper.popen(["sh", "-c", "echo $$; read word"]) as process:
        assert int(process.stdout.readline(timeout=60)) == process.pid_in_container
        assert Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")[2] == b"echo $$; read word"
        assert f"{process.pid} in {sleeper.name}" in repr(process)


def test_leaving_it_kills_it_and_its_group(sleeper: Container) -> None:
    with sleeper.popen(["sh", "-c", "sleep 4321 & echo started; sleep 4321; true"]) as process:
        process.stdout.readline(timeout=60)
        while _sleepers(sleeper, "4321") < 2:
            sleeper.exited_within(0.01)
    for _ in range(1000):
        if not _sleepers(sleeper, "4321"):
            return
        sleeper.exited_within(0.01)
    pytest.fail("it still runs")


def test_closing_it_lets_it_go_on(sleeper: Container) -> None:
    sleeper.exec("mkfifo /go /done")
    process = sleeper.popen(["sh", "-c", "read word < /go; seq 100000 && echo alive > /done || echo broken > /done"])
    process.close()
    process.close()
    sleeper.exec(["sh", "-c", "echo go > /go"], timeout=60)
    assert sleeper.exec("cat /done", timeout=60).stdout == "alive\n"
    with pytest.raises(ValueError, match="closed"):
        process.stdout.read()


def test_a_detached_one_goes_on(sleeper: Container) -> None:
    sleeper.exec("mkfifo /go /done")
    with sleeper.popen(
        ["sh", "-c", "cat && seq 100000 && read word < /go && echo alive > /done"], detach=True
    ) as process:
        assert process.exit_code is None
    sleeper.exec(["sh", "-c", "echo go > /go"], timeout=60)
    assert sleeper.exec("cat /done", timeout=60).stdout == "alive\n"


def test_a_detached_one_can_be_waited_for(sleeper: Container) -> None:
    with sleeper.popen(["sh", "-c", "exit 7"], detach=True) as process:
        assert process.wait(timeout=60) == 7
        assert process.stdout.read() == ""


def test_outputs_as_in_exec(sleeper: Container, tmp_path: Path) -> None:
    command = ["sh", "-c", "echo out; echo err >&2"]
    with (
        (tmp_path / "out").open("wb") as file,
        sleeper.popen(command, stdout=file, stderr=subprocess.STDOUT) as process,
    ):
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == ""
    assert (tmp_path / "out").read_text() == "out\nerr\n"


def test_all_at_once(sleeper: Container) -> None:
    with sleeper.popen(["sh", "-c", "cat; echo err >&2; exit 4"]) as process:
        result = process.communicate("word", timeout=60)
    assert (result.exit_code, result.stdout, result.stderr) == (4, "word", "err\n")


def test_the_containers_end_is_its_end(engine: Engine) -> None:
    with engine.run("host", ["sleep", "1000"]) as c, c.popen(["sh", "-c", "echo started; sleep 1000"]) as process:
        assert process.stdout.readline(timeout=60) == "started\n"
        c.kill()
        assert process.stdout.read(timeout=60) == ""
        assert process.wait(timeout=60) == 137


def test_only_a_terminal_has_a_size(sleeper: Container) -> None:
    with sleeper.popen("cat") as process, pytest.raises(InvalidSpecError, match="tty=True"):
        process.resize(100, 40)


def test_one_that_is_forgotten_warns(sleeper: Container) -> None:
    with pytest.warns(ResourceWarning, match="was not closed"):
        sleeper.popen("cat")


def _sleepers(container: Container, argument: str) -> int:
    return sum(process.command[:2] == ("sleep", argument) for process in container.processes())
