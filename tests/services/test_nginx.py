"""The nginx service, over Debian's server with the official image's contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from pytest_pycontainer import Engine, Image, services
from tests.services.conftest import SECONDS


@pytest.fixture(scope="module")
def image(debian_image: Callable[[str], Image]) -> Image:
    return debian_image("nginx")


@pytest.fixture
def server(engine: Engine, image: Image) -> Iterator[services.Nginx]:
    with engine.service(services.nginx(image=image), timeout=SECONDS) as server:
        yield server


def read(url: str) -> str:
    with urlopen(url, timeout=SECONDS) as answer:
        text: str = answer.read().decode()
        return text


def test_it_is_ready_to_be_read(server: services.Nginx) -> None:
    assert "Welcome to nginx" in read(server.url)


def test_it_is_ready_after_a_restart(server: services.Nginx) -> None:
    server.restart()
    server.wait_for(services.nginx().wait, SECONDS)
    assert "Welcome to nginx" in read(server.url)


def test_pages_are_mounted(engine: Engine, image: Image, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("ours")
    tmp_path.chmod(0o755)
    volumes = {str(tmp_path): "/usr/share/nginx/html:ro"}
    with engine.service(services.nginx(image=image), volumes=volumes, timeout=SECONDS) as server:
        assert read(f"{server.url}/page.html") == "ours"


def test_its_address_is_told(server: services.Nginx) -> None:
    assert server.env == {"NGINX_URL": server.url} == {"NGINX_URL": f"http://127.0.0.1:{server.port()}"}
    assert server.internal_url == f"http://{server.name}:80"
