"""What several tests of the engine begin with."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from pytest_pycontainer import Container, Engine

ServeAgent = Callable[[Path, Callable[[bytes], bytes]], AbstractContextManager[None]]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A build context with nothing in it."""
    directory = tmp_path / "context"
    directory.mkdir()
    return directory


@pytest.fixture
def sleeper(engine: Engine) -> Iterator[Container]:
    """A container that does nothing by itself."""
    with engine.run("host", ["sleep", "1000"], env={"COLOUR": "red"}, workdir="/var") as c:
        yield c


@pytest.fixture
def serve_agent() -> ServeAgent:
    """Has something answer on a socket, as an SSH agent does, for the length of a block."""

    @contextmanager
    def serve(path: Path, answer: Callable[[bytes], bytes]) -> Iterator[None]:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()

            def serve() -> None:
                while True:
                    try:
                        connection, _ = listener.accept()
                    except OSError:
                        return
                    with connection:
                        while data := connection.recv(1000):
                            connection.sendall(answer(data))

            thread = threading.Thread(target=serve)
            thread.start()
            try:
                yield
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()

    return serve
