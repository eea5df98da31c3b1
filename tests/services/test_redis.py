"""The Redis service, over Debian's server with the official image's contract."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
import redis as library
from redis.backoff import NoBackoff
from redis.retry import Retry

from pytest_pycontainer import Engine, Image, services
from tests.services.conftest import SECONDS

AWKWARD = "p ä/@:%\"'"


@pytest.fixture(scope="module")
def image(debian_image: Callable[[str], Image]) -> Image:
    return debian_image("redis")


@pytest.fixture
def server(engine: Engine, image: Image) -> Iterator[services.Redis]:
    with engine.service(services.redis(image=image), timeout=SECONDS) as server:
        yield server


def test_it_is_ready_to_be_written_to_and_read(server: services.Redis) -> None:
    with server.client(decode_responses=True) as client:
        client.set("greeting", "hello")
        assert client.get("greeting") == "hello"
    assert server.password is None


def test_it_keeps_its_data_over_a_restart(server: services.Redis) -> None:
    with server.client() as client:
        client.set("kept", "1")
        client.save()
    server.restart()
    server.wait_for(services.redis().wait, SECONDS)
    with server.client() as client:
        assert client.get("kept") == b"1"


def test_its_url_is_one_that_libraries_take(server: services.Redis) -> None:
    assert server.url == f"redis://127.0.0.1:{server.port()}"
    assert server.env == {"REDIS_URL": server.url}
    with library.Redis.from_url(server.url) as client:
        assert client.ping()


def test_a_password_is_wanted_of_everyone(engine: Engine, image: Image) -> None:
    with engine.service(services.redis(image=image, password=AWKWARD), timeout=SECONDS) as server:
        assert server.password == AWKWARD
        with server.client() as client, library.Redis.from_url(server.url) as by_url:
            assert client.ping()
            assert by_url.ping()
        once = Retry(NoBackoff(), 0)
        with library.Redis(*server.address(), retry=once) as stranger, pytest.raises(library.AuthenticationError):
            stranger.ping()
        wrong = library.Redis(*server.address(), password="wrong", retry=once)
        with wrong as stranger, pytest.raises(library.AuthenticationError):
            stranger.ping()


def test_another_container_finds_it_by_its_internal_url(engine: Engine, server: services.Redis) -> None:
    assert server.internal_url == f"redis://{server.name}:6379"
    command = ["sh", "-c", f"redis-cli -u $REDIS_URL set from {os.getpid()}"]
    with engine.run(server.image, command, env=server.internal_env) as other:
        assert other.wait(SECONDS) == 0, other.log_tail()
    with server.client(decode_responses=True) as client:
        assert client.get("from") == str(os.getpid())


def test_what_the_caller_says_is_added_to_the_service(engine: Engine, image: Image) -> None:
    service = services.redis(image=image)
    with engine.service(
        service, ["--port", "6379", "--save", ""], ports={9999: None}, name="mine", env={"A": "b"}
    ) as server:
        assert server.name == "mine"
        assert server.exec(["printenv", "A"]).stdout == "b\n"
        assert server.port(9999) != server.port() == server.address()[1]
        with server.client() as client:
            assert client.config_get("save") == {"save": ""}
    with engine.service(service, ports={6379: ("127.0.0.1", None)}) as server, server.client() as client:
        assert client.ping()
