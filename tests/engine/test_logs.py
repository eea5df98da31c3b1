"""What containers write, as callers read it: afterwards, meanwhile, within bounds."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest

from pytest_pycontainer import Container, Engine
from pytest_pycontainer.errors import ContainerNotFoundError, InvalidSpecError, WaitTimeoutError


def _wait_for(container: Container, text: str) -> None:
    for line in container.follow(30):
        if text in line:
            return
    pytest.fail(f"no {text!r} in {container.logs()!r}")


@pytest.fixture
def stepping(engine: Engine) -> Iterator[Container]:
    """A container that prints a number, and the next one each time when it gets SIGUSR1."""
    script = "i=0; step() { i=$((i+1)); echo line$i; }; trap step USR1; step; while :; do sleep 0.01; done"
    with engine.run("host", ["bash", "-c", script]) as container:
        _wait_for(container, "line1")
        yield container


def _step(container: Container, number: int) -> None:
    container.kill("SIGUSR1")
    _wait_for(container, f"line{number}")


def test_only_what_was_written_between_two_times(stepping: Container) -> None:
    after_first = datetime.now(UTC)
    _step(stepping, 2)
    after_second = time.time()
    _step(stepping, 3)
    assert stepping.logs(since=after_first) == "line2\nline3\n"
    assert stepping.logs(until=after_second) == "line1\nline2\n"
    assert stepping.logs(since=after_first, until=after_second) == "line2\n"
    assert stepping.logs_bytes(since=after_second) == b"line3\n"
    assert stepping.logs(since=after_first, tail=1) == "line3\n"
    assert stepping.logs(until=after_second, tail=1) == "line2\n"
    assert stepping.logs(since="1h") == stepping.logs(since=timedelta(hours=1)) == stepping.logs()
    assert stepping.logs(until="1h") == ""
    with pytest.raises(InvalidSpecError, match="since"):
        stepping.logs(since="yesterday")


def test_each_line_with_its_time(engine: Engine) -> None:
    before = datetime.now(UTC)
    with engine.run("host", ["sh", "-c", "printf 'one\\ntwo\\n\\nthr'; sleep 0.05; printf 'ee\\nfour'"]) as c:
        assert c.wait(timeout=30) == 0
        lines = c.logs(timestamps=True).split("\n")
        after = datetime.now(UTC)
        assert c.logs(timestamps=True, tail=2) == "\n".join(lines[-2:])
        assert "".join(c.follow(timestamps=True)) == "\n".join(lines)
    times, texts = zip(*(line.split(" ", 1) for line in lines), strict=True)
    assert texts == ("one", "two", "", "three", "four")
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", each) for each in times)
    moments = [datetime.fromisoformat(each) for each in times]
    assert before <= moments[0] <= moments[-1] <= after


def test_lines_of_both_streams_do_not_mix(engine: Engine) -> None:
    script = "printf be >&2; sleep 0.05; echo other; sleep 0.05; echo gun >&2"
    with engine.run("host", ["sh", "-c", script]) as c:
        assert list(c.follow(30)) == ["other\n", "begun\n"]
        assert c.logs() == "beother\ngun\n"
        assert list(c.follow(30, stdout=False)) == ["begun\n"]
        assert [line.split(" ")[1] for line in c.logs(timestamps=True).splitlines()] == ["other", "begun"]


def test_a_tail_is_followed(stepping: Container) -> None:
    _step(stepping, 2)
    lines = stepping.follow(30, tail=1)
    assert next(lines) == "line2\n"
    _step(stepping, 3)
    assert next(lines) == "line3\n"
    nothing_yet = stepping.follow(30, tail=0)
    wait_begun = threading.Timer(0.1, _step, (stepping, 4))
    wait_begun.start()
    assert next(nothing_yet) == "line4\n"
    wait_begun.join()
    lines.close()  # type: ignore[attr-defined]
    nothing_yet.close()  # type: ignore[attr-defined]


def test_following_has_its_limits(stepping: Container) -> None:
    lines = stepping.follow(0.2)
    assert next(lines) == "line1\n"
    with pytest.raises(WaitTimeoutError, match="following the log"):
        next(lines)
    assert list(stepping.follow(30, until=time.time() + 0.2)) == ["line1\n"]
    assert list(stepping.follow(30, until="1h")) == []


def test_a_log_goes_on_over_restarts_and_is_followed_over_them(engine: Engine) -> None:
    script = "echo run; sleep 0.05; exit 3"
    with engine.run("host", ["sh", "-c", script], restart="on-failure:2") as c:
        assert list(c.follow(60)) == ["run\n"] * 3
        assert c.exit_code == 3
        assert c.restart_count == 2
        c.start()
        assert list(c.follow(60)) == ["run\n"] * 6


def test_what_is_followed_comes_while_a_restart_is_waited_for(engine: Engine) -> None:
    with engine.run("host", ["sh", "-c", "echo run; exit 1"], restart="always") as c:
        assert list(islice(c.follow(60), 4)) == ["run\n"] * 4


def test_other_engines_read_and_follow(engine: Engine, stepping: Container) -> None:
    with Engine(engine.settings) as other:
        found = other.find(stepping.name)
        assert found.logs() == "line1\n"
        lines = found.follow(30)
        assert next(lines) == "line1\n"
        _step(stepping, 2)
        assert next(lines) == "line2\n"
        stepping.remove(force=True)
        assert list(lines) == []
        with pytest.raises(ContainerNotFoundError):
            found.logs()


def test_what_is_followed_may_have_been_removed(stepping: Container) -> None:
    lines = stepping.follow(30)
    stepping.remove(force=True)
    assert list(lines) == []
    with pytest.raises(ContainerNotFoundError):
        stepping.follow()


def test_of_a_large_log_the_end_is_kept(engine: Engine) -> None:
    bound = {"max-size": "64k", "max-file": 3}
    with engine.run("host", ["seq", "200000"], log_opt=bound) as c:
        assert c.wait(timeout=60) == 0
        kept = c.logs().splitlines()
        assert kept[-1] == "200000"
        first = int(kept[1])  # the first line may have lost its beginning
        assert first > 100_000
        assert kept[1:] == [str(number) for number in range(first, 200_001)]
        assert c.logs(tail=3) == "199998\n199999\n200000\n"
        assert c.logs(tail=len(kept)) == c.logs()
        assert "".join(c.follow(60)) == c.logs()
        size = sum(file.stat().st_size for file in c.upper.parent.glob("log.*"))
        assert size <= 3 * (64 << 10) + (256 << 10)


def test_who_follows_a_log_that_turns_over_misses_nothing(engine: Engine) -> None:
    # A file of the log holds what a slow reader may be late by: what is there still is given, in whatever file.
    with engine.create("host", ["seq", "100000"], log_opt={"max-size": "100k", "max-file": 20}) as c:
        c.start()
        read = "".join(c.follow(60))
        assert read == "".join(f"{number}\n" for number in range(1, 100_001))
        assert len(list(c.upper.parent.glob("log.*"))) > 3


def test_who_follows_too_slowly_goes_on_with_what_is_kept(engine: Engine) -> None:
    with engine.run("host", ["seq", "300000"], log_opt={"max-size": "100k", "max-file": 2}) as c:
        lines = c.follow(60)
        first = next(lines)
        c.wait(timeout=60)
        rest = list(lines)
        assert first == "1\n" or int(first) > 1
        assert rest[-1] == "300000\n"


def test_a_gigabyte_before_a_sudden_end(engine: Engine) -> None:
    size = 1 << 30
    with engine.run("host", ["head", "-c", str(size), "/dev/zero"], log_opt={"max-size": "300m", "max-file": 5}) as c:
        assert c.wait(timeout=120) == 0
        seen = 0
        for entries in c.follow_entries(120):
            seen += sum(len(entry.data) for entry in entries)
        assert seen == size


def test_a_monitor_needs_little_memory_for_much_output(engine: Engine) -> None:
    script = "head -c 300000000 /dev/zero; echo; exec sleep 1000"
    with engine.run("host", ["sh", "-c", script]) as c:
        monitor = _number_in_status(c.pid, "PPid")
        before = _number_in_status(monitor, "VmRSS")
        for line in c.follow_bytes(60, since=0):
            if line.endswith(b"\n"):
                break
        assert _number_in_status(monitor, "VmHWM") - before < 1024


def _number_in_status(process: int, field: str) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(rf"^{field}:\s+(\d+)", status, re.MULTILINE)[1])  # type: ignore[index]


def test_an_error_quotes_no_endless_line(engine: Engine) -> None:
    with engine.run("host", ["sh", "-c", "echo begin; head -c 3000000 /dev/zero | tr '\\0' x; printf end"]) as c:
        assert c.wait(timeout=60) == 0
        assert c.log_tail() == "x" * (len(c.log_tail()) - 3) + "end"
        assert 1000 < len(c.log_tail()) < 100_000


def test_what_a_child_of_the_background_left_is_logged(engine: Engine) -> None:
    script = "(while :; do echo behind; sleep 0.001; done) & sleep 0.1; echo end"
    with engine.run("host", ["sh", "-c", script]) as c:
        c.wait(timeout=30)
        log = c.logs()
        time.sleep(0.05)
        assert c.logs() == log
        assert log.count("behind") > 2
        assert "end\n" in log
