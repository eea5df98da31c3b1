"""The etcd service, over Debian's server with the official image's contract."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from typing import Any
from urllib.request import Request, urlopen

import pytest

from pytest_pycontainer import Engine, Image, services
from tests.services.conftest import SECONDS


@pytest.fixture
def server(engine: Engine, debian_image: Callable[[str], Image]) -> Iterator[services.Etcd]:
    with engine.service(services.etcd(image=debian_image("etcd")), timeout=SECONDS) as server:
        yield server


def ask(server: services.Etcd, path: str, **texts: str) -> Any:
    body = json.dumps({name: b64encode(text.encode()).decode() for name, text in texts.items()})
    with urlopen(Request(server.url + path, body.encode()), timeout=SECONDS) as answer:
        return json.loads(answer.read())


def test_it_is_ready_to_be_written_to_and_read_over_a_restart(server: services.Etcd) -> None:
    ask(server, "/v3/kv/put", key="greeting", value="hello")
    server.restart()
    server.wait_for(services.etcd().wait, SECONDS)
    (found,) = ask(server, "/v3/kv/range", key="greeting")["kvs"]
    assert b64decode(found["value"]) == b"hello"


def test_its_address_is_told(server: services.Etcd) -> None:
    assert server.env == {"ETCDCTL_ENDPOINTS": server.url}
    assert server.url == f"http://127.0.0.1:{server.port()}"
    assert server.internal_url == f"http://{server.name}:2379"
