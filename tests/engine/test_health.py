"""Health checks: from the image or the call, run in real containers."""

from __future__ import annotations

import os
import pickle
import re
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_pycontainer import Container, Engine, Image, wait
from pytest_pycontainer.engine.container_health import Health
from pytest_pycontainer.engine.health import parse_health_check
from pytest_pycontainer.engine.health_options import HealthOptions
from pytest_pycontainer.errors import (
    ContainerExitedError,
    ContainerNotReadyError,
    ContainerNotRunningError,
    ContainerUnhealthyError,
    InvalidSpecError,
)
from pytest_pycontainer.image.config import Healthcheck, ImageConfig
from pytest_pycontainer.runtime.messages import has_come
from pytest_pycontainer.runtime.spec import HealthCheck
from pytest_pycontainer.runtime.state import ContainerState, HealthState

IDLE = ["sleep", "1000"]
OFTEN = 0.03
NEVER = 1000.0
PATIENCE = 30.0
IF_WELL = "test -e /tmp/well"


def test_a_monitor_that_is_slower_than_its_init_probes_all_the_same(engine: Engine) -> None:
    with engine.scope() as scope:
        spawner = engine._resources.spawner.pid
        scope.settle()
        before = children(spawner)
        scope._resources.prepare_next()
        spare = engine._resources._spare
        assert spare is not None
        assert has_come(spare.connection._channel, PATIENCE)
        (monitor,) = children(spawner) - before
        os.kill(monitor, signal.SIGSTOP)
        try:
            c = scope.create("host", IDLE, health_cmd="true", health_interval=OFTEN, network="none")
            with ThreadPoolExecutor(1) as pool:
                started = pool.submit(c.start)
                (init,) = children(monitor)
                deadline = time.monotonic() + PATIENCE
                while (name := Path(f"/proc/{init}/comm").read_text()) != "sleep\n" and time.monotonic() < deadline:
                    time.sleep(0.01)
                os.kill(monitor, signal.SIGCONT)
                started.result(PATIENCE)
        finally:
            os.kill(monitor, signal.SIGCONT)
        assert name == "sleep\n"
        await_state(c, lambda health: health.status == "healthy")


def children(process: int) -> set[int]:
    return set(map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()))


def await_state(container: Container, reached: Callable[[HealthState], bool]) -> HealthState:
    """Waits for what the monitor tells of the container's health."""

    def is_so(state: ContainerState) -> bool:
        return state.health is not None and reached(state.health)

    state = container._connection.await_state(is_so, PATIENCE)
    assert state is not None, container.health
    assert state.health is not None
    return state.health


def await_probes(container: Container, count: int) -> HealthState:
    """Waits until so many have ended (five at most)."""
    return await_state(container, lambda health: len(health.log) >= count)


def await_probe_after(container: Container, moment: float) -> HealthState:
    return await_state(container, lambda health: bool(health.log) and health.log[-1].started_at > moment)


def test_without_a_check_nobody_looks(engine: Engine) -> None:
    with engine.run("host", IDLE) as c:
        assert c.health == Health("none")
        assert not c.has_health_check
        with pytest.raises(InvalidSpecError, match=r"'host' has none; give one as health_cmd"):
            wait.healthy().until_ready(c, 1)


def test_the_images_check_and_every_change_of_it(engine: Engine) -> None:
    check = f"HEALTHCHECK --interval=30ms --retries=2 CMD {IF_WELL} && echo well || (echo ill; exit 1)"
    image = engine.build(dockerfile=f"FROM host\n{check}\n")
    with engine.run(image, IDLE) as c, engine.find(c.name) as other:
        assert c.health.status == "starting"
        unhealthy = c.await_health(PATIENCE)
        assert unhealthy is not None
        assert (unhealthy.status, unhealthy.failing_streak) == ("unhealthy", 2)
        assert [(probe.exit_code, probe.output) for probe in unhealthy.log] == [(1, "ill\n")] * 2
        assert all(probe.started_at < probe.ended_at for probe in unhealthy.log)
        c.exec(["touch", "/tmp/well"], check=True)
        healthy = await_state(c, lambda health: health.status == "healthy")
        assert healthy.failing_streak == 0
        assert healthy.log[-1].output == b"well\n"
        c.exec(["rm", "/tmp/well"], check=True)
        await_state(c, lambda health: health.status == "unhealthy")
        assert other.health.status == "unhealthy"


def test_another_process_is_told_too(engine: Engine) -> None:
    with (
        engine.run("host", IDLE, health_cmd=IF_WELL, health_interval=OFTEN) as c,
        Engine(engine.settings) as elsewhere,
    ):
        found = elsewhere.find(c.id)
        assert found.has_health_check
        assert found.health.status == "starting"
        c.exec(["touch", "/tmp/well"], check=True)
        assert await_state(found, lambda health: health.status == "healthy").log[-1].exit_code == 0


def test_run_waits_until_it_is_healthy(engine: Engine) -> None:
    script = "sleep 0.1; touch /tmp/well; sleep 1000"
    options: HealthOptions = {"health_cmd": IF_WELL, "health_interval": "30ms", "health_retries": 10_000}
    with engine.run("host", ["sh", "-c", script], wait=wait.healthy(timeout=PATIENCE), **options) as c:
        assert c.health.status == "healthy"
        wait.healthy().until_ready(c, 0.0)


def test_unhealthy_fails_at_once_with_what_the_probes_said(engine: Engine) -> None:
    with pytest.raises(ContainerUnhealthyError) as raised:
        engine.run(
            "host",
            ["sh", "-c", "echo the log; sleep 1000"],
            name="ill",
            health_cmd="echo no route; exit 4",
            health_interval=OFTEN,
            health_retries=2,
            wait=wait.healthy(),
        )
    error = pickle.loads(pickle.dumps(raised.value))
    assert (error.container, error.failing_streak, error.log_tail) == ("ill", 2, "the log\n")
    assert "'ill' is unhealthy: its health check failed 2 times in a row; its last output:\n    the log" in str(error)
    assert str(error).count("exit code 4: no route") == 2


def test_a_container_that_exits_fails_at_once_with_its_log(engine: Engine) -> None:
    with pytest.raises(ContainerExitedError, match=r"code 3 before its health check succeeds; its last output:\n +bye"):
        engine.run("host", ["sh", "-c", "echo bye; exit 3"], health_cmd="false", wait=wait.healthy())


def test_what_was_not_healthy_in_time_tells_of_its_probes(engine: Engine) -> None:
    check = "echo not yet; exit 1"
    with engine.run("host", IDLE, health_cmd=check, health_start_period=NEVER, health_start_interval=OFTEN) as c:
        await_probes(c, 2)
        with pytest.raises(ContainerNotReadyError, match=r"(?s)within 0 s: its health check.*exit code 1: not yet"):
            wait.healthy().until_ready(c, 0.0)
    with (
        pytest.raises(ContainerNotReadyError, match="none has ended: see health_interval"),
        engine.run("host", IDLE, health_interval=NEVER, wait=wait.healthy(timeout=0.01), health_cmd="true"),
    ):
        pass


def test_what_was_never_started_has_no_health_to_wait_for(engine: Engine) -> None:
    with engine.create("host", IDLE, health_cmd="true") as c:
        assert c.health == Health("starting")
        with pytest.raises(ContainerNotRunningError, match="wait for the health of"):
            wait.healthy().until_ready(c, 1.0)


def test_in_the_start_period_failures_do_not_count_and_the_first_success_ends_it(engine: Engine) -> None:
    with engine.run(
        "host",
        IDLE,
        health_cmd=IF_WELL,
        health_retries=1,
        health_interval=NEVER,
        health_start_period=NEVER,
        health_start_interval=OFTEN,
    ) as c:
        health = await_probes(c, 3)
        assert (health.status, health.failing_streak) == ("starting", 0)
        c.exec(["touch", "/tmp/well"], check=True)
        healthy = await_state(c, lambda health: health.status == "healthy")
        time.sleep(10 * OFTEN)
        assert c._connection.state.health == healthy  # the interval is the long one now


def test_a_probe_that_takes_too_long_is_killed_with_what_it_has_started(engine: Engine) -> None:
    with engine.run(
        "host", IDLE, health_cmd="echo begun; sleep 998 & sleep 999; true", health_interval=OFTEN, health_timeout=0.2
    ) as c:
        health = await_probes(c, 2)
        assert [(probe.exit_code, probe.output) for probe in health.log[:2]] == [
            (-1, b"the probe took longer than 0.2 s: begun\n")
        ] * 2
        c.exec(["touch", "/tmp/x"], check=True)
        assert len(re.findall("(?m)^sleep 99[89]$", c.exec("ps -eo args").stdout)) <= 2  # those of the next one


def test_a_probe_that_can_not_be_executed_has_failed(engine: Engine) -> None:
    with engine.run("host", IDLE, health_cmd=["no-such-program"], health_interval=OFTEN, health_retries=1) as c:
        (probe,) = await_probes(c, 1).log
        assert (probe.exit_code, probe.output) == (-1, b'exec "no-such-program": No such file or directory')
        assert c.health.status == "unhealthy"


def test_a_long_output_is_cut(engine: Engine) -> None:
    with engine.run("host", IDLE, health_cmd="head -c 1000000 /dev/zero | tr '\\0' x", health_interval=OFTEN) as c:
        (probe,) = await_probes(c, 1).log[:1]
        assert (probe.exit_code, probe.output) == (0, 4096 * b"x" + b"...")


def test_a_probe_runs_as_the_container_does(engine: Engine) -> None:
    with engine.run(
        "host",
        IDLE,
        user="nobody",
        workdir="/usr",
        env={"GREETING": "hi"},
        health_cmd="id -un; pwd; echo $GREETING >&2; cat; cat /proc/self/status | grep Seccomp: | tr '\\t' ' '",
        health_interval=OFTEN,
    ) as c:
        assert await_probes(c, 1).log[0].output == b"nobody\n/usr\nhi\nSeccomp: 2\n"


def test_who_writes_on_after_its_end_does_not_hold_up_the_next(engine: Engine) -> None:
    with engine.run("host", IDLE, health_cmd="sleep 1000 & echo $!", health_interval=OFTEN) as c:
        first, second = await_probes(c, 2).log[:2]
        assert first.exit_code == second.exit_code == 0
        assert int(first.output) < int(second.output)


def test_a_paused_container_is_not_probed_and_keeps_what_was_found(engine: Engine) -> None:
    with engine.run("host", IDLE, health_cmd="true", health_interval=OFTEN, health_timeout=0.1) as c:
        await_probes(c, 1)
        c.pause()
        begun = time.time()
        time.sleep(2 * OFTEN)
        assert c.health.status == "healthy"
        assert c.health.log[-1].started_at.timestamp() < begun
        ended = time.time()
        c.unpause()
        again = await_probe_after(c, ended)
        assert [probe.exit_code for probe in again.log] == [0] * len(again.log)
        assert not [probe for probe in again.log if begun < probe.started_at < ended]


def test_time_that_a_probe_stood_still_does_not_count(engine: Engine) -> None:
    with engine.run(
        "host", IDLE, health_cmd="touch /tmp/begun; sleep 0.3", health_interval=OFTEN, health_timeout=0.5
    ) as c:
        c.exec(["sh", "-c", "until test -e /tmp/begun; do sleep 0.01; done"], check=True)
        c.pause()
        time.sleep(0.8)
        c.unpause()
        assert await_probes(c, 1).log[0].exit_code == 0


def test_an_end_while_a_probe_runs_is_no_failure_of_it(engine: Engine) -> None:
    with engine.run("host", IDLE, health_cmd="touch /tmp/begun; sleep 1000", health_interval=OFTEN) as c:
        c.exec(["sh", "-c", "until test -e /tmp/begun; do sleep 0.01; done"], check=True)
        c.kill()
        assert c.wait(timeout=PATIENCE) == 137
        assert c.health == Health("unhealthy")


def test_each_start_begins_anew(engine: Engine) -> None:
    with engine.run("host", IDLE, health_cmd="false", health_interval=OFTEN, health_retries=1) as c:
        await_state(c, lambda health: health.status == "unhealthy")
        c.stop(timeout=0)
        assert c.health.status == "unhealthy"
        moment = time.time()
        c.start()
        (first, *_) = [probe for probe in await_probe_after(c, moment).log if probe.started_at > moment]
        assert first.exit_code == 1
        c.stop(timeout=0)
        streak = c.health.failing_streak
        assert streak == sum(probe.started_at.timestamp() > moment for probe in c.health.log) or streak >= 5


def test_the_restart_policy_begins_anew_too_and_the_wait_goes_on(engine: Engine) -> None:
    script = "test -e /ran && exec sleep 1000; touch /ran; sleep 0.2; exit 1"
    with engine.run(
        "host",
        ["sh", "-c", script],
        restart="always",
        health_cmd="test -e /ran && test $(cat /proc/1/comm) = sleep",
        health_interval=OFTEN,
        health_retries=1000,
        wait=wait.healthy(timeout=PATIENCE),
    ) as c:
        assert c.restart_count == 1
        assert c.health.status == "healthy"


def test_probes_leave_nothing_in_the_monitor(engine: Engine) -> None:
    with engine.run(
        "host", IDLE, health_cmd="echo $$", health_interval=0.001, health_retries=10_000, health_timeout=PATIENCE
    ) as c:
        await_probes(c, 5)
        status = Path(f"/proc/{c.pid}/status").read_text()
        monitor = int(status.partition("PPid:")[2].split()[0])

        def descriptors() -> int:
            c.pause()  # no probe begins or ends meanwhile
            try:
                return len(list(Path(f"/proc/{monitor}/fd").iterdir()))
            finally:
                c.unpause()

        counts = []
        for _ in range(12):
            counts.append(descriptors())
            moment = time.time() + 0.1
            await_probe_after(c, moment)
        assert max(counts) - min(counts) <= 8, counts  # one probe may stand still, and another just begin or end


def test_who_does_not_listen_for_long_hears_the_last_of_it(engine: Engine) -> None:
    """More than a socket holds, in messages as large as they get."""
    check = "head -c 5000 /dev/zero | tr '\\0' '\\377'"
    with (
        Engine(engine.settings) as other,
        engine.run("host", IDLE, health_cmd=check, health_interval=0.001) as c,
    ):
        found = other.find(c.id)
        for _ in range(20):
            await_probe_after(c, time.time())
        moment = time.time()
        last = await_probe_after(found, moment)
        assert [len(probe.output) for probe in last.log] == [4096 + len("...")] * 5
        assert found.health.log[0].output == 4096 * "\N{REPLACEMENT CHARACTER}" + "..."


def parsed(options: HealthOptions, image: Healthcheck | None = None, **config: object) -> HealthCheck | None:
    return parse_health_check(
        Image("", "example", ImageConfig("amd64", "linux", healthcheck=image, **config), None),  # type: ignore[arg-type]
        options,
    )


def test_defaults_are_dockers() -> None:
    assert parsed({"health_cmd": "true"}) == HealthCheck(("/bin/sh", "-c", "true"), 30.0, 30.0, 0.0, 5.0, 3)
    assert parsed({}, Healthcheck(("CMD", "a", "b"), retries=-1)) == HealthCheck(("a", "b"))


def test_options_win_over_the_image_one_by_one() -> None:
    image = Healthcheck(("CMD-SHELL", "check"), 10**9, 2 * 10**9, 3 * 10**9, 4 * 10**9, 5)
    assert parsed({}, image, shell=("/bin/bash", "-ec")) == HealthCheck(("/bin/bash", "-ec", "check"), 1, 2, 3, 4, 5)
    assert parsed({"health_cmd": ["x"], "health_timeout": "1m30s"}, image) == HealthCheck(("x",), 1, 90, 3, 4, 5)
    assert parsed(
        {"health_interval": 0.5, "health_start_period": 7, "health_start_interval": "250ms", "health_retries": 9}, image
    ) == HealthCheck(("/bin/sh", "-c", "check"), 0.5, 2, 7, 0.25, 9)
    assert parsed({"health_interval": 0, "health_retries": 0}, image) == parsed({}, image)


@pytest.mark.parametrize("test", [("NONE",), (), ("CMD",), ("UNKNOWN", "x")])
def test_an_image_may_say_that_there_is_none(test: tuple[str, ...]) -> None:
    assert parsed({}, Healthcheck(test)) is None


def test_no_healthcheck_takes_the_images_away() -> None:
    assert parsed({"no_healthcheck": True}, Healthcheck(("CMD", "x"))) is None
    with pytest.raises(InvalidSpecError, match="no health_retries beside it"):
        parsed({"no_healthcheck": True, "health_retries": 2})


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"health_interval": -1}, "1ms is the least"),
        ({"health_interval": "-1s"}, "seconds, or a text such as 1m30s"),
        ({"health_timeout": "5"}, "seconds, or a text such as 1m30s"),
        ({"health_timeout": 0.0001}, "1ms is the least"),
        ({"health_start_period": True}, "seconds, or a text"),
        ({"health_start_interval": [1]}, "seconds, or a text"),
        ({"health_start_interval": float("inf")}, "seconds, or a text"),
        ({"health_interval": float("nan")}, "seconds, or a text"),
        ({"health_retries": -1}, "a number from 1"),
        ({"health_retries": "3"}, "a number from 1"),
        ({"health_cmd": ["a\0"]}, "NUL"),
        ({"health_cmd": ()}, "at least the name of a program"),
        ({"health_cmd": 5}, "words as a shell splits them"),
        ({"no_healthcheck": "yes"}, "True or False"),
    ],
)
def test_what_is_no_health_check(options: HealthOptions, problem: str) -> None:
    with pytest.raises(InvalidSpecError, match=problem):
        parsed({"health_cmd": "true", **options})


def test_settings_of_a_check_that_there_is_not() -> None:
    with pytest.raises(InvalidSpecError, match=r"health_interval.*a health_cmd: 'example' has none"):
        parsed({"health_interval": 5})
