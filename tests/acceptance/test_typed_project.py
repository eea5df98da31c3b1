"""A project that uses the factories passes mypy --strict, and what is wrong in it is found by mypy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = """
from collections.abc import Iterator
from pathlib import Path
from typing import assert_type

import pytest

from pytest_pycontainer import Container, Engine, Image, Network, Volume
from pytest_pycontainer import build, container, load, network, pull, snapshot, using, volume, wait

base = pull("redis:7", platform="linux/amd64", policy="missing")
either = pull(params=["redis:6", pytest.param("redis:7", id="seven")], ids=["six", None], scope="module")
own = build("context", build_args={"A": "1"}, contexts={"more": Path("more"), "base": using(base)}, autouse=False)
loaded = load(Path("x.tar"), image="x", scope="session")
back = network("back", internal=True)
data = volume("data")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "a.tar"


from_fixture = load(archive)
database = container(
    base,
    ["redis-server"],
    scope=lambda fixture_name, config: "module",
    network=back,
    volumes={data: "/data"},
    wait=wait.port(6379) | wait.until(lambda c: 6379 in c.listening() and c.file("/etc/hosts").mode == 0o644),
)
web = container(
    using(lambda base: base),
    "serve --all",
    env=using(lambda database: {"HOST": database.name, "PORT": "6379"}),
    networks={back: {"aliases": ["web"]}},
    volumes={"./data": "/data", data: "/more", Path("x"): "/path"},
    ports=[80],
    labels={"a": "b"},
)
client = container("host", env={"DATABASE": using(database)}, params=[1, 2], fixture_name="other")
migrated = snapshot(container(base), prepare=lambda server: server.exec("migrate", check=True), tag="migrated")


@pytest.fixture(scope="module")
def seeded(database: Container) -> Iterator[Container]:
    yield database


again = container(snapshot(seeded, scope="module"))


class TestAll:
    inner = container(own)

    def test(
        self, base: Image, database: Container, back: Network, data: Volume, pycontainer: Engine,
        pycontainer_module: Engine,
    ) -> None:
        assert_type(database.address(6379), tuple[str, int])
        assert_type(base.short_id, str)
        assert_type(back.name, str)
        assert_type(data.path, Path)
        with pycontainer_module.run(base, volumes={"./data": "/data", data: "/more"}) as one:
            assert_type(one, Container)
        with pycontainer.scope() as scope:
            assert_type(scope.network(), Network)


# Each of these is an error that mypy has to find: it complains of a comment that nothing needs.
container(base, prots=[80])  # type: ignore[call-arg]
container(base, ports=object())  # type: ignore[arg-type]
container(base, network=data)  # type: ignore[arg-type]
container(base, volumes={3: "/data"})  # type: ignore[dict-item]
container(base, scope="sesion")  # type: ignore[arg-type]
pull(base, policy="sometimes")  # type: ignore[arg-type]
build(tga="x")  # type: ignore[call-arg]
database.address(6379)  # type: ignore[attr-defined]
"""


def test_a_project_under_strict_mypy(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed: pip install 'pytest-pycontainer[dev]'")
    (tmp_path / "test_sample.py").write_text(SAMPLE)
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\n")
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), "."]
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert (checked.stdout, checked.stderr) == ("Success: no issues found in 1 source file\n", "")
