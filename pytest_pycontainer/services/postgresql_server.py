"""PostgreSQL.

The official image (``postgres``): port 5432; ``POSTGRES_USER`` (postgres), ``POSTGRES_PASSWORD`` (has to be given) and
``POSTGRES_DB`` (as the user) are made at the first start, and scripts in ``/docker-entrypoint-initdb.d`` run then, on a
server that listens on a Unix socket alone; flags as the command are the server's.
"""

from __future__ import annotations

import os
import re
import struct
from typing import TYPE_CHECKING, Any

from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.service import Service
from pytest_pycontainer.services.exchange import Exchange
from pytest_pycontainer.services.server import Server, url

if TYPE_CHECKING:
    import psycopg

_USER = "postgres"
_VERSION_3 = 0x30000
# A request for a login, or any refusal but that of a server which is still starting ("cannot connect now").
_READY = re.compile(rb"\AR|\AE....(?!.*\0C57P03\0)", re.DOTALL)

# Nobody wants a test's database back after a crash.
_NOT_DURABLE = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")


class PostgreSQL(Server):
    """A PostgreSQL server."""

    PORT = 5432

    @property
    def username(self) -> str:
        """The superuser that was made at the first start."""
        return self._variable("POSTGRES_USER", _USER)

    @property
    def password(self) -> str:
        """The user's."""
        return self._variable("POSTGRES_PASSWORD", "")

    @property
    def database(self) -> str:
        """The database that was made at the first start."""
        return self._variable("POSTGRES_DB", self.username)

    @property
    def dsn(self) -> str:
        """How libpq is told of it in words: ``host=… port=… user=… password=… dbname=…``."""
        host, port = self.address()
        words = {
            "host": host,
            "port": port,
            "user": self.username,
            "password": self.password,
            "dbname": self.database,
        }
        return " ".join(f"{name}={_quoted(str(value))}" for name, value in words.items())

    def client(self, **options: Any) -> psycopg.Connection[Any]:
        """A connection of the library ``psycopg``, the caller's to close; ``options`` are those of its ``connect``.

        Raises ClientLibraryMissingError.
        """
        connection: psycopg.Connection[Any] = self._client_library("psycopg", "psycopg[binary]").connect(
            self.dsn, **options
        )
        return connection

    def url_at(self, host: str, port: int) -> str:
        """See Server."""
        return url("postgresql", host, port, self.database, user=self.username, password=self.password)

    def env_at(self, host: str, port: int) -> dict[str, str]:
        """See Server."""
        return {
            "DATABASE_URL": self.url_at(host, port),
            "PGHOST": host,
            "PGPORT": str(port),
            "PGUSER": self.username,
            "PGPASSWORD": self.password,
            "PGDATABASE": self.database,
        }


def postgresql(
    image: Image | str | os.PathLike[str] = "postgres:17",
    *,
    username: str = _USER,
    password: str = "postgres",  # noqa: S107
    database: str | None = None,
) -> Service[PostgreSQL]:
    """A PostgreSQL server, ready when it takes logins over the network: after all that the first start has to do.

    ``username`` is a superuser, ``database`` by default the one of that name. The server writes nothing out before it
    has to (``fsync=off``), unless it is given a command.
    """
    database = username if database is None else database
    return Service(
        PostgreSQL,
        image,
        PostgreSQL.PORT,
        Exchange(PostgreSQL.PORT, _login(username, database), _READY),
        command=_NOT_DURABLE,
        env={
            "POSTGRES_USER": username,
            "POSTGRES_PASSWORD": password,
            "POSTGRES_DB": database,
            "POSTGRES_INITDB_ARGS": "--no-sync",
        },
    )


def _login(user: str, database: str) -> bytes:
    """The first message of a client."""
    words = b"".join(word.encode() + b"\0" for word in ("user", user, "database", database, ""))
    return struct.pack(">II", len(words) + 8, _VERSION_3) + words


def _quoted(value: str) -> str:
    """As libpq wants a value that may hold blanks."""
    return value if re.fullmatch(r"[\w.:-]+", value) else "'" + re.sub(r"(['\\])", r"\\\1", value) + "'"
