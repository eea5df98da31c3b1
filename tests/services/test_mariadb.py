"""The MariaDB service, over Debian's server with the official image's contract."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pymysql
import pytest

from pytest_pycontainer import Engine, Image, services
from tests.services.conftest import SECONDS

AWKWARD = "p /@:%\\'\"$x"


@pytest.fixture(scope="module")
def image(debian_image: Callable[[str], Image]) -> Image:
    return debian_image("mariadb")


def test_it_is_ready_when_all_of_the_first_start_is_done(engine: Engine, image: Image, tmp_path: Path) -> None:
    """The temporary server of the first start would be found by its log line, or on its Unix socket."""
    (tmp_path / "1.sql").write_text("CREATE TABLE greetings (text text); SELECT SLEEP(1);")
    (tmp_path / "2.sql").write_text("INSERT INTO greetings VALUES ('hello');")
    tmp_path.chmod(0o755)
    volumes = {str(tmp_path): "/docker-entrypoint-initdb.d:ro"}
    with engine.service(services.mariadb(image=image), volumes=volumes, timeout=SECONDS) as server:
        with closing(server.client(connect_timeout=SECONDS)) as client, client.cursor() as cursor:
            cursor.execute("SELECT text FROM greetings")
            assert cursor.fetchall() == (("hello",),)
        assert server.url == f"mysql://test:test@127.0.0.1:{server.port()}/test"
        assert server.internal_env == {"DATABASE_URL": f"mysql://test:test@{server.name}:3306/test"}


def test_users_passwords_and_database_are_as_given_and_kept_over_a_restart(engine: Engine, image: Image) -> None:
    service = services.mariadb(
        image=image, username="me", password=AWKWARD, database="app", root_password=f"root's {AWKWARD}"
    )
    with engine.service(service, timeout=SECONDS) as server:
        assert (server.username, server.password, server.database) == ("me", AWKWARD, "app")
        with closing(server.client(connect_timeout=SECONDS, autocommit=True)) as client, client.cursor() as cursor:
            cursor.execute("CREATE TABLE kept AS SELECT 1 AS number")
        server.restart()
        server.wait_for(service.wait, SECONDS)
        with closing(server.client(connect_timeout=SECONDS)) as client, client.cursor() as cursor:
            cursor.execute("SELECT number FROM kept")
            assert cursor.fetchall() == ((1,),)
        with (
            closing(server.client(connect_timeout=SECONDS, user="root", password=server.root_password)) as client,
            client.cursor() as cursor,
        ):
            cursor.execute("SELECT COUNT(*) FROM mysql.user WHERE User = 'me'")
            assert cursor.fetchall() == ((1,),)
        with pytest.raises(pymysql.OperationalError, match="Access denied"):
            server.client(connect_timeout=SECONDS, password="wrong")


def test_root_may_be_the_user(engine: Engine, image: Image) -> None:
    with engine.service(services.mariadb(image=image, username="root", password="all"), timeout=SECONDS) as server:
        assert (server.username, server.password) == ("root", "all")
        with closing(server.client(connect_timeout=SECONDS)) as client, client.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM mysql.user WHERE User = 'test'")
            assert cursor.fetchall() == ((0,),)
