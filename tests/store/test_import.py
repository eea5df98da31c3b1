"""Root file systems and archives that lie outside the store, as images."""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import io
import lzma
import os
import shutil
import socket
import tarfile
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer.errors import InvalidArchiveError, LayerLimitError, StoreError
from pytest_pycontainer.image.config import ImageConfig
from pytest_pycontainer.store import local_images
from pytest_pycontainer.store.import_layer import import_layer
from pytest_pycontainer.store.limits import LayerLimits
from pytest_pycontainer.store.load import load, load_path
from pytest_pycontainer.store.local_images import image_of_archive, image_of_directory, image_of_path
from pytest_pycontainer.store.save import save
from pytest_pycontainer.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A plain root file system."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "motd").write_text("hello")
    (root / "etc" / "issue").hardlink_to(root / "etc" / "motd")
    (root / "bin").symlink_to("usr/bin")
    return root


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that the test has just made count as old."""
    monkeypatch.setattr(local_images, "_TICK", -3_600_000_000_000)


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What has been imported and loaded, in order, to count it."""
    done = []

    def counted(name: str) -> None:
        original: Callable[..., str] = getattr(local_images, name)

        def call(store: Store, path: Path) -> str:
            done.append(name)
            return original(store, path)

        monkeypatch.setattr(local_images, name, call)

    counted("_import")
    counted("load_only_image")
    return done


def archived(root: Path) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.add(root, ".")
    return file.getvalue()


def names(store: Store, layer: str) -> set[str]:
    top = store.layers / layer[7:]
    return {str(path.relative_to(top)) for path in top.rglob("*")}


ALL = {"etc", "etc/motd", "etc/issue", "bin"}


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_an_archive_is_imported(store: Store, root: Path, tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    file = tmp_path / "root.tar"
    file.write_bytes(compress(archived(root)))
    layer = import_layer(store, file)
    assert names(store, layer) == ALL
    assert import_layer(store, str(file)) == layer
    assert import_layer(store, io.BytesIO(file.read_bytes())) == layer
    assert list(store.temporary.iterdir()) == []


def test_a_directory_is_imported(store: Store, root: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "socket"))
    layer = import_layer(store, root)
    assert names(store, layer) == ALL
    top = store.layers / layer[7:]
    assert (top / "etc" / "motd").samefile(top / "etc" / "issue")
    assert import_layer(store, root) == layer


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it is empty"),
        (b"rubbish" * 1000, "no tar archive"),
        (b"01234567" * 1000, "no tar archive"),
        (gzip.compress(bytes(5000))[:-9], "gzip data ends too early"),
        (b"x" * 100, "ends too early"),
    ],
    ids=["nothing", "rubbish", "digits", "compressed and cut off", "less than a block"],
)
def test_files_that_are_no_archives(store: Store, tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "root.tar"
    file.write_bytes(content)
    with pytest.raises(InvalidArchiveError, match=problem) as raised:
        import_layer(store, file)
    assert raised.value.path == str(file)
    assert str(file) in str(raised.value)
    with pytest.raises(InvalidArchiveError, match=problem):
        import_layer(store, io.BytesIO(content))
    assert list(store.layers.iterdir()) == list(store.temporary.iterdir()) == []


def test_a_path_that_leads_nowhere(store: Store, tmp_path: Path) -> None:
    for take in (import_layer, image_of_archive, image_of_directory, image_of_path, load_path):
        with pytest.raises(InvalidArchiveError, match="No such file") as raised:
            take(store, tmp_path / "nothing")
        assert raised.value.path == str(tmp_path / "nothing")


def test_an_entry_that_leads_out(store: Store, tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../out"))
    with pytest.raises(InvalidArchiveError, match=r"its entry '../out': .* leads out"):
        import_layer(store, io.BytesIO(file.getvalue()))


def test_a_directory_that_no_layer_can_hold(store: Store, root: Path) -> None:
    with pytest.raises(InvalidArchiveError, match="'host'"):
        import_layer(store, store.root.parent)
    (root / "etc" / ".wh.motd").touch()
    with pytest.raises(StoreError, match=r"etc/\.wh\.motd.* means a deletion"):
        import_layer(store, root)


def test_limits_hold_for_imports_too(root: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "limited", LayerLimits(entries=1))
    with pytest.raises(LayerLimitError):
        import_layer(store, io.BytesIO(archived(root)))


# A directory as an image


@pytest.mark.usefixtures("settled")
def test_a_directory_that_stays_is_imported_once(store: Store, root: Path, imports: list[str]) -> None:
    first = image_of_directory(store, root)
    assert names(store, *first.config.diff_ids) == ALL
    assert image_of_directory(store, str(root)) == image_of_path(store, root) == first
    assert image_of_directory(Store(store.root), root) == first
    assert imports == ["_import"]
    assert store.tags() == {}


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("change", ["content", "mode", "deleted", "added", "link"])
def test_a_directory_that_changes_is_another_image(store: Store, root: Path, change: str) -> None:
    file = root / "etc" / "motd"
    before = file.stat()
    first = image_of_directory(store, root)
    match change:
        case "content":
            file.write_text("HELLO")
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        case "mode":
            file.chmod(0o600)
        case "deleted":
            file.unlink()
        case "added":
            (root / "etc" / "new").touch()
        case "link":
            (root / "bin").unlink()
            (root / "bin").symlink_to("usr/nib")
    second = image_of_directory(store, root)
    assert second.id != first.id
    assert image_of_directory(store, root) == second


def test_what_has_just_changed_is_not_trusted(
    store: Store, root: Path, imports: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_images, "_TICK", 3_600_000_000_000)
    assert image_of_directory(store, root) == image_of_directory(store, root)
    assert imports == ["_import", "_import"]


@pytest.mark.usefixtures("settled")
def test_an_image_that_was_removed_is_imported_again(store: Store, root: Path, imports: list[str]) -> None:
    first = image_of_directory(store, root)
    shutil.rmtree(store.layers / first.config.diff_ids[0][7:])
    assert image_of_directory(store, root) == first
    assert store.has_layers(first.config)
    assert imports == ["_import"] * 2


# An archive as an image, an OCI layout


@pytest.fixture
def saved(store: Store, root: Path, tmp_path: Path) -> Path:
    """An archive of one image that has two names."""
    config = dataclasses.replace(ImageConfig.scratch(), diff_ids=(import_layer(store, root),), cmd=("sh",))
    image = store.put_image(config)
    for name in ("one:1", "one:2"):
        store.tag(image, name)
    file = tmp_path / "saved.tar"
    with file.open("wb") as archive:
        save(store, ["one:1", "one:2"], archive)
    return file


@pytest.fixture
def layout(saved: Path, tmp_path: Path) -> Path:
    """The same as a directory with an OCI layout."""
    with tarfile.open(saved) as archive:
        archive.extractall(tmp_path / "layout", filter="data")
    (tmp_path / "layout" / "manifest.json").unlink()
    return tmp_path / "layout"


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("form", ["archive", "layout"])
def test_an_archive_or_layout_is_loaded_once_without_names(
    store: Store, saved: Path, layout: Path, tmp_path: Path, imports: list[str], form: str
) -> None:
    path = saved if form == "archive" else layout
    other = Store(tmp_path / "other")
    image = image_of_path(other, path)
    assert image == store.image("one:1")
    assert image_of_path(other, path) == image
    assert other.tags() == {}
    assert imports == ["load_only_image"]


def test_a_layout_is_loaded_with_its_names(store: Store, layout: Path, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    (image,) = load_path(other, layout)
    assert image.id == store.image("one:1").id
    assert other.tags() == store.tags()


def test_links_lead_out_of_no_layout(layout: Path, tmp_path: Path) -> None:
    index = layout / "index.json"
    index.rename(tmp_path / "index.json")
    index.symlink_to(tmp_path / "index.json")
    with pytest.raises(InvalidArchiveError, match=r"neither .* index\.json"):
        load_path(Store(tmp_path / "other"), layout)


def test_an_archive_of_several_images_needs_a_choice(store: Store, saved: Path, tmp_path: Path) -> None:
    store.tag(store.put_image(ImageConfig.scratch()), "two")
    with saved.open("wb") as archive:
        save(store, ["one:1", "two"], archive)
    with pytest.raises(InvalidArchiveError, match="2 images: one:1, two:latest; load it, and choose") as raised:
        image_of_archive(Store(tmp_path / "other"), saved)
    assert str(saved) in str(raised.value)


def test_a_root_file_system_is_no_image_archive(store: Store, root: Path, tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(archived(root))
    with pytest.raises(InvalidArchiveError, match="is imported, not loaded"):
        image_of_archive(store, tmp_path / "root.tar")


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_an_image_keeps_its_id_through_archives_and_stores(store: Store, root: Path, tmp_path: Path, form: int) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        archive.add(root, ".")
        archive.add(root / "etc" / "motd", "etc/motd")  # twice
    layer = import_layer(store, io.BytesIO(file.getvalue() + b"trailing"))
    image = store.put_image(dataclasses.replace(ImageConfig.scratch(), diff_ids=(layer,)))
    for name in ("second", "third"):
        passed = io.BytesIO()
        save(store, [image], passed)
        store = Store(tmp_path / name)
        (loaded,) = load(store, io.BytesIO(passed.getvalue()))
        assert loaded.id == image
