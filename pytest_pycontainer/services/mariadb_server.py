"""MariaDB.

The official image (``mariadb``): port 3306; ``MARIADB_ROOT_PASSWORD``, ``MARIADB_DATABASE``, ``MARIADB_USER`` and
``MARIADB_PASSWORD`` are made at the first start, and scripts in ``/docker-entrypoint-initdb.d`` run then, on a server
that listens on a Unix socket alone; flags as the command are the server's. It knows these variables by MySQL's names
too, which are the only ones that MySQL's official image (``mysql``) knows.
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
    import pymysql

# Its greeting, a packet with the protocol's version; a server that is too busy for one sends an error in its place.
_READY = re.compile(rb"\A...\0\x0a", re.DOTALL)

_ROOT = "root"


class MariaDB(Server):
    """A MariaDB server."""

    PORT = 3306

    @property
    def username(self) -> str:
        """The user that was made at the first start, who has all rights on the database."""
        return self._of_either("USER") or _ROOT

    @property
    def password(self) -> str:
        """The user's."""
        return self._of_either("PASSWORD") if self.username != _ROOT else self.root_password

    @property
    def root_password(self) -> str:
        """That of ``root``, who may do all."""
        return self._of_either("ROOT_PASSWORD")

    @property
    def database(self) -> str:
        """The database that was made at the first start."""
        return self._of_either("DATABASE")

    def client(self, **options: Any) -> pymysql.Connection[Any]:
        """A connection of the library ``PyMySQL``, the caller's to close; ``options`` are those of its ``connect``.

        Raises ClientLibraryMissingError.
        """
        host, port = self.address()
        given = {
            "host": host,
            "port": port,
            "user": self.username,
            "password": self.password,
            "database": self.database,
        }
        connection: pymysql.Connection[Any] = self._client_library("pymysql", "PyMySQL").connect(**given | options)
        return connection

    def _of_either(self, name: str) -> str:
        """A variable by MariaDB's name, which counts first, or by MySQL's."""
        return self._variable(f"MARIADB_{name}", "") or self._variable(f"MYSQL_{name}", "")

    def url_at(self, host: str, port: int) -> str:
        """See Server."""
        return url("mysql", host, port, self.database, user=self.username, password=self.password)

    def env_at(self, host: str, port: int) -> dict[str, str]:
        """See Server."""
        return {"DATABASE_URL": self.url_at(host, port)}


def mariadb(
    image: Image | str | os.PathLike[str] = "mariadb:11",
    *,
    username: str = "test",
    password: str = "test",  # noqa: S107
    database: str = "test",
    root_password: str | None = None,
) -> Service[MariaDB]:
    """A MariaDB server, ready when it greets clients over the network: after all that the first start has to do.

    ``root_password`` is ``password`` unless another is given; with ``root`` as ``username`` no other user is made.
    """
    env = {
        "MYSQL_ROOT_PASSWORD": password if root_password is None else root_password,
        "MYSQL_DATABASE": database,
    }
    if username != _ROOT:
        env |= {"MYSQL_USER": username, "MYSQL_PASSWORD": password}
    return Service(MariaDB, image, MariaDB.PORT, Exchange(MariaDB.PORT, b"", _READY), env=env)
