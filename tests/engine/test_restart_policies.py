"""Containers that start again by themselves, in real: what counts as an end, how long they wait, what ends them."""

from __future__ import annotations

import socket
from itertools import pairwise

import pytest

from pytest_pycontainer import Container, Engine, wait
from pytest_pycontainer.errors import (
    ContainerNotRunningError,
    ContainerRunningError,
    InvalidSpecError,
    WaitTimeoutError,
)
from pytest_pycontainer.runtime.state import ContainerState

PATIENCE = 60.0
COUNT = "echo run >> /runs; date +%s.%N; "


def await_state(container: Container, status: str, restarts: int) -> ContainerState:
    """Waits for what is told of the container."""
    state = container._connection.await_state(
        lambda state: state.status == status and state.restarts >= restarts, PATIENCE
    )
    assert state is not None, container
    return state


def runs(container: Container) -> int:
    return container.read("/runs").count(b"run")


@pytest.mark.parametrize("policy", ["always", "unless-stopped", "on-failure"])
def test_it_starts_again_and_waits_longer_each_time(engine: Engine, policy: str) -> None:
    with engine.run("host", ["sh", "-c", COUNT + "exit 3"], restart=policy) as c, Engine(engine.settings) as other:
        found = other.find(c.id)
        state = await_state(c, "restarting", 4)
        assert await_state(found, "restarting", 4).exit_code == 3
        assert (state.exit_code, state.pid) == (3, 0)
        assert c.started_at is not None
        assert c.finished_at is not None
        assert c.started_at <= c.finished_at
        moments = [float(line) for line in c.logs().splitlines()][:4]
        pauses = [later - earlier for earlier, later in pairwise(moments)]
        assert all(pause >= 0.1 * 2**place for place, pause in enumerate(pauses)), pauses
        with pytest.raises(WaitTimeoutError):
            c.wait(0)
        with pytest.raises(ContainerRunningError):
            c.remove()
        c.stop(timeout=0)
        assert (c.status, found.status) == ("exited", "exited")


def test_on_failure_gives_up_and_a_success_is_none(engine: Engine) -> None:
    with engine.run("host", ["sh", "-c", COUNT + "exit 3"], restart="on-failure:2") as c:
        assert c.wait(PATIENCE) == 3  # once it is not started again any more
        assert (c.status, c.restart_count, runs(c)) == ("exited", 2, 3)
        c.start()  # by hand: counted from the beginning
        assert c.wait(PATIENCE) == 3
        assert (c.restart_count, runs(c)) == (2, 6)
    script = COUNT + "[ $(wc -l < /runs) = 2 ]"
    with engine.run("host", ["sh", "-c", script], restart="on-failure") as c:
        assert c.wait(PATIENCE) == 0
        assert (c.restart_count, runs(c)) == (1, 2)


def test_the_count_is_of_the_last_start_by_hand(engine: Engine) -> None:
    with engine.run("host", ["sh", "-c", COUNT + "[ -e /stay ] && exec sleep 1000"], restart="on-failure:1") as c:
        assert c.wait(PATIENCE) == 1
        assert c.restart_count == 1
        c.write("/stay", b"")
        c.start()
        assert (c.status, c.restart_count) == ("running", 0)


@pytest.mark.parametrize("end", ["stop", "kill", "stop signal"])
def test_who_ends_it_ends_its_restarts(engine: Engine, end: str) -> None:
    script = "trap 'exit 5' INT TERM; " + COUNT + "while :; do sleep 0.01; done"
    with engine.run("host", ["sh", "-c", script], restart="always", stop_signal="SIGINT", wait=wait.log(".")) as c:
        c.stop(timeout=PATIENCE) if end == "stop" else c.kill("SIGKILL" if end == "kill" else "SIGINT")
        assert c.wait(PATIENCE) == (137 if end == "kill" else 5)
        assert c.status == "exited"
        c.start()  # and by hand it has its policy again
        wait.log(".", times=2).until_ready(c, PATIENCE)
        c.kill("SIGTERM")  # no signal that is meant to end it for good
        await_state(c, "running", 1)


@pytest.mark.parametrize("end", ["stop", "kill", "remove", "restart"])
def test_one_that_is_between_two_runs(engine: Engine, end: str) -> None:
    with engine.run("host", ["sh", "-c", COUNT + "exit 3"], restart="always") as c:
        await_state(c, "restarting", 4)
        before = c._connection.state.runs
        for call in (c.pause, lambda: c.exec("true"), lambda: c.kill("SIGUSR1")):
            with pytest.raises(ContainerNotRunningError, match="it is restarting"):
                call()
        with pytest.raises(ContainerRunningError):
            c.start()
        if end == "stop":
            assert c.stop() == 3
        elif end == "kill":
            c.kill()
            assert c.wait(PATIENCE) == 3
        elif end == "remove":
            c.remove(force=True)
        else:
            c.restart()
            await_state(c, "restarting", 1)
            assert c._connection.state.runs > before
            return
        assert c.status == ("removed" if end == "remove" else "exited")
        assert c._connection.state.runs == before


SERVER = """
import pathlib, socket
count = pathlib.Path("/count")
number = int(count.read_text()) if count.exists() else 1
count.write_text(str(number + 1))
with socket.create_server(("", 80)) as server:
    connection, _ = server.accept()
    connection.sendall(str(number).encode())
    connection.close()
"""


def test_address_and_ports_stay_through_restarts(engine: Engine) -> None:
    with engine.run("host", ["python3", "-c", SERVER], restart="always", ports=[80]) as c:
        address = c.address(80)
        for number in range(1, 4):
            # The server answers once in each run, and what waits for its port would be answered.
            await_state(c, "running", number - 1)
            answer = b""
            while not answer:
                try:
                    with socket.create_connection(address, PATIENCE) as connection:
                        answer = connection.recv(100)
                except (ConnectionRefusedError, ConnectionResetError):
                    assert not c.exited_within(0.005)
            assert answer == str(number).encode()
        assert c.address(80) == address


def test_what_can_not_be_started_any_more_stays_exited(engine: Engine) -> None:
    with engine.create("host", ["/srv/program"], restart="always") as c:
        c.write("/srv/program", b"#!/bin/sh\nrm /srv/program; exit 3\n", mode=0o755)
        c.start()
        assert c.wait(PATIENCE) == 127
        assert (c.status, c.error) == ("exited", "exec: No such file or directory")


@pytest.mark.parametrize("policy", ["sometimes", "on-failure:", "on-failure:x", "always:3", "on-failure:-1", 3])
def test_what_is_no_policy(engine: Engine, policy: str) -> None:
    with pytest.raises(InvalidSpecError, match="restart"):
        engine.create("host", ["true"], restart=policy)
