"""Ready-made services: each function describes one, and what runs it returns a typed handle.

    database = container(services.postgresql(database="app"), scope="session")

    def test_it(database: services.PostgreSQL) -> None:
        with database.client() as connection: ...

Outside of pytest: ``with Engine() as engine, engine.service(services.redis()) as server: …``. Each is imported when it
is used.
"""

from __future__ import annotations

# Type checkers take this name for true; typing itself would be an import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_pycontainer.engine.service import Service as Service
    from pytest_pycontainer.services.etcd_server import Etcd as Etcd
    from pytest_pycontainer.services.etcd_server import etcd as etcd
    from pytest_pycontainer.services.mariadb_server import MariaDB as MariaDB
    from pytest_pycontainer.services.mariadb_server import mariadb as mariadb
    from pytest_pycontainer.services.memcached_server import Memcached as Memcached
    from pytest_pycontainer.services.memcached_server import memcached as memcached
    from pytest_pycontainer.services.mosquitto_server import Mosquitto as Mosquitto
    from pytest_pycontainer.services.mosquitto_server import mosquitto as mosquitto
    from pytest_pycontainer.services.nats_server import Nats as Nats
    from pytest_pycontainer.services.nats_server import nats as nats
    from pytest_pycontainer.services.nginx_server import Nginx as Nginx
    from pytest_pycontainer.services.nginx_server import nginx as nginx
    from pytest_pycontainer.services.postgresql_server import PostgreSQL as PostgreSQL
    from pytest_pycontainer.services.postgresql_server import postgresql as postgresql
    from pytest_pycontainer.services.rabbitmq_server import RabbitMQ as RabbitMQ
    from pytest_pycontainer.services.rabbitmq_server import rabbitmq as rabbitmq
    from pytest_pycontainer.services.redis_server import Redis as Redis
    from pytest_pycontainer.services.redis_server import redis as redis
    from pytest_pycontainer.services.server import Server as Server
    from pytest_pycontainer.services.zookeeper_server import ZooKeeper as ZooKeeper
    from pytest_pycontainer.services.zookeeper_server import zookeeper as zookeeper

NAMES = (
    "etcd",
    "mariadb",
    "memcached",
    "mosquitto",
    "nats",
    "nginx",
    "postgresql",
    "rabbitmq",
    "redis",
    "zookeeper",
)
"""The services by name: each is a function here."""

_HANDLES = (
    "Etcd",
    "MariaDB",
    "Memcached",
    "Mosquitto",
    "Nats",
    "Nginx",
    "PostgreSQL",
    "RabbitMQ",
    "Redis",
    "ZooKeeper",
)
_HOMES = {
    "Service": "pytest_pycontainer.engine.service",
    "Server": f"{__name__}.server",
    **{name: f"{__name__}.{name.lower()}_server" for name in (*NAMES, *_HANDLES)},
}

__all__ = [  # noqa: PLE0604
    "NAMES",
    *_HOMES,
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
