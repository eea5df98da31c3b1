"""ZooKeeper.

The official image (``zookeeper``): clients at port 2181, data in ``/data``; ``ZOO_…`` variables make its configuration.
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
    from kazoo.client import KazooClient

# The command that is allowed unless ZOO_4LW_COMMANDS_WHITELIST names others.
_REQUEST = b"srvr"

_START_SECONDS = 60.0


class ZooKeeper(Server):
    """A ZooKeeper server."""

    PORT = 2181

    @property
    def hosts(self) -> str:
        """As clients want it: ``host:port``. Raises PortNotPublishedError."""
        host, port = self.address()
        return f"{host}:{port}"

    def client(self, **options: Any) -> KazooClient:
        """A client of the library ``kazoo``, started; the caller's to stop and close.

        ``options`` are those of its ``KazooClient``. Raises ClientLibraryMissingError.
        """
        client: KazooClient = self._client_library("kazoo.client", "kazoo").KazooClient(self.hosts, **options)
        client.start(_START_SECONDS)
        return client

    def url_at(self, host: str, port: int) -> str:
        """See Server."""
        return url("zookeeper", host, port)

    def env_at(self, host: str, port: int) -> dict[str, str]:
        """See Server."""
        return {"ZOOKEEPER_HOSTS": f"{host}:{port}"}


def zookeeper(image: Image | str | os.PathLike[str] = "zookeeper:3.9") -> Service[ZooKeeper]:
    """A ZooKeeper server, ready when it serves clients."""
    return Service(
        ZooKeeper,
        image,
        ZooKeeper.PORT,
        Exchange(ZooKeeper.PORT, _REQUEST, re.compile(rb"^Mode: ", re.MULTILINE)),
        env={"ZOO_ADMINSERVER_ENABLED": "false"},
    )
