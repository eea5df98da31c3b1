"""memcached.

The official image (``memcached``): port 11211; flags as the command are the server's.
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
    from pymemcache.client.base import Client


class Memcached(Server):
    """A memcached server."""

    PORT = 11211

    def client(self, **options: Any) -> Client:
        """A client of the library ``pymemcache``, the caller's to close; ``options`` are those of its ``Client``.

        Raises ClientLibraryMissingError.
        """
        library = self._client_library("pymemcache.client.base", "pymemcache")
        client: Client = library.Client(self.address(), **options)
        return client

    def url_at(self, host: str, port: int) -> str:
        """See Server."""
        return url("memcached", host, port)

    def env_at(self, host: str, port: int) -> dict[str, str]:
        """See Server."""
        return {"MEMCACHED_SERVERS": f"{host}:{port}"}


def memcached(image: Image | str | os.PathLike[str] = "memcached:1") -> Service[Memcached]:
    """A memcached server, ready when it tells its version."""
    ready = Exchange(Memcached.PORT, b"version\r\n", re.compile(rb"\AVERSION "))
    return Service(Memcached, image, Memcached.PORT, ready)
