"""The memcached service, over Debian's server with the official image's contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from pytest_pycontainer import Engine, Image, services
from tests.services.conftest import SECONDS


@pytest.fixture
def server(engine: Engine, debian_image: Callable[[str], Image]) -> Iterator[services.Memcached]:
    with engine.service(services.memcached(image=debian_image("memcached")), ["-m", "7"], timeout=SECONDS) as server:
        yield server


def test_it_is_ready_to_be_written_to_and_read(server: services.Memcached) -> None:
    with closing(server.client()) as client:
        client.set("greeting", "hello")
        assert client.get("greeting") == b"hello"


def test_flags_are_the_servers(server: services.Memcached) -> None:
    with closing(server.client()) as client:
        assert client.stats()[b"limit_maxbytes"] == 7 << 20


def test_a_restart_forgets(server: services.Memcached) -> None:
    with closing(server.client()) as client:
        client.set("forgotten", "1")
    server.restart()
    server.wait_for(services.memcached().wait, SECONDS)
    with closing(server.client()) as client:
        assert client.get("forgotten") is None


def test_its_address_is_told(server: services.Memcached) -> None:
    assert server.url == f"memcached://127.0.0.1:{server.port()}"
    assert server.env == {"MEMCACHED_SERVERS": f"127.0.0.1:{server.port()}"}
    assert server.internal_env == {"MEMCACHED_SERVERS": f"{server.name}:11211"}
