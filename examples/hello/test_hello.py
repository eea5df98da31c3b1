"""The smallest container: this machine's own root file system, and a command."""

from __future__ import annotations

from pathlib import Path

from pytest_pycontainer import Engine


def test_hello(pycontainer: Engine) -> None:
    with pycontainer.run("host", ["sh", "-c", "echo $GREETING; exit 3"], env={"GREETING": "hello"}) as container:
        assert container.wait(timeout=10) == 3
        assert container.logs() == "hello\n"


def test_what_a_container_writes_never_reaches_the_machine(pycontainer: Engine) -> None:
    with pycontainer.run("host", ["sh", "-c", "echo changed > /etc/hello && cat /etc/hello"]) as container:
        assert container.wait(timeout=10) == 0
        assert container.logs() == "changed\n"
    assert not Path("/etc/hello").exists()
