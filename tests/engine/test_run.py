"""Containers as a caller sees them: life, exit codes, output, limits."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pytest_pycontainer import Container, Engine, wait
from pytest_pycontainer.errors import (
    CommandNotExecutableError,
    CommandNotFoundError,
    ContainerNotFoundError,
    ContainerNotRunningError,
    ContainerRunningError,
    ContainerStartError,
    InvalidSpecError,
    NameInUseError,
    StoreError,
    WaitTimeoutError,
)


def test_runs_a_command_to_its_end(engine: Engine) -> None:
    with engine.run("host", ["sh", "-c", "echo $GREETING; exit 3"], env={"GREETING": "hi"}) as c:
        assert c.wait(timeout=30) == 3
        assert c.logs() == "hi\n"
        assert c.status == "exited"
        assert c.exit_code == 3
        assert c.pid == 0
    assert c.status == "removed"
    with pytest.raises(ContainerNotFoundError):
        c.logs()


def test_output_and_error_are_kept_apart_and_in_order(engine: Engine) -> None:
    script = "for i in 1 2 3; do echo out$i; sleep 0.02; echo err$i >&2; sleep 0.02; done"
    with engine.run("host", ["sh", "-c", script]) as c:
        c.wait(timeout=30)
        assert c.logs() == "out1\nerr1\nout2\nerr2\nout3\nerr3\n"
        assert c.logs(stderr=False) == "out1\nout2\nout3\n"
        assert c.logs(stdout=False, tail=1) == "err3\n"


def test_nothing_that_was_written_at_the_very_end_is_lost(engine: Engine) -> None:
    with engine.run("host", ["head", "-c", "30000000", "/dev/zero"]) as c:
        assert c.wait(timeout=60) == 0
        assert len(c.logs_bytes()) == 30_000_000


@pytest.mark.parametrize(("number", "code"), [("KILL", 137), ("SIGTERM", 143), (2, 130)])
def test_the_exit_code_of_a_signal(engine: Engine, number: str | int, code: int) -> None:
    # With a handler, as PID 1 hears no other signals from outside; it then dies of the signal's number, like a shell.
    script = "trap 'exit 143' TERM; trap 'exit 130' INT; while :; do sleep 0.01; done"
    with engine.run("host", ["sh", "-c", f"{script}"]) as c:
        while not c.exec(["sh", "-c", "grep SigCgt /proc/1/status"]).stdout.split()[1].strip("0"):
            time.sleep(0.01)
        c.kill(number)
        assert c.wait(timeout=30) == code


def test_stop_is_gentle_first_and_then_not(engine: Engine) -> None:
    with engine.run(
        "host", ["sh", "-c", "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.01; done"]
    ) as c:
        next(c.follow(30))
        assert c.stop() == 7
        assert c.logs().endswith("bye\n")
        assert c.stop() == 7
    with engine.run("host", ["sleep", "1000"]) as deaf:
        assert deaf.stop(timeout=0.1) == 137


def test_how_long_stop_waits_is_the_containers_own(engine: Engine) -> None:
    deaf = ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1000; done"]
    with engine.run("host", deaf, stop_timeout=0.01, wait=wait.log("up")) as c:
        assert engine.find(c.id).stop() == 137
        c.start()
        c.restart()
        assert c.status == "running"


def test_labels_are_the_images_and_its_own(engine: Engine, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nLABEL tier=test from=image\n")
    image = engine.build(context, labels={"by": "build"})
    with engine.create(image, ["/none"], labels=["from=option", "bare"]) as c:
        assert c.labels == {"tier": "test", "by": "build", "from": "option", "bare": ""}
    with engine.create("host", ["true"], labels={"number": 5}) as c:
        assert c.labels == {"number": "5"}
        with Engine(engine.settings) as another:
            assert another.find(c.id).labels == c.labels


def test_waiting_has_a_limit(engine: Engine) -> None:
    with engine.run("host", ["sleep", "1000"]) as c:
        with pytest.raises(WaitTimeoutError, match=r"longer than 0\.05 s"):
            c.wait(timeout=0.05)
        assert c.status == "running"


def test_a_running_container_is_not_removed_by_accident(engine: Engine) -> None:
    c = engine.run("host", ["sleep", "1000"])
    with pytest.raises(ContainerRunningError, match="force=True"):
        c.remove()
    c.remove(force=True)
    c.remove()


def test_create_then_start(engine: Engine) -> None:
    with engine.create("host", ["echo", "started"]) as c:
        assert c.status == "created"
        with pytest.raises(ContainerNotRunningError, match="it is created"):
            c.wait()
        c.start()
        assert c.wait(timeout=30) == 0
        assert c.logs() == "started\n"
        c.start()
        assert c.wait(timeout=30) == 0
        assert c.logs() == "started\nstarted\n"


def test_stopping_what_was_never_started_is_no_error(engine: Engine) -> None:
    with engine.create("host", ["true"]) as c:
        assert c.stop() == 0
        assert c.status == "created"


def test_a_created_container_can_be_removed_without_a_start(engine: Engine) -> None:
    engine.create("host", ["true"]).remove()


@pytest.mark.parametrize(
    ("command", "kind", "code"),
    [
        (["redis-serverr"], CommandNotFoundError, 127),
        (["/no/such/file"], CommandNotFoundError, 127),
        (["/etc/passwd"], CommandNotExecutableError, 126),
        (["/etc"], CommandNotExecutableError, 126),
    ],
)
def test_a_command_that_can_not_be_executed(
    engine: Engine, command: list[str], kind: type[ContainerStartError], code: int
) -> None:
    before = engine.containers()
    with pytest.raises(kind, match=re.escape(f'exec "{command[0]}"')) as raised:
        engine.run("host", command, name="tried")
    assert raised.value.exit_code == code
    assert raised.value.container == "tried"
    assert engine.containers() == before


def test_an_unknown_user_is_named(engine: Engine) -> None:
    with pytest.raises(ContainerStartError, match="find user 'nobody-here'"):
        engine.run("host", ["true"], user="nobody-here")


def test_a_name_is_taken_once(engine: Engine) -> None:
    first = engine.run("host", ["sleep", "1000"], name="the-one")
    with first, pytest.raises(NameInUseError, match=first.short_id):
        engine.create("host", ["true"], name="the-one")
    with engine.create("host", ["true"], name="the-one") as again:
        assert again.name == "the-one"


def test_without_a_command_there_is_nothing_to_run(engine: Engine) -> None:
    with pytest.raises(InvalidSpecError, match="has none of its own"):
        engine.create("scratch")


def test_user_directory_and_host_name(engine: Engine) -> None:
    script = "id -u; id -g; pwd; hostname; echo $HOME"
    with engine.run("host", ["sh", "-c", script], user="nobody", workdir="/var/new/place", hostname="box") as c:
        c.wait(timeout=30)
        assert c.logs().split() == ["65534", "65534", "/var/new/place", "box", "/nonexistent"]


def test_with_init_the_command_is_not_pid_1_and_orphans_are_collected(engine: Engine) -> None:
    script = "echo $$; (sleep 0.01 &) ; sleep 0.1; cat /proc/*/stat 2>/dev/null | grep -c ' Z ' ; exit 5"
    with engine.run("host", ["sh", "-c", script], init=True) as c:
        assert c.wait(timeout=30) == 5
        pid, zombies = c.logs().split()
        assert int(pid) != 1
        assert zombies == "0"
    with engine.run("host", ["sleep", "1000"], init=True) as c:
        assert c.stop(timeout=20) == 143  # passed on to a command that has no handler


def test_memory_is_limited_and_told(engine: Engine) -> None:
    grow = "import os; b = bytearray(200 << 20)"
    with engine.run("host", ["python3", "-c", grow], memory="40m") as c:
        assert c.wait(timeout=60) == 137
        assert c.out_of_memory


def test_processes_are_limited(engine: Engine) -> None:
    script = "for i in $(seq 40); do sleep 5 & done; wait"
    with engine.run("host", ["sh", "-c", script], pids_limit=10) as c:
        assert c.wait(timeout=60) != 0
        assert "fork" in c.logs()


def test_many_at_once_from_many_threads(engine: Engine) -> None:
    def one(number: int) -> str:
        with engine.run("host", ["echo", str(number)]) as c:
            assert c.wait(timeout=60) == 0
            return c.logs().strip()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(24))) == [str(number) for number in range(24)]


def test_several_threads_wait_for_one_container(engine: Engine) -> None:
    codes: list[int] = []
    with engine.run("host", ["sh", "-c", "sleep 0.2; exit 9"]) as c:
        threads = [threading.Thread(target=lambda: codes.append(c.wait(timeout=30))) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert codes == [9] * 5


def test_what_the_engine_has_it_lists(engine: Engine) -> None:
    with engine.run("host", ["sleep", "1000"]) as c:
        assert c in engine.containers()
    assert c not in engine.containers()


@pytest.mark.parametrize(
    "options",
    [
        {"name": "-x"},
        {"ports": ["70000"]},
        {"ports": ["1:2:3:4"]},
        {"ports": [80, "8080:81", "8080:82"]},
        {"memory": "lots"},
        {"memory": -1},
        {"pids_limit": -2},
        {"env": ["NOVALUE"]},
        {"env": {"A=B": "x"}},
        {"network": "none", "ports": [80]},
        {"ports": {80: "x"}},
        {"ports": 80.5},
        {"pids_limit": "10"},
        {"memory": "1k"},
        {"memory": True},
        {"env": {"A": None}},
        {"env": {5: "x"}},
        {"user": "a\0b"},
        {"workdir": 5},
        {"hostname": "x\n6.6.6.6 evil"},
        {"hostname": "x" * 65},
        {"stop_signal": "SIGFOO"},
        {"stop_signal": 99},
        {"stop_signal": True},
        {"name": "n" * 256},
        {"env": 5},
        {"env": {"A": "\ud800"}},
        {"entrypoint": ["\ud800"]},
        {"log_opt": 5},
        {"labels": 5},
        {"labels": {"": "x"}},
        {"labels": [5]},
        {"stop_timeout": "10"},
        {"stop_timeout": float("nan")},
        {"user": True},
        {"workdir": "relative"},
        {"init": "yes"},
        {"ports": b"80"},
        {"group_add": b"80"},
        {"volumes": {"name": None}},
        {"dns_search": "\ud800"},
        {"dns_options": "a\0b"},
        {"extra_hosts": {"a\0b": "10.0.0.1"}},
    ],
)
def test_an_argument_that_makes_no_sense(engine: Engine, options: dict[str, object]) -> None:
    with pytest.raises(InvalidSpecError, match="wanted"):
        engine.create("host", ["true"], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("timeout", ["5", float("nan"), None])
def test_a_time_limit_that_is_none(engine: Engine, timeout: float) -> None:
    with pytest.raises(InvalidSpecError, match=r"invalid timeout .* wanted a number of seconds"):
        engine.run("host", ["sleep", "60"], wait=wait.port(9), timeout=timeout)
    assert engine.containers() == []


def test_time_limits_are_looked_at_before_anything_happens(engine: Engine) -> None:
    nonsense: list[Callable[[Container, Any], object]] = [
        lambda container, limit: container.wait(limit),
        lambda container, limit: container.stop(limit),
        lambda container, limit: container.restart(limit),
        lambda container, limit: container.exec("touch /tmp/done", timeout=limit),
        lambda container, limit: container.connect(80, timeout=limit),
        lambda _, limit: wait.port(80, timeout=limit),
        lambda _, limit: wait.log("x", timeout=limit),
        lambda _, limit: wait.healthy(timeout=limit),
    ]
    with engine.run("host", ["sleep", "60"], init=True) as container:
        for call in nonsense:
            for limit in ("5", float("nan")):
                with pytest.raises(InvalidSpecError, match="invalid timeout"):
                    call(container, limit)
        assert container.status == "running"
        assert container.diff() == []
        assert container.exec("true", timeout=float("inf")).exit_code == 0
        container.kill()
        assert container.wait(timeout=float("inf")) == 137


def test_an_option_that_nobody_knows_is_an_error(engine: Engine) -> None:
    with pytest.raises(TypeError, match=r"'enviroment'; did you mean 'env'\? known are .*env"):
        engine.run("host", ["true"], enviroment={})  # type: ignore[call-arg]


@pytest.mark.parametrize("image", [42, None])
def test_what_is_no_image(engine: Engine, image: object) -> None:
    with pytest.raises(InvalidSpecError, match="an Image, the name of one, or a path"):
        engine.run(image)  # type: ignore[arg-type]


def test_a_uid_as_a_number_and_a_real_time_stop_signal(engine: Engine) -> None:
    with engine.run("host", ["sleep", "1000"], user=0, stop_signal="RTMIN+3", init=True) as c:
        assert c.exec("id -u", user=65534).stdout == "65534\n"
        assert c.stop(timeout=20) == 128 + signal.SIGRTMIN + 3


def test_the_pid_is_known_as_soon_as_it_runs(engine: Engine) -> None:
    for _ in range(5):
        with engine.run("host", ["sleep", "1000"]) as c:
            assert c.pid > 1
            assert Path(f"/proc/{c.pid}/comm").read_text() == "sleep\n"


def test_the_last_lines_of_a_log(engine: Engine) -> None:
    with engine.run("host", ["sh", "-c", "seq 100000; printf 'foo\\rbar\\nlast'; echo err >&2"]) as c:
        c.wait(timeout=60)
        assert c.logs(stderr=False, tail=3) == "100000\nfoo\rbar\nlast"
        assert c.logs(stdout=False, tail=5) == "err\n"
        assert c.logs(tail=0) == ""
        assert c.logs(stderr=False, tail=200_000).startswith("1\n2\n")


def test_an_error_in_the_block_takes_the_log_along(engine: Engine) -> None:
    c = engine.run("host", ["sh", "-c", "echo the reason; exit 3"])
    c.wait(timeout=30)
    with pytest.raises(AssertionError) as raised, c:
        raise AssertionError
    (note,) = raised.value.__notes__
    assert c.name in note
    assert "exited" in note
    assert note.endswith("the reason\n")


def test_a_forked_child_can_not_end_what_is_its_parents(engine: Engine) -> None:
    with engine.run("host", ["sleep", "1000"]) as c:
        child = os.fork()
        if child == 0:
            try:
                c.remove(force=True)
                engine.close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert c.status == "running"
        assert c.exec("true").exit_code == 0


def test_a_forked_childs_handle_is_its_own(engine: Engine) -> None:
    with engine.run("host", ["sleep", "1000"], ports=[80], init=True) as c:
        port = c.port(80)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                seen = [c.status, c.exec("echo inside").stdout.strip(), c.port(80), c.stop(), c.wait(), c.status]
                try:
                    engine.create("host", ["true"])
                except StoreError as error:
                    seen.append("open another" in str(error))
                os.write(writing, repr(seen).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as answer:
            assert answer.read() == repr(["running", "inside", port, 143, 143, "exited", True])
        os.waitpid(child, 0)
        # What the child has heard is not lost to its parent.
        assert c.wait(timeout=10) == 143
        c.start()
        assert c.port(80) > 0
        assert c.exec("true").exit_code == 0
