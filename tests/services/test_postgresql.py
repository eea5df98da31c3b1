"""The PostgreSQL service, over Debian's server with the official image's contract."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from pytest_pycontainer import Engine, Image, services
from pytest_pycontainer.errors import ContainerExitedError
from tests.services.conftest import SECONDS

AWKWARD = "p ä/@:%\\'\"$x"


@pytest.fixture(scope="module")
def image(debian_image: Callable[[str], Image]) -> Image:
    return debian_image("postgresql")


def test_it_is_ready_when_all_of_the_first_start_is_done(engine: Engine, image: Image, tmp_path: Path) -> None:
    """The temporary server of the first start would be found by its log line, or on its Unix socket."""
    (tmp_path / "1.sql").write_text("CREATE TABLE greetings (text text); SELECT pg_sleep(1);")
    (tmp_path / "2.sql").write_text("INSERT INTO greetings VALUES ('hello');")
    tmp_path.chmod(0o755)
    volumes = {str(tmp_path): "/docker-entrypoint-initdb.d:ro"}
    with engine.service(services.postgresql(image=image), volumes=volumes, timeout=SECONDS) as server:
        with server.client() as client:
            assert client.execute("SELECT text FROM greetings").fetchall() == [("hello",)]
            assert client.execute("SHOW fsync").fetchone() == ("off",)
        assert server.url == f"postgresql://postgres:postgres@127.0.0.1:{server.port()}/postgres"


def test_user_password_and_database_are_as_given_and_kept_over_a_restart(engine: Engine, image: Image) -> None:
    service = services.postgresql(image=image, username="me", password=AWKWARD, database="my app")
    with engine.service(service, timeout=SECONDS) as server:
        assert (server.username, server.password, server.database) == ("me", AWKWARD, "my app")
        with server.client(autocommit=True) as client:
            client.execute("CREATE TABLE kept AS SELECT 1 AS number")
        server.restart()
        server.wait_for(service.wait, SECONDS)
        with psycopg.connect(server.env["DATABASE_URL"]) as client:
            assert client.execute("SELECT number FROM kept").fetchall() == [(1,)]
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            server.client(password="wrong")
        command = ["psql", "--no-align", "--tuples-only", "--command", "SELECT number FROM kept"]
        with engine.run(image, command, entrypoint=[], env=server.internal_env) as other:
            assert other.wait(SECONDS) == 0, other.log_tail()
            assert other.logs() == "1\n"


def test_an_entrypoint_that_refuses_is_heard(engine: Engine, image: Image) -> None:
    with pytest.raises(ContainerExitedError, match="POSTGRES_PASSWORD"):
        engine.service(services.postgresql(image=image, password=""), timeout=SECONDS)
