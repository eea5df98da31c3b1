"""Redis, and what speaks its protocol.

The official image (``redis``): port 6379, data in ``/data``, flags as the command, no password unless
``--requirepass`` gives one. That of Valkey (``valkey/valkey``) has the same contract.
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
    import redis as library

# NOAUTH: whoever has set another password finds it ready too. While it loads its data it says LOADING.
_READY = re.compile(rb"\+PONG|-NOAUTH")


class Redis(Server):
    """A Redis server."""

    PORT = 6379

    @property
    def password(self) -> str | None:
        """Of the default user; None if it needs none."""
        return self._argument("--requirepass")

    def client(self, **options: Any) -> library.Redis:
        """A client of the library ``redis``, the caller's to close; ``options`` are those of its ``Redis``.

        Raises ClientLibraryMissingError.
        """
        host, port = self.address()
        login = {"host": host, "port": port, "password": self.password}
        client: library.Redis = self._client_library("redis", "redis").Redis(**login | options)
        return client

    def url_at(self, host: str, port: int) -> str:
        """See Server."""
        return url("redis", host, port, password=self.password)

    def env_at(self, host: str, port: int) -> dict[str, str]:
        """See Server."""
        return {"REDIS_URL": self.url_at(host, port)}


def redis(image: Image | str | os.PathLike[str] = "redis:8", *, password: str | None = None) -> Service[Redis]:
    """A Redis server, ready when it answers PING; one with a ``password`` wants that of everyone."""
    if password is None:
        return Service(Redis, image, Redis.PORT, Exchange(Redis.PORT, b"PING\r\n", _READY))
    login = f"*2\r\n$4\r\nAUTH\r\n${len(password.encode())}\r\n{password}\r\n".encode()
    ready = Exchange(Redis.PORT, login + b"PING\r\n", _READY)
    return Service(Redis, image, Redis.PORT, ready, command=("--requirepass", password))
