"""RabbitMQ.

The official image (``rabbitmq``): AMQP at port 5672; ``RABBITMQ_DEFAULT_USER`` and ``RABBITMQ_DEFAULT_PASS`` (guest),
``RABBITMQ_DEFAULT_VHOST`` (/) are made at the first start. Images whose tag ends in ``-management`` have the management
interface at port 15672.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.service import Service
from pytest_pycontainer.services.exchange import Exchange
from pytest_pycontainer.services.server import Server, url

if TYPE_CHECKING:
    import pika

_GUEST = "guest"
_HEADER = b"AMQP\0\0\x09\x01"
# Connection.Start, the first method of a connection: a frame of the kind 1 on channel 0, class 10, method 10.
_READY = re.compile(rb"\A\x01\0\0....\0\x0a\0\x0a", re.DOTALL)


class RabbitMQ(Server):
    """A RabbitMQ broker."""

    PORT = 5672

    @property
    def username(self) -> str:
        """The administrator that was made at the first start."""
        return self._variable("RABBITMQ_DEFAULT_USER", _GUEST)

    @property
    def password(self) -> str:
        """The user's."""
        return self._variable("RABBITMQ_DEFAULT_PASS", _GUEST)

    @property
    def vhost(self) -> str:
        """The virtual host that was made at the first start."""
        return self._variable("RABBITMQ_DEFAULT_VHOST", "/")

    def client(self, **options: Any) -> pika.BlockingConnection:
        """A connection of the library ``pika``, the caller's to close.

        ``options`` are those of its ``ConnectionParameters``. Raises ClientLibraryMissingError.
        """
        library = self._client_library("pika", "pika")
        host, port = self.address()
        login = {
            "host": host,
            "port": port,
            "virtual_host": self.vhost,
            "credentials": library.PlainCredentials(self.username, self.password),
        }
        connection: pika.BlockingConnection = library.BlockingConnection(
            library.ConnectionParameters(**login | options)
        )
        return connection

    def url_at(self, host: str, port: int) -> str:
        """See Server."""
        return url("amqp", host, port, self.vhost, user=self.username, password=self.password)

    def env_at(self, host: str, port: int) -> dict[str, str]:
        """See Server."""
        return {"AMQP_URL": self.url_at(host, port)}


def rabbitmq(
    image: Image | str | os.PathLike[str] = "rabbitmq:4",
    *,
    username: str = _GUEST,
    password: str = _GUEST,
    vhost: str = "/",
) -> Service[RabbitMQ]:
    """A RabbitMQ broker, ready when it begins a client's connection."""
    env = {"RABBITMQ_DEFAULT_USER": username, "RABBITMQ_DEFAULT_PASS": password, "RABBITMQ_DEFAULT_VHOST": vhost}
    return Service(RabbitMQ, image, RabbitMQ.PORT, Exchange(RabbitMQ.PORT, _HEADER, _READY), env=env)
