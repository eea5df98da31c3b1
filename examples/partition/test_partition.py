"""A Redis replica that loses its primary, and finds it again: what a service does when its network fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from redis import Redis

from pytest_pycontainer import Container, Engine, Image, Network, build, wait

redis_image = build("../redis")

SERVER = ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--repl-diskless-sync-delay", "0"]


@pytest.fixture
def network(pycontainer: Engine) -> Iterator[Network]:
    with pycontainer.network() as network:
        yield network


@pytest.fixture
def primary(pycontainer: Engine, redis_image: Image, network: Network) -> Iterator[Container]:
    with pycontainer.run(redis_image, SERVER, network=network, ports=[6379], wait=wait.port(6379)) as primary:
        yield primary


@pytest.fixture
def replica(pycontainer: Engine, redis_image: Image, network: Network, primary: Container) -> Iterator[Container]:
    command = [*SERVER, "--replicaof", primary.ip_address, "6379"]
    in_step = wait.log("sync: Finished with success")
    with pycontainer.run(redis_image, command, network=network, ports=[6379], wait=in_step) as replica:
        yield replica


def client(container: Container) -> closing[Redis]:
    host, port = container.address(6379)
    return closing(Redis(host=host, port=port, decode_responses=True))


def test_a_replica_catches_up_after_a_partition(network: Network, primary: Container, replica: Container) -> None:
    with client(primary) as at_primary, client(replica) as at_replica:
        at_primary.set("told", "before")
        assert at_primary.wait(1, 10_000) == 1
        assert at_replica.get("told") == "before"

        with network.partition(primary, replica):
            at_primary.set("told", "meanwhile")
            assert at_primary.wait(1, 100) == 0
            at_replica.client_kill_filter(_type="master")  # instead of waiting for repl-timeout, which is a minute
            assert at_replica.get("told") == "before"
            assert at_replica.info("replication")["master_link_status"] == "down"

        assert at_primary.wait(1, 30_000) == 1
        assert at_replica.get("told") == "meanwhile"
