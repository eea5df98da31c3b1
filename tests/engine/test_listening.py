"""``Container.listening`` and ``environment``: values to assert."""

from __future__ import annotations

import socket

import pytest

from pytest_pycontainer import Container, Engine, Listening, ListeningSocket, wait
from pytest_pycontainer.errors import ContainerNotRunningError, InvalidSpecError

PATIENCE = 60.0

SERVE = """
import socket, time
v6 = socket.socket(socket.AF_INET6)
v6.bind(("::1", 8001))
v6.listen()
taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
taken.bind(("0.0.0.0", 53))
connected = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
connected.bind(("127.0.0.1", 54))
connected.connect(("127.0.0.1", 53))
tcp = socket.create_server(("0.0.0.0", 8000))
client = socket.create_connection(("127.0.0.1", 8000))
print("ready", flush=True)
time.sleep(1000)
"""
LISTENING = (
    ListeningSocket("0.0.0.0", 8000, "tcp", "python3"),
    ListeningSocket("::1", 8001, "tcp", "python3"),
    ListeningSocket("0.0.0.0", 53, "udp", "python3"),
)


@pytest.mark.parametrize("options", [{}, {"network": "none"}, {"userns": "auto"}], ids=str)
def test_who_listens_where(engine: Engine, options: dict[str, str]) -> None:
    ready = wait.log("ready", timeout=PATIENCE)
    with engine.run("host", ["python3", "-c", SERVE], wait=ready, **options) as c:  # type: ignore[arg-type]
        listening = c.listening()
        assert tuple(listening) == LISTENING
        assert listening == Listening(LISTENING)
        assert len(listening) == 3
        assert [port in listening for port in (8000, "8001/tcp", "53/udp", LISTENING[0])] == [True] * 4
        assert [port in listening for port in (53, "54/udp", 80, ListeningSocket("::", 80, "tcp", "x"))] == [False] * 4
        assert listening[8001].address == "::1"
        with pytest.raises(KeyError):
            listening[80]
        with pytest.raises(InvalidSpecError):
            _ = "http" in listening
        expected = "<Listening 0.0.0.0:8000/tcp (python3), [::1]:8001/tcp (python3), 0.0.0.0:53/udp (python3)>"
        assert repr(listening) == expected


def test_only_its_own_in_a_network_that_is_shared(engine: Engine, sleeper: Container) -> None:
    with socket.create_server(("127.0.0.1", 0)) as local:
        port = local.getsockname()[1]
        with engine.run("host", "sleep 1000", network="host") as c:
            assert port not in c.listening()
    server = ["python3", "-c", SERVE]
    ready = wait.log("ready", timeout=PATIENCE)
    with engine.run("host", server, wait=ready) as c, engine.run("host", "sleep 9", network=f"container:{c.name}") as d:
        assert 8000 in c.listening()
        assert repr(d.listening()) == repr(sleeper.listening()) == "<Listening nowhere>"


def test_what_another_command_opens_there(sleeper: Container) -> None:
    command = [
        "python3",
        "-c",
        "import socket, sys; s = socket.create_server(('', 80)); print(1, flush=True); sys.stdin.read()",
    ]
    with sleeper.popen(command) as process:
        process.stdout.readline(timeout=PATIENCE)
        assert sleeper.listening() == Listening((ListeningSocket("0.0.0.0", 80, "tcp", "python3"),))
        process.kill()
        process.wait(PATIENCE)
    assert 80 not in sleeper.listening()


def test_the_environment(engine: Engine) -> None:
    with engine.run("host", "sleep 1000", env={"COLOUR": "red", "EMPTY": "", "EQUALS": "a=b\nc"}, hostname="h") as c:
        environment = c.environment()
        assert {name: environment[name] for name in ("COLOUR", "EMPTY", "EQUALS", "HOSTNAME")} == {
            "COLOUR": "red",
            "EMPTY": "",
            "EQUALS": "a=b\nc",
            "HOSTNAME": "h",
        }
        assert "LANG" not in environment


def test_of_what_does_not_run(engine: Engine, sleeper: Container) -> None:
    with engine.create("host", "true") as c:
        for ask in (c.listening, c.environment):
            with pytest.raises(ContainerNotRunningError):
                ask()
    sleeper.pause()
    assert sleeper.environment()["COLOUR"] == "red"
    assert 80 not in sleeper.listening()
    sleeper.unpause()
    sleeper.kill()
    sleeper.wait(PATIENCE)
    with pytest.raises(ContainerNotRunningError, match="see who listens in"):
        sleeper.listening()
