"""Images through the engine: built, pushed, pulled into another store, saved, loaded, and run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer import Engine, Image, Settings
from pytest_pycontainer.errors import ImageNotFoundError, ImageNotPortableError, InvalidSpecError

if TYPE_CHECKING:
    from tests.registry.conftest import Registry

# Nothing of this machine is in it: a shell, and a volume that belongs to somebody.
DOCKERFILE = """
FROM host AS tools
RUN apt-get update && apt-get install -y --no-install-recommends busybox-static
FROM scratch
COPY --from=tools /bin/busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
RUN mkdir /data && chown 7:8 /data && echo hello > /data/file && rm /bin/vi
CMD ["cat", "/data/file"]
"""


@pytest.fixture(scope="session")
def busybox(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Image:
    context = tmp_path_factory.mktemp("busybox")
    (context / "Dockerfile").write_text(DOCKERFILE)
    return engine.build(context, tag="busybox-of-the-suite")


@pytest.fixture
def here(engine: Engine) -> Iterator[Engine]:
    """The suite's store, by an engine whose connections to registries end with the test."""
    with Engine(engine.settings) as here:
        yield here


@pytest.fixture
def other(engine: Engine, tmp_path: Path) -> Iterator[Engine]:
    with Engine(Settings(root=tmp_path / "store", state=engine.settings.state)) as other:
        yield other


def output(engine: Engine, image: Image | str, *command: str) -> str:
    with engine.run(image, command or None) as c:
        assert c.wait(timeout=60) == 0
        return c.logs()


def test_what_is_pushed_can_be_pulled_and_run_elsewhere(
    here: Engine, other: Engine, busybox: Image, registry: Registry, name: str
) -> None:
    digest = here.push(busybox, name)
    with pytest.raises(ImageNotFoundError):
        other.image(name)
    pulled = other.pull(name)
    assert pulled.id == busybox.id
    assert output(other, name) == "hello\n"
    assert output(other, pulled, "stat", "-c", "%u:%g", "/data") == "7:8\n"
    assert other.pull(f"{name.rpartition(':')[0]}@{digest}").id == busybox.id
    assert [image.name for image in other.images()]


def test_what_is_saved_can_be_loaded_and_run_elsewhere(
    engine: Engine, other: Engine, busybox: Image, tmp_path: Path
) -> None:
    engine.save([busybox.name], tmp_path / "saved.tar")
    (loaded,) = other.load(tmp_path / "saved.tar")
    assert loaded.id == busybox.id
    assert output(other, "busybox-of-the-suite") == "hello\n"
    other.tag(loaded, "another:name")
    assert output(other, "another:name") == "hello\n"


def test_an_image_on_this_machine_stays_here(here: Engine, registry: Registry, name: str, tmp_path: Path) -> None:
    with pytest.raises(ImageNotPortableError):
        here.push("host", name)
    with pytest.raises(ImageNotPortableError):
        here.save(["host"], tmp_path / "saved.tar")


def test_a_platform_is_checked_before_anybody_is_asked(engine: Engine) -> None:
    with pytest.raises(InvalidSpecError, match="os/architecture"):
        engine.pull("whatever", platform="amd64")
