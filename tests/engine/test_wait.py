"""Waits: what each waits for, what it says when that does not happen, and several at once."""

from __future__ import annotations

import pickle
import re
import threading
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer import Container, Engine, wait
from pytest_pycontainer.engine.default_wait import ChosenWait, DefaultWait
from pytest_pycontainer.errors import (
    CommandNotFoundError,
    ContainerExitedError,
    ContainerNotReadyError,
    ContainerNotRunningError,
    ContainerUnhealthyError,
    InvalidSpecError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_pycontainer.engine.readiness import Wait

PATIENCE = 60.0
SOON = 0.05

SERVE = """
import socket, sys, time
kept = []
for address, port in (one.rsplit(":", 1) for one in sys.argv[1:]):
    if port.endswith("u"):
        kept.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        kept[-1].bind((address, int(port[:-1])))
    else:
        kept.append(socket.create_server((address, int(port))))
time.sleep(1000)
"""


def server(*addresses: str) -> list[str]:
    return ["python3", "-c", SERVE, *addresses]


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


@pytest.fixture
def idle(engine: Engine, sleeper: Container) -> Container:
    return sleeper


def not_ready(container: Container, wanted: Wait) -> ContainerNotReadyError:
    with pytest.raises(ContainerNotReadyError) as raised:
        container.wait_for(wanted, SOON)
    return raised.value


def test_several_ports_and_datagrams(engine: Engine) -> None:
    everything = wait.port(8000, "8001/tcp", "53/udp", timeout=PATIENCE)
    with engine.run("host", server("0.0.0.0:8000", "127.0.0.1:8001", "0.0.0.0:53u"), wait=everything) as c:
        assert not_ready(c, wait.port(8000, 8002)).waited_for == "ports 8000, 8002 are open"
        assert "port 8002: connection refused" in not_ready(c, wait.port(8000, 8002)).last_seen
        assert "nobody takes datagrams" in not_ready(c, wait.port("54/udp")).last_seen


def test_a_port_where_nobody_listens_names_those_where_somebody_does(engine: Engine) -> None:
    with engine.run("host", server("127.0.0.1:80", "0.0.0.0:8080"), ports=[80, 81]) as c:
        c.wait_for(wait.port(8080), PATIENCE)
        seen = not_ready(c, wait.port(81)).last_seen
        assert "no process of the container listens on port 81" in seen
        assert "127.0.0.1:80/tcp (python3), 0.0.0.0:8080/tcp (python3)" in seen
        assert "python3 listens on port 80 of 127.0.0.1 alone" in not_ready(c, wait.port(80)).last_seen


def test_a_port_where_nobody_listens_at_all(idle: Container) -> None:
    assert "nor does it listen on any other" in not_ready(idle, wait.port(80)).last_seen


def test_one_stream_of_the_log(engine: Engine) -> None:
    with engine.run("host", shell("echo ready >&2; echo out; sleep 1000")) as c:
        c.wait_for(wait.log("^ready$", stream="stderr"), PATIENCE)
        c.wait_for(wait.log("out", stream="stdout"), PATIENCE)
        error = not_ready(c, wait.log("ready", stream="stdout"))
        assert error.waited_for == "its log has 'ready' in stdout"
        assert error.last_seen == "the last line 'out'"
        assert not_ready(c, wait.log("out", times=2)).last_seen.startswith("1 of 2 times; ")


def test_a_log_without_a_line(idle: Container) -> None:
    assert not_ready(idle, wait.log("x", stream="stderr")).last_seen == "nothing was written to stderr"


def test_a_command(idle: Container) -> None:
    idle.wait_for(wait.command("sh -c 'echo $COLOUR; exit 3'", exit_code=3, output="red"), PATIENCE)
    idle.wait_for(wait.command(["id", "-un"], user="nobody", output=re.compile("^nobody$", re.M)), PATIENCE)
    idle.wait_for(wait.command("echo 5", output=lambda text: int(text) > 4), PATIENCE)
    seen = wait.command("sh -c 'echo no; echo why >&2; exit 4'").look(idle, PATIENCE)
    assert seen == "exit code 4, and the output 'no\\nwhy\\n'"


def test_a_command_that_becomes_right(idle: Container) -> None:
    idle.wait_for(wait.command(shell("echo x >> /tmp/tries; test $(wc -l < /tmp/tries) -ge 3")), PATIENCE)
    assert idle.file("/tmp/tries").text == "x\nx\nx\n"


def test_a_command_that_hangs_is_killed_and_tried_again(idle: Container) -> None:
    hanging = shell("test -e /tmp/tried && exit 0; touch /tmp/tried; sleep 1000")
    idle.wait_for(wait.command(hanging, try_timeout=2.0), PATIENCE)
    assert [one.command for one in idle.processes() if one.state != "zombie"] == [("sleep", "1000")]


def test_a_command_that_the_container_does_not_have_is_said_at_once(idle: Container) -> None:
    with pytest.raises(CommandNotFoundError, match="pg_isredy"):
        idle.wait_for(wait.command("pg_isredy"), PATIENCE)


def test_a_file(engine: Engine) -> None:
    script = "echo half > /tmp/f; ln -s missing /tmp/l; read go; echo whole > /tmp/f; sleep 1000"
    with engine.run("host", shell(script), stdin_open=True) as c, c.attach() as session:
        c.wait_for(wait.file("/tmp/f") & wait.file("/tmp"), PATIENCE)
        c.wait_for(wait.file("/tmp/f", text=re.compile("^half$", re.M)), PATIENCE)
        assert not_ready(c, wait.file("/tmp/f", text="whole")).last_seen == "the text 'half\\n'"
        assert not_ready(c, wait.file("/tmp/n")).last_seen == "no such file"
        c.wait_for(wait.until(lambda c: c.file("/tmp/l").is_link), PATIENCE)
        assert not_ready(c, wait.file("/tmp/l")).last_seen == "a link to missing, where nothing is"
        assert not_ready(c, wait.file("/tmp", text="x")).last_seen == "it is no regular file"
        session.write("\n")
        c.wait_for(wait.file("/tmp/f", text="whole"), PATIENCE)


def test_the_end(engine: Engine, idle: Container) -> None:
    with engine.run("host", shell("exit 3")) as c:
        c.wait_for(wait.exit(3), PATIENCE)
        c.wait_for(wait.exit((2, 3)), PATIENCE)
        c.wait_for(wait.exit(None), PATIENCE)
        with pytest.raises(ContainerExitedError, match="exited with code 3 before it exits with code 0"):
            c.wait_for(wait.exit(), PATIENCE)
    assert not_ready(idle, wait.exit()).last_seen == "it is running"


def test_whatever_a_function_finds(idle: Container) -> None:
    seen: list[Container] = []

    def three_times(container: Container) -> int:
        seen.append(container)
        return len(seen) // 3

    idle.wait_for(wait.until(three_times), PATIENCE)
    assert seen == [idle] * 3
    error = not_ready(idle, wait.until(lambda c: c.labels["missing"], "the key is there"))
    assert (error.waited_for, error.last_seen) == ("the key is there", "KeyError: 'missing'")
    error = not_ready(idle, wait.until(lambda c: 0))
    assert (error.waited_for, error.last_seen) == ("<lambda> returns true", "it returned 0")


def test_what_is_no_error_of_a_function_is_not_taken_for_one(idle: Container) -> None:
    def interrupted(_: Container) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        idle.wait_for(wait.until(interrupted), PATIENCE)


@pytest.mark.parametrize(
    "wanted",
    [
        wait.port(80),
        wait.port("80/udp"),
        wait.log("never"),
        wait.http("/", 80),
        wait.command("false"),
        wait.file("/never"),
        wait.exit(0),
        wait.until(lambda c: False),
        wait.all_of(wait.file("/etc"), wait.port(80)),
        wait.any_of(wait.file("/never"), wait.port(80), wait.log("never")),
    ],
    ids=lambda wanted: type(wanted).__name__,
)
def test_a_container_that_dies_fails_at_once(engine: Engine, wanted: Wait) -> None:
    with pytest.raises(ContainerExitedError) as raised:
        engine.run("host", shell("echo bye; exit 4"), wait=wanted, timeout=10 * PATIENCE)
    assert raised.value.container_exit_code == 4
    assert raised.value.log_tail == "bye\n"
    assert not hasattr(raised.value, "__notes__"), "its message has the log"


def test_one_that_dies_while_it_is_waited_for(engine: Engine) -> None:
    with engine.run("host", shell("read go; exit 5"), stdin_open=True) as c, c.attach() as session:
        errors: list[ContainerExitedError] = []

        def wait_for_never() -> None:
            with pytest.raises(ContainerExitedError) as raised:
                c.wait_for(wait.port(80) | wait.file("/never"), 10 * PATIENCE)
            errors.append(raised.value)

        thread = threading.Thread(target=wait_for_never)
        thread.start()
        session.write("\n")
        thread.join(PATIENCE)
        assert [error.container_exit_code for error in errors] == [5]


def test_all_have_one_time_and_the_one_that_is_missing_is_named(idle: Container) -> None:
    both = wait.all_of(wait.file("/etc"), wait.file("/never"), timeout=SOON)
    with pytest.raises(ContainerNotReadyError, match=r"not within 0\.05 s: there is '/never'"):
        idle.wait_for(both, PATIENCE)
    own = wait.file("/etc") & wait.file("/never", timeout=SOON)
    with pytest.raises(ContainerNotReadyError, match=r"not within 0\.05 s: there is '/never'"):
        idle.wait_for(own, PATIENCE)


def test_any_is_enough(engine: Engine, idle: Container) -> None:
    idle.wait_for(wait.port(80) | wait.file("/etc"), PATIENCE)
    idle.wait_for(wait.any_of(wait.port(80), wait.all_of(wait.file("/etc"), wait.command("true"))), PATIENCE)
    with engine.run("host", shell("sleep 0.3"), wait=wait.port(80) | wait.exit(0), timeout=PATIENCE) as c:
        assert c.exit_code == 0
    error = not_ready(idle, wait.port(80) | (wait.file("/etc") & wait.file("/never")))
    assert error.waited_for == "port 80 accepts a connection or there is '/etc' and there is '/never'"
    assert "not yet: there is '/never' (no such file)" in error.last_seen
    assert "no process of the container listens on port 80" in error.last_seen


def test_one_that_failed_leaves_it_to_the_others(engine: Engine) -> None:
    sick = {"health_cmd": "false", "health_interval": 0.01, "health_retries": 1}
    with engine.run("host", "sleep 1000", **sick) as c:  # type: ignore[arg-type]
        with pytest.raises(ContainerUnhealthyError):
            c.wait_for(wait.healthy(), PATIENCE)
        c.wait_for(wait.healthy() | wait.file("/etc"), PATIENCE)
        with pytest.raises(ContainerUnhealthyError):
            c.wait_for(wait.healthy() | wait.healthy(), PATIENCE)


class Elsewhere:
    """A wait that has nothing of ours."""

    def __init__(self, error: str = "") -> None:
        self.error = error

    def until_ready(self, container: Container, timeout: float) -> None:
        if self.error:
            raise ContainerNotReadyError(container.name, self.error, timeout, "")

    def __repr__(self) -> str:
        return "Elsewhere()"


def test_waits_of_others_among_ours(idle: Container) -> None:
    idle.wait_for(wait.all_of(wait.file("/etc"), Elsewhere()), PATIENCE)
    idle.wait_for(wait.port(80) | Elsewhere(), PATIENCE)
    error = not_ready(idle, wait.port(80) | Elsewhere("the stars are right"))
    assert error.waited_for == "port 80 accepts a connection or Elsewhere()"
    assert "not yet: the stars are right" in error.last_seen
    with pytest.raises(ContainerNotReadyError, match="the stars are right"):
        idle.wait_for(wait.file("/etc") & Elsewhere("the stars are right"), PATIENCE)


def test_nothing_is_waited_for_of_what_was_never_started(engine: Engine) -> None:
    with engine.create("host", "sleep 1000") as c:
        for wanted in (wait.port(80), wait.file("/etc"), wait.exit(), wait.log("x"), wait.port(80) | wait.exit()):
            with pytest.raises(ContainerNotRunningError):
                c.wait_for(wanted, SOON)


def test_one_that_is_paused(idle: Container) -> None:
    idle.pause()
    assert not_ready(idle, wait.command("true")).last_seen == "it is paused"
    idle.unpause()
    idle.wait_for(wait.command("true"), PATIENCE)


def test_the_error_travels(idle: Container) -> None:
    error = not_ready(idle, wait.port(80))
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert f"what was seen last: {error.last_seen}" in str(error)


def test_what_is_waited_for_by_default(engine: Engine) -> None:
    nothing, one = DefaultWait.of(None), DefaultWait.of(["80/udp", 8000])
    exposing = engine.build({"Dockerfile": "FROM host\nEXPOSE 8001 8000 53/udp\n"})
    with engine.run("host", "sleep 1000") as c:
        assert nothing.chosen(c) is None
        assert one.chosen(c) == ChosenWait(wait.port(8000), "published ports")
        nothing.until_ready(c, SOON)
    with engine.run(exposing, server("0.0.0.0:8000")) as c:
        assert nothing.chosen(c) == ChosenWait(wait.port(8000) | wait.port(8001), "image's exposed ports")
        nothing.until_ready(c, PATIENCE)
        with pytest.raises(ContainerNotReadyError) as raised:
            DefaultWait.of([9]).until_ready(c, SOON)
        (note,) = raised.value.__notes__
        assert note.startswith("Its published ports said what to wait for, since no wait was given; wait=None")
    with engine.run(exposing, "sleep 1000", health_cmd="true", health_interval=0.01) as c:
        assert one.chosen(c) == ChosenWait(wait.healthy(), "health check")


@pytest.mark.parametrize(
    ("wrong", "wanted"),
    [
        (lambda: wait.port(), "at least one"),
        (lambda: wait.port("eighty"), "PORT"),
        (lambda: wait.log("x", times=0), "a number from 1"),
        (lambda: wait.log("x", stream="both"), "'stdout', 'stderr', or None"),  # type: ignore[arg-type]
        (lambda: wait.log("["), "a regular expression"),
        (lambda: wait.http("health"), "a path that begins with '/'"),
        (lambda: wait.http("/a b"), "quoted as in a URL"),
        (lambda: wait.http("/", "53/udp"), "a TCP port"),
        (lambda: wait.http("/", status=1000), "from 100 to 599"),
        (lambda: wait.http("/", status=()), "from 100 to 599"),
        (lambda: wait.http("/", body=3), "a text, a compiled pattern of text, or"),  # type: ignore[arg-type]
        (lambda: wait.http("/", method="GET /"), "one of HTTP's"),
        (lambda: wait.http("/", verify=False), "tls=True"),
        (lambda: wait.http("/", tls=True, verify="/nowhere"), "a file of certificates"),
        (lambda: wait.http("/", try_timeout=float("nan")), "seconds"),
        (lambda: wait.http("/", host="a b"), "a host's name"),
        (lambda: wait.http("/", content=3), "text, or bytes"),  # type: ignore[arg-type]
        (lambda: wait.http("/", headers={"a": "b\nc"}), "a text of one line"),
        (lambda: wait.http("/", headers={"a b": "c"}), "a name and"),
        (lambda: wait.http("/", headers={1: "c"}), "a name and"),  # type: ignore[dict-item]
        (lambda: wait.command("true", user=1.5), "user"),  # type: ignore[arg-type]
        (lambda: wait.until(lambda: True), "a function of the container"),  # type: ignore[misc, arg-type]
        (lambda: wait.command(""), "at least the name of a program"),
        (lambda: wait.command("true", exit_code=256), "from 0 to 255"),
        (lambda: wait.command("true", output=3), "a text, a compiled pattern of text, or"),  # type: ignore[arg-type]
        (lambda: wait.file(""), "a path in the container"),
        (lambda: wait.file("/x", text=re.compile(b"x")), "a compiled pattern of text"),  # type: ignore[arg-type]
        (lambda: wait.exit("1"), "from 0 to 255"),  # type: ignore[arg-type]
        (lambda: wait.until(3), "a function of the container"),  # type: ignore[arg-type]
        (lambda: wait.until(wait.port(80)), "a function of the container"),  # type: ignore[arg-type]
        (lambda: wait.all_of(), "at least one"),
        (lambda: wait.any_of(wait.port(80), 3), "something such as wait.port"),  # type: ignore[arg-type]
        (lambda: wait.any_of(wait.port(80, timeout=3), wait.port(81)), r"any_of\(…, timeout=…\)"),
        (lambda: wait.port(80, timeout=float("nan")), "seconds"),
    ],
)
def test_what_can_not_be_meant_is_said_by_the_call(wrong: Callable[[], Wait], wanted: str) -> None:
    with pytest.raises(InvalidSpecError, match=wanted):
        wrong()


def test_no_coroutine_is_waited_for() -> None:
    async def ready(container: Container) -> bool:
        return True

    with pytest.raises(InvalidSpecError, match="no coroutine"):
        wait.until(ready)


def test_what_is_no_wait(idle: Container) -> None:
    for wrong in (3, lambda c: True, wait.Wait, None):
        with pytest.raises(InvalidSpecError, match=r"wait\.port\(80\)"):
            idle.wait_for(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        wait.port(80) & 3  # type: ignore[operator]
    with pytest.raises(InvalidSpecError, match="one of the engine's named waits"):
        idle.wait_for("healthy")
