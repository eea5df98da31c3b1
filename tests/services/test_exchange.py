"""Waiting for a server's answer in its own protocol."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from pytest_pycontainer import Container, Engine, wait
from pytest_pycontainer.engine.service import Service
from pytest_pycontainer.errors import ContainerExitedError, ContainerNotReadyError
from pytest_pycontainer.services.exchange import Exchange
from tests.services.conftest import SECONDS

PORT = 9000
READY = Exchange(PORT, b"how are you?", re.compile(rb"\AI am (well|fine)"))

SERVER = """
import socket, sys
listener = socket.create_server(("", int(sys.argv[1])))
for answer in sys.argv[2:]:
    connection, _ = listener.accept()
    if answer != "silence":
        connection.recv(100)
        for part in answer.split("|"):
            connection.sendall(part.encode())
    connection.close()
print("nobody answers any more", flush=True)
"""

Serve = Callable[..., Container]


@pytest.fixture
def serve(engine: Engine) -> Serve:
    """Runs a server that has an answer for each connection, and waits for what READY is."""

    def serve(
        *answers: str,
        port: int = PORT,
        then: str = "sleep 1000",
        timeout: float = SECONDS,
        published: bool = True,
    ) -> Container:
        command = ["sh", "-c", f'python3 -c "$0" "$@"; {then}', SERVER, str(port), *answers]
        if published:
            return engine.service(Service(Container, "host", PORT, READY), command, timeout=timeout)
        return engine.run("host", command, wait=READY, timeout=timeout)

    return serve


@pytest.mark.parametrize("published", [True, False])
def test_it_waits_until_the_answer_is_the_right_one(serve: Serve, published: bool) -> None:
    with serve("silence", "who?", "I am not", "I am |well", published=published) as container:
        # It has come to its last answer.
        container.wait_for(wait.log("nobody answers any more"), SECONDS)


def test_a_container_that_exits_is_not_waited_for(serve: Serve) -> None:
    with pytest.raises(ContainerExitedError, match="the server at port 9000 answers") as raised:
        serve("who?", then="exit 3")
    assert raised.value.container_exit_code == 3
    assert "nobody answers any more" in str(raised.value)


def test_what_it_said_last_is_told_when_time_is_up(serve: Serve) -> None:
    # Within the shorter of these a loaded machine may have heard nothing.
    for seconds in (0.5, 5, SECONDS):
        with pytest.raises(ContainerNotReadyError, match="the server at port 9000 answers") as raised:
            serve(*["who?"] * 10000, timeout=seconds)
        if raised.value.last_seen == "it said b'who?'":
            break
    assert raised.value.last_seen == "it said b'who?'"


def test_a_server_that_listens_elsewhere_is_named(serve: Serve) -> None:
    for seconds in (0.5, 5, SECONDS):
        with pytest.raises(ContainerNotReadyError) as raised:
            serve("who?", port=9001, timeout=seconds)
        if "9001" in raised.value.last_seen:
            break
    assert "no process of the container listens on port 9000" in raised.value.last_seen
