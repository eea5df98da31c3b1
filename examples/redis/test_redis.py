"""A Redis server of its own for every test, from an image that is built once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from pytest_pycontainer import Container, build, container, wait

redis_image = build(".")
redis_server = container(redis_image, ports=[6379], wait=wait.port(6379))


@pytest.fixture
def client(redis_server: Container) -> Iterator[Redis]:
    host, port = redis_server.address(6379)
    with Redis(host=host, port=port, decode_responses=True) as client:
        yield client


def test_answers(client: Redis) -> None:
    assert client.ping()


def test_keeps_what_it_is_given(client: Redis) -> None:
    client.set("greeting", "hello")
    assert client.get("greeting") == "hello"


def test_is_fresh_for_every_test(client: Redis) -> None:
    assert client.dbsize() == 0


def test_has_a_command_line_inside(redis_server: Container) -> None:
    assert redis_server.exec(["redis-cli", "ping"]).stdout == "PONG\n"
