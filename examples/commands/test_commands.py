"""Running commands in a container: to their end, in a conversation, at a terminal, in the background."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pytest_pycontainer import Container, container
from pytest_pycontainer.errors import ContainerCommandFailedError

INSTALLER = """#!/bin/sh
[ -t 0 ] && stty -echo
printf 'name: '
read name
printf 'password: '
read password
[ -z "$password" ] && { echo 'no password given' >&2; exit 2; }
mkdir -p /etc/app && echo "$name:$password" > /etc/app/users
echo "welcome, $name"
"""

machine = container("host", ["sleep", "infinity"])


@pytest.fixture(autouse=True)
def installer(machine: Container) -> None:
    machine.write("/usr/local/bin/installer", INSTALLER, mode=0o755)


def test_answers_from_a_pipe(machine: Container) -> None:
    result = machine.exec("installer", stdin="ann\nsecret\n", check=True)

    assert result.stdout.endswith("welcome, ann\n")
    assert machine.read("/etc/app/users") == b"ann:secret\n"


def test_a_failure_tells_what_was_printed(machine: Container) -> None:
    with pytest.raises(ContainerCommandFailedError, match=r"exited with code 2.*\n.*no password given"):
        machine.exec("installer", stdin="ann\n\n", check=True)


def test_a_conversation_at_a_terminal(machine: Container) -> None:
    with machine.popen("installer", tty=True, size=(60, 20)) as installer:
        installer.stdout.read_until("name: ", timeout=10)
        installer.write("ben\n")
        installer.stdout.read_until("password: ", timeout=10)
        installer.write("hidden\n")
        assert installer.wait(timeout=10) == 0
        assert "hidden" not in installer.stdout.read()  # what is typed is not shown


def test_output_while_it_runs(machine: Container) -> None:
    with machine.popen(["sh", "-c", "while :; do date; sleep 0.01; done"]) as clock:
        ticks = clock.stdout.lines(timeout=10)
        assert next(ticks)
        assert next(ticks)
        clock.terminate()
        assert clock.wait(timeout=10) == 143


def test_much_output_goes_to_a_file(machine: Container, tmp_path: Path) -> None:
    with (tmp_path / "dump").open("wb") as dump:
        machine.exec("seq 1000000", stdout=dump, stderr=subprocess.DEVNULL, check=True)

    assert (tmp_path / "dump").read_text().endswith("\n1000000\n")


def test_a_service_in_the_background(machine: Container) -> None:
    with machine.popen("sleep infinity", user="nobody", detach=True) as service:
        (running,) = [process for process in machine.processes() if process.pid == service.pid]
        assert running.user == "nobody"
        assert running.command == ("sleep", "infinity")
        service.kill()
        assert service.wait(timeout=10) == 137
