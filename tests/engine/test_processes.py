"""What runs in a container, as told from outside."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pytest_pycontainer import Container, Engine, ProcessInfo
from pytest_pycontainer.errors import ContainerNotFoundError, ContainerNotRunningError


def test_what_each_process_is(engine: Engine) -> None:
    before = datetime.now(UTC)
    with (
        engine.run("host", ["sh", "-c", "sleep 111 & wait"]) as c,
        c.popen(["sh", "-c", "echo started; read word; true a b"], user="nobody") as process,
    ):
        process.stdout.readline(timeout=60)
        for _ in range(1000):
            first, second, third = c.processes()
            if second.command[0] == "sleep":
                break
            c.exited_within(0.01)
        assert first == ProcessInfo(
            pid=c.pid,
            pid_in_container=1,
            parent=0,
            user="root",
            uid=0,
            command=("sh", "-c", "sleep 111 & wait"),
            state="sleeping",
            started_at=first.started_at,
            memory=first.memory,
        )
        assert (second.command, second.parent) == (("sleep", "111"), 1)
        assert Path(f"/proc/{second.pid}/cmdline").read_bytes() == b"sleep\000111\0"
        assert (third.user, third.uid, third.parent) == ("nobody", 65534, 0)
        assert (third.pid, third.pid_in_container) == (process.pid, process.pid_in_container)
        assert third.command == ("sh", "-c", "echo started; read word; true a b")
        now = datetime.now(UTC)
        for each in (first, second, third):
            # The kernel counts in hundredths of a second.
            assert before - timedelta(seconds=0.1) <= each.started_at <= now + timedelta(seconds=0.1)
            assert 0 < each.memory < 1 << 27


def test_a_user_without_a_name_is_a_number(sleeper: Container) -> None:
    with sleeper.popen("cat", user=54321):
        assert [process.user for process in sleeper.processes()] == ["root", "54321"]


@pytest.mark.parametrize("options", [{"userns": "auto"}, {"pid": "host"}, {"init": True}])
def test_in_other_namespaces(engine: Engine, options: Any) -> None:
    with engine.run("host", ["sleep", "1000"], **options) as c, c.popen("cat", user="daemon", tty=True) as process:
        found = {each.pid: each for each in c.processes()}
        executed, first = found[process.pid], found[c.pid]
        assert (executed.user, executed.uid, executed.command) == ("daemon", 1, ("cat",))
        assert executed.pid_in_container == process.pid_in_container
        assert (executed.pid_in_container == executed.pid) == ("pid" in options)
        assert (first.user, first.pid_in_container) == ("root", first.pid if "pid" in options else 1)
        assert first.command == (("/sbin/docker-init", "--") if "init" in options else ()) + ("sleep", "1000")
        process.write("word\n")
        assert process.stdout.read_until("word\r\nword\r\n", timeout=60)


def test_a_zombie_and_a_name_that_misleads(sleeper: Container) -> None:
    # What it has started ends when the shell, which would have waited for it, is another program.
    script = "cp /bin/sleep '/tmp/a) Z (b'; '/tmp/a) Z (b' 222 & sleep 0.1 & echo $!; exec sleep 333"
    with sleeper.popen(["sh", "-c", script]) as process:
        ended = int(process.stdout.readline(timeout=60))
        for _ in range(1000):
            found = {each.pid_in_container: each for each in sleeper.processes()}
            if found[ended].state == "zombie":
                break
            sleeper.exited_within(0.01)
        assert found[ended].state == "zombie"
        assert found[ended].parent == process.pid_in_container
        assert ("/tmp/a) Z (b", "222") in [each.command for each in found.values()]


def test_of_one_that_is_paused(sleeper: Container) -> None:
    sleeper.pause()
    assert [process.command for process in sleeper.processes()] == [("sleep", "1000")]
    sleeper.unpause()


def test_seen_by_another_engine(engine: Engine, sleeper: Container) -> None:
    with Engine(engine.settings) as other:
        (seen,), (own,) = other.find(sleeper.id).processes(), sleeper.processes()
    assert (seen.pid, seen.command, seen.user) == (own.pid, own.command, own.user)


def test_a_file_of_users_that_leads_out_of_the_container(sleeper: Container, tmp_path: Path) -> None:
    sleeper.exec("rm /etc/passwd")
    sleeper.exec("mkfifo /etc/passwd")
    assert [process.user for process in sleeper.processes()] == ["0"]
    names = tmp_path / "passwd"
    names.write_text("lured:x:0:0::/:/bin/sh\n")
    sleeper.exec(["ln", "-sf", os.fspath(names), "/etc/passwd"])
    assert [process.user for process in sleeper.processes()] == ["0"]


def test_not_of_one_that_does_not_run(engine: Engine) -> None:
    with engine.create("host", ["true"]) as c:
        with pytest.raises(ContainerNotRunningError, match=r"cannot list the processes of .*: it is created"):
            c.processes()
        c.start()
        c.wait(timeout=60)
        with pytest.raises(ContainerNotRunningError):
            c.processes()
    with pytest.raises(ContainerNotFoundError):
        c.processes()
