"""What all services share: their handle, what a caller adds to a service, and how they are imported."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer import Container, Engine, services, wait
from pytest_pycontainer.engine.service import Service
from pytest_pycontainer.errors import ClientLibraryMissingError, PortNotPublishedError
from pytest_pycontainer.services.server import url

SLEEP = ["sleep", "1000"]


@pytest.mark.parametrize("name", services.NAMES)
def test_each_service_says_what_it_is_and_has_a_handle_of_its_own(name: str) -> None:
    service = getattr(services, name)()
    assert inspect.getdoc(getattr(services, name))
    assert issubclass(service.handle, services.Server)
    assert service.port == service.handle.PORT
    assert getattr(services, service.handle.__name__) is service.handle
    assert {name, service.handle.__name__} <= {*services.__all__, *dir(services)}


def test_a_service_is_imported_when_it_is_used() -> None:
    code = (
        "import sys; from pytest_pycontainer import services; before = set(sys.modules); services.redis();"
        "print(*sorted(name for name in sys.modules if name.startswith('pytest_pycontainer.services')),"
        "any(name.startswith('pytest_pycontainer.engine') for name in before))"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    room = "pytest_pycontainer.services"
    assert printed == [room, f"{room}.exchange", f"{room}.redis_server", f"{room}.server", "False"]


def test_an_unknown_service_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'oracle'"):
        _ = services.oracle


@given(user=st.text(), password=st.text(), path=st.text(min_size=1))
def test_what_stands_in_a_url_is_found_in_it_again(user: str, password: str, path: str) -> None:
    found = urlsplit(url("scheme", "::1", 12, path, user=user, password=password))
    assert (unquote(found.username or ""), unquote(found.password or "")) == (user, password)
    assert (found.scheme, found.hostname, found.port, unquote(found.path)) == ("scheme", "::1", 12, f"/{path}")


def test_a_url_without_a_login_has_none() -> None:
    assert url("a", "b", 1) == "a://b:1"
    assert url("a", "b", 1, password="c") == "a://:c@b:1"


def test_a_client_without_its_library_says_what_to_install(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with engine.service(services.redis(image="host"), SLEEP, wait=None) as server:
        with pytest.raises(ClientLibraryMissingError, match=r"Redis.*pip install 'redis'") as raised:
            server.client()
        assert pickle.loads(pickle.dumps(raised.value)).distribution == "redis"


def test_a_handle_reads_what_the_container_was_made_with(engine: Engine) -> None:
    env = {"POSTGRES_USER": "other", "POSTGRES_DB": ""}
    service = services.postgresql(image="host", username="me", password="a b")
    with engine.service(service, SLEEP, wait=None, env=env, network="none") as server:
        assert (server.username, server.password, server.database) == ("other", "a b", "other")
        assert repr(server).startswith(f"<PostgreSQL {server.name} (")
        assert server.internal_url == f"postgresql://other:a%20b@{server.name}:5432/other"
        with pytest.raises(PortNotPublishedError):
            _ = server.url


def test_mariadb_has_two_names_for_each_variable(engine: Engine) -> None:
    env = {"MARIADB_USER": "other", "MARIADB_PASSWORD": "theirs"}
    with engine.service(services.mariadb("host"), SLEEP, wait=None, env=env) as server:
        assert (server.username, server.password, server.database) == ("other", "theirs", "test")


def published(service: Service[Container], ports: object) -> object:
    return service.with_defaults({"ports": ports}).get("ports")  # type: ignore[typeddict-item]


def test_its_port_is_published_beside_others() -> None:
    service: Service[Container] = Service(Container, "host", 80, wait.port(80))
    assert published(service, None) == (80,)
    assert published(service, 81) == (81, 80)
    assert published(service, ["81/udp", "80/udp"]) == ("81/udp", "80/udp", 80)
    assert published(service, {81: 8081}) == {81: 8081, 80: None}


@pytest.mark.parametrize("ports", [["8080:80"], {80: 8080}, {"80/tcp": None}])
def test_its_port_may_be_published_otherwise(ports: list[str] | Mapping[str | int, int | None]) -> None:
    assert published(Service(Container, "host", 80, wait.port(80)), ports) in (ports, tuple(ports))


def test_a_service_that_takes_no_such_option_says_so(engine: Engine) -> None:
    with pytest.raises(TypeError, match=r"nmae.*did you mean 'name'"):
        engine.service(services.redis(image="host"), nmae="x")  # type: ignore[call-overload]
