"""Further processes in a running container."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from pytest_pycontainer import Container, Engine
from pytest_pycontainer.errors import (
    CommandNotExecutableError,
    CommandNotFoundError,
    ContainerNotRunningError,
    ContainerStartError,
    InvalidSpecError,
    WaitTimeoutError,
)


@pytest.fixture
def sleeper(engine: Engine) -> Iterator[Container]:
    with engine.run("host", ["sleep", "1000"], env={"COLOUR": "red"}, workdir="/var") as c:
        yield c


def test_output_error_and_exit_code(sleeper: Container) -> None:
    result = sleeper.exec(["sh", "-c", "echo out; echo err >&2; exit 4"])
    assert (result.exit_code, result.stdout, result.stderr) == (4, "out\n", "err\n")


def test_it_is_in_the_container(sleeper: Container) -> None:
    result = sleeper.exec(
        ["sh", "-c", "cat /proc/1/comm; hostname; pwd; echo $COLOUR; readlink /proc/self/ns/* | md5sum"]
    )
    comm, hostname, directory, colour, *_ = result.stdout.split()
    assert (comm, hostname, directory, colour) == ("sleep", sleeper.short_id, "/var", "red")
    kinds = "mnt net ipc uts pid cgroup"
    same = f"for n in {kinds}; do [ $(readlink /proc/self/ns/$n) = $(readlink /proc/1/ns/$n) ] && echo $n; done"
    assert sleeper.exec(["sh", "-c", same]).stdout.split() == kinds.split()


def test_user_environment_and_directory_can_be_others(sleeper: Container) -> None:
    script = "id -u; echo $COLOUR$SIZE; pwd"
    result = sleeper.exec(["sh", "-c", script], user="nobody", env={"SIZE": "-big"}, workdir="/usr")
    assert result.stdout.split() == ["65534", "red-big", "/usr"]


def test_input(sleeper: Container) -> None:
    assert sleeper.exec("cat", stdin="hello").stdout == "hello"
    large = bytes(3_000_000)
    assert sleeper.exec("cat", stdin=large).stdout_bytes == large
    assert sleeper.exec("true", stdin=large).exit_code == 0


def test_what_goes_on_in_the_background_is_not_waited_for(sleeper: Container) -> None:
    began = time.monotonic()
    assert sleeper.exec(["sh", "-c", "sleep 500 & echo started"]).stdout == "started\n"
    assert time.monotonic() - began < 60


def test_a_limit_kills_it(sleeper: Container) -> None:
    with pytest.raises(WaitTimeoutError):
        sleeper.exec("sleep 321", timeout=0.2)
    while "sleep 321" in sleeper.exec("ps ax").stdout:  # SIGKILL has been sent: it is a matter of moments
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("command", "options", "kind"),
    [
        (["no-such-program"], {}, CommandNotFoundError),
        (["/etc/passwd"], {}, CommandNotExecutableError),
        (["true"], {"user": "nobody-here"}, ContainerStartError),
        ([], {}, InvalidSpecError),
    ],
)
def test_what_can_not_be_executed(
    sleeper: Container, command: list[str], options: dict[str, str], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        sleeper.exec(command, **options)  # type: ignore[arg-type]
    assert sleeper.exec("true").exit_code == 0


def test_not_in_one_that_has_exited(engine: Engine) -> None:
    with engine.run("host", ["true"]) as c:
        c.wait(timeout=30)
        with pytest.raises(ContainerNotRunningError, match="it is exited"):
            c.exec("true")


def test_removal_ends_what_is_executed(engine: Engine) -> None:
    with engine.run("host", ["sleep", "0.3"]) as c:
        assert c.exec("sleep 1000", timeout=60).exit_code == 137
