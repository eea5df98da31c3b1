"""NATS.

The official image (``nats``): clients at port 4222; flags as the command are the server's.
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
    from nats.aio.client import Client


class Nats(Server):
    """A NATS server."""

    PORT = 4222

    @property
    def username(self) -> str | None:
        """None if everybody may use it."""
        return self._argument("--user")

    @property
    def password(self) -> str | None:
        """The user's."""
        return self._argument("--pass")

    async def client(self, **options: Any) -> Client:
        """A client of the library ``nats-py``, connected; the caller's to close.

        ``options`` are those of its ``connect``. Raises ClientLibraryMissingError.
        """
        # Not by the URL: the library takes what is quoted there as it stands.
        login = {"servers": url("nats", *self.address()), "user": self.username, "password": self.password}
        client: Client = await self._client_library("nats", "nats-py").connect(**login | options)
        return client

    def url_at(self, host: str, port: int) -> str:
        """See Server."""
        return url("nats", host, port, user=self.username, password=self.password)

    def env_at(self, host: str, port: int) -> dict[str, str]:
        """See Server."""
        return {"NATS_URL": self.url_at(host, port)}


def nats(
    image: Image | str | os.PathLike[str] = "nats:2",
    *,
    username: str | None = None,
    password: str = "",
    jetstream: bool = False,
) -> Service[Nats]:
    """A NATS server, ready when it greets clients; with ``jetstream`` it keeps streams, in the container's /tmp."""
    command = [] if username is None else ["--user", username, "--pass", password]
    if jetstream:
        command.append("--jetstream")
    return Service(Nats, image, Nats.PORT, Exchange(Nats.PORT, b"", re.compile(rb"\AINFO ")), command=command or None)
