"""A Node server on a port of this machine, and a build that installs its dependencies only when they change."""

from __future__ import annotations

import shutil
import urllib.request
from pathlib import Path

import pytest

from pytest_pycontainer import Container, Engine, Image, build, container, wait

web_image = build(".")
web_server = container(web_image, ports=[8080], wait=wait.port(8080))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of this folder, to make changes in."""
    return Path(shutil.copytree(Path(__file__).parent, tmp_path / "web", ignore=shutil.ignore_patterns("__pycache__")))


def get(server: Container) -> str:
    host, port = server.address(8080)
    with urllib.request.urlopen(f"http://{host}:{port}/", timeout=10) as response:
        text: str = response.read().decode()
    return text


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_answers_on_another_port(web_server: Container) -> None:
    assert web_server.address(8080)[1] != 8080
    assert get(web_server) == "Hello, world"


def test_a_changed_source_does_not_install_again(pycontainer: Engine, web_image: Image, project: Path) -> None:
    change(project / "index.js", "world", "moon")
    changed = pycontainer.build(project)
    # Topmost first: what COPY . . made, and all below it, npm's layer among that.
    assert changed.layers[0] != web_image.layers[0]
    assert changed.layers[1:] == web_image.layers[1:]
    with pycontainer.run(changed, ports=[8080], wait=wait.port(8080)) as server:
        assert get(server) == "Hello, moon"


def test_changed_dependencies_are_installed(pycontainer: Engine, web_image: Image, project: Path) -> None:
    change(project / "package.json", '"version": "1.0.0"', '"version": "1.1.0"')
    changed = pycontainer.build(project)
    assert changed.layers[1] != web_image.layers[1]
    with pycontainer.run(changed, ["cat", "package-lock.json"]) as shown:
        assert shown.wait(timeout=30) == 0
        assert '"version": "1.1.0"' in shown.logs()
