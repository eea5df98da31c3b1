"""The ZooKeeper service, over Debian's server with what it needs of the official image's contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_pycontainer import Engine, Image, services
from tests.services.conftest import SECONDS

if TYPE_CHECKING:
    from kazoo.client import KazooClient


@contextmanager
def connected(server: services.ZooKeeper) -> Iterator[KazooClient]:
    client = server.client()
    try:
        yield client
    finally:
        client.stop()
        client.close()


def test_it_is_ready_to_be_written_to_and_read_over_a_restart(
    engine: Engine, debian_image: Callable[[str], Image]
) -> None:
    service = services.zookeeper(image=debian_image("zookeeper"))
    with engine.service(service, timeout=SECONDS) as server:
        with connected(server) as client:
            client.create("/greeting", b"hello")
        server.restart()
        server.wait_for(service.wait, SECONDS)
        with connected(server) as client:
            assert client.get("/greeting")[0] == b"hello"
        assert server.hosts == f"127.0.0.1:{server.port()}"
        assert server.env == {"ZOOKEEPER_HOSTS": server.hosts}
        assert server.internal_url == f"zookeeper://{server.name}:2181"
