"""Images through the engine: built, pushed, pulled into another store, saved, loaded, and run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer import Engine, Image, Settings
from pytest_pycontainer.engine.display import SilentDisplay
from pytest_pycontainer.errors import (
    ImageNotFoundError,
    ImageNotInRegistryError,
    ImageNotPortableError,
    InvalidArchiveError,
    InvalidSpecError,
    RegistryUnavailableError,
    StoreError,
)
from pytest_pycontainer.kernel.removal import remove_tree
from pytest_pycontainer.registry.progress import Progress, Stage

if TYPE_CHECKING:
    from tests.registry.conftest import Registry


@pytest.fixture
def other(engine: Engine, tmp_path: Path) -> Iterator[Engine]:
    with Engine(Settings(root=tmp_path / "store", state=engine.settings.state)) as other:
        yield other


def output(engine: Engine, image: Image | str | Path, *command: str) -> str:
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
    assert loaded.name == other.images()[0].name == "busybox-of-the-suite:latest"
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


class Shown(SilentDisplay):
    """A display that remembers what it was opened for."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, str, bool]] = []
        self.layers: set[str] = set()

    @contextmanager
    def pulling(self, name: str, *, missing: bool) -> Iterator[Progress]:
        self.opened.append(("pull", name, missing))
        yield self._note

    @contextmanager
    def pushing(self, name: str) -> Iterator[Progress]:
        self.opened.append(("push", name, False))
        yield self._note

    def _note(self, digest: str, stage: Stage, done: int, total: int) -> None:
        self.layers.add(digest)


@pytest.fixture
def shown() -> Shown:
    return Shown()


@pytest.fixture
def elsewhere(engine: Engine, tmp_path: Path, shown: Shown) -> Iterator[Engine]:
    """A machine with an empty store, and somebody who looks."""
    settings = Settings(root=tmp_path / "elsewhere", state=engine.settings.state)
    with Engine(settings, display=shown) as elsewhere:
        yield elsewhere


def test_run_pulls_what_is_missing_once(
    here: Engine, elsewhere: Engine, shown: Shown, busybox: Image, registry: Registry, name: str
) -> None:
    here.push(busybox, name)
    assert output(elsewhere, name) == "hello\n"
    assert shown.opened == [("pull", name, True)]
    assert shown.layers
    asked = len(registry.requests(name))
    assert output(elsewhere, name) == "hello\n"
    assert len(registry.requests(name)) == asked
    assert len(shown.opened) == 1


def test_run_asks_the_registry_always_or_never(
    here: Engine, elsewhere: Engine, shown: Shown, busybox: Image, name: str
) -> None:
    with pytest.raises(ImageNotFoundError):
        elsewhere.run(name, pull="never")
    here.push(busybox, name)
    with pytest.raises(ImageNotFoundError):
        elsewhere.run(name, pull="never")
    elsewhere.run(name, pull="always").remove(force=True)
    assert shown.opened == [("pull", name, False)]
    changed = elsewhere.build(write(elsewhere, f"FROM {name}\nENV changed=yes\n"), tag=name)
    assert elsewhere.run(name).image.id == changed.id
    assert elsewhere.run(name, pull="always").image.id == busybox.id
    with pytest.raises(InvalidSpecError, match="'missing', 'always', 'never'"):
        elsewhere.run(name, pull="sometimes")  # type: ignore[arg-type]


def test_always_does_not_make_do_with_what_is_here(elsewhere: Engine, busybox: Image, here: Engine, name: str) -> None:
    here.push(busybox, name)
    gone = f"{name}:gone"
    elsewhere.tag(elsewhere.pull(name), gone)
    assert elsewhere.run(gone).image.id == busybox.id
    with pytest.raises(ImageNotInRegistryError):
        elsewhere.run(gone, pull="always")


def test_a_build_pulls_its_bases(
    here: Engine, elsewhere: Engine, shown: Shown, busybox: Image, registry: Registry, name: str
) -> None:
    here.push(busybox, name)
    text = f"FROM {name} AS base\nFROM scratch\nCOPY --from={name} /data/file /copied\nCOPY --from=base /bin /bin\n"
    context = write(elsewhere, text)
    image = elsewhere.build(context)
    assert output(elsewhere, image, "/bin/cat", "/copied") == "hello\n"
    assert shown.opened == [("pull", name, True)]
    asked = len(registry.requests(name))
    assert elsewhere.build(context).id == image.id
    assert len(registry.requests(name)) == asked
    assert elsewhere.build(context, pull=True).id == image.id
    assert len(registry.requests(name)) > asked


def test_what_can_not_be_pulled_says_what_is_here_too(elsewhere: Engine, here: Engine, busybox: Image) -> None:
    elsewhere.build(write(elsewhere, "FROM scratch\nENV a=b\n"), tag="localhost:1/near")
    with pytest.raises(RegistryUnavailableError, match="localhost:1") as raised:
        elsewhere.run("localhost:1/naer")
    assert "did you mean localhost:1/near" in "".join(raised.value.__notes__)


def write(engine: Engine, dockerfile: str) -> Path:
    """A build context with a Dockerfile alone."""
    context = engine.settings.root.parent / "context"
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text(dockerfile)
    return context


def test_archives_and_directories_are_images_too(
    here: Engine, elsewhere: Engine, shown: Shown, busybox: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.save([busybox], tmp_path / "image.tar")
    assert output(elsewhere, tmp_path / "image.tar") == "hello\n"
    monkeypatch.chdir(tmp_path)
    assert output(elsewhere, "./image.tar") == "hello\n"
    root = tmp_path / "root"
    shutil.copytree(here.settings.root / "layers" / busybox.config.diff_ids[0].removeprefix("sha256:"), root)
    (root / "greeting").write_text("from a directory\n")
    assert output(elsewhere, root, "/bin/busybox", "cat", "/greeting") == "from a directory\n"
    (root / "greeting").write_text("from another\n")
    assert output(elsewhere, "./root", "/bin/busybox", "cat", "/greeting") == "from another\n"
    with pytest.raises(InvalidArchiveError, match="nowhere"):
        elsewhere.run("./nowhere")
    assert elsewhere.image("./image.tar").id == busybox.id
    assert shown.opened == []


def test_what_can_not_be_saved_leaves_no_file(engine: Engine, busybox: Image, tmp_path: Path) -> None:
    with pytest.raises(ImageNotFoundError):
        engine.save([busybox, "localhost:1/nothing"], tmp_path / "saved.tar")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InvalidSpecError, match="one at least"):
        engine.save([], tmp_path / "saved.tar")
    with pytest.raises(StoreError, match="No space left"):
        engine.save([busybox], "/dev/full")
    assert Path("/dev/full").exists()


def test_what_can_not_be_saved_leaves_what_was_there(engine: Engine, busybox: Image, tmp_path: Path) -> None:
    saved = tmp_path / "saved.tar"
    engine.save(busybox.name, saved)
    before = saved.read_bytes()
    with pytest.raises(ImageNotFoundError):
        engine.save([busybox, "localhost:1/nothing"], saved)
    assert saved.read_bytes() == before
    assert list(tmp_path.iterdir()) == [saved]


@pytest.mark.parametrize("lost", ["layer", "config", "damaged config"])
def test_run_pulls_again_what_the_store_has_lost(
    here: Engine, elsewhere: Engine, shown: Shown, busybox: Image, name: str, lost: str
) -> None:
    here.push(busybox, name)
    pulled = elsewhere.pull(name)
    config = elsewhere.settings.root / "blobs/sha256" / pulled.id.removeprefix("sha256:")
    if lost == "layer":
        remove_tree(pulled.layers[0])
        with pytest.raises(StoreError, match="it is missing"):
            elsewhere.run(name, pull="never")
    elif lost == "config":
        config.unlink()
    else:
        config.write_bytes(b"{}")
    assert output(elsewhere, name) == "hello\n"
    assert len(shown.opened) == 2


def test_what_was_built_here_is_looked_for_nowhere_else(elsewhere: Engine, here: Engine, busybox: Image) -> None:
    here.save(busybox, elsewhere.settings.root.parent / "saved.tar")
    (loaded,) = elsewhere.load(elsewhere.settings.root.parent / "saved.tar")
    elsewhere.tag(loaded, "localhost:1/ours")
    remove_tree(loaded.layers[0])
    with pytest.raises(StoreError, match="it is missing; build or pull the image again"):
        elsewhere.run("localhost:1/ours")
