"""A snapshot of a service's container: the same service begins with its data each time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pytest_pycontainer import Engine, Image, services
from tests.services.conftest import SECONDS


@pytest.fixture(scope="module")
def migrated(engine: Engine, debian_image: Callable[[str], Image]) -> Iterator[Image]:
    service = services.postgresql(image=debian_image("postgresql"), database="shop")
    with engine.service(service, timeout=SECONDS) as server:
        with server.client() as connection:
            connection.execute("create table goods (name text); insert into goods values ('tea')")
        server.stop()
        image = server.commit(volumes=True)
    yield image
    engine.remove(image)


@pytest.mark.parametrize("name", ["coffee", "milk"])
def test_a_database_is_fresh_for_every_test(engine: Engine, migrated: Image, name: str) -> None:
    with engine.service(services.postgresql(image=migrated, database="shop"), timeout=SECONDS) as server:
        with server.client() as connection:
            connection.execute("insert into goods values (%s)", [name])
            assert connection.execute("select name from goods").fetchall() == [("tea",), (name,)]
        assert "database system was shut down" in server.logs()


def test_of_a_running_redis_what_it_has_saved_is_there(engine: Engine, debian_image: Callable[[str], Image]) -> None:
    with engine.service(services.redis(image=debian_image("redis")), timeout=SECONDS) as server:
        with server.client() as client:
            client.set("kept", "1")
            client.save()
        image = server.commit(volumes=True)
        assert server.status == "running"
    with engine.service(services.redis(image=image), timeout=SECONDS) as again, again.client() as client:
        assert client.get("kept") == b"1"
    engine.remove(image)
