from __future__ import annotations

import dataclasses
import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_pycontainer.errors import (
    DigestMismatchError,
    ImageNotFoundError,
    ImageNotPortableError,
    InvalidArchiveError,
    InvalidReferenceError,
    NoMatchingPlatformError,
    PycontainerError,
    StoreError,
)
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image import manifest as manifests
from pytest_pycontainer.image.config import ImageConfig
from pytest_pycontainer.image.platform import Platform
from pytest_pycontainer.store.load import LoadedImage, load
from pytest_pycontainer.store.save import save
from pytest_pycontainer.store.store import Store

PLATFORM = Platform.current()


def make_layer(store: Store, tmp_path: Path, name: str) -> str:
    upper = tmp_path / f"upper-{name}"
    upper.mkdir(mode=0o755)
    (upper / name).write_text(name * 1000)
    os.utime(upper / name, (1, 1))
    return store.commit_layer(upper)


@pytest.fixture
def base(store: Store, tmp_path: Path) -> str:
    """The ID of an image called base:1 and localhost:5000/team/base:two, of one layer and an empty one."""
    config = dataclasses.replace(
        ImageConfig.scratch(),
        diff_ids=(make_layer(store, tmp_path, "below"), digests.EMPTY_LAYER),
        cmd=("sh",),
    )
    image = store.put_image(config)
    for name in ("base:1", "localhost:5000/team/base:two"):
        store.tag(image, name)
    return image


@pytest.fixture
def child(store: Store, base: str, tmp_path: Path) -> str:
    """The ID of an image called child, which has a layer more than base."""
    config = store.config(base)
    layers = (*config.diff_ids, make_layer(store, tmp_path, "above"))
    image = store.put_image(dataclasses.replace(config, diff_ids=layers))
    store.tag(image, "child")
    return image


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store(tmp_path / "other")


def saved(store: Store, *references: str) -> bytes:
    file = io.BytesIO()
    save(store, references, file)
    return file.getvalue()


def loaded(store: Store, content: bytes) -> tuple[LoadedImage, ...]:
    return load(store, io.BytesIO(content))


def files_of(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {member.name: cast("BinaryIO", archive.extractfile(member)).read() for member in archive}


def packed(files: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def layer_names(store: Store, image: str) -> list[list[str]]:
    return [[path.name for path in layer.iterdir()] for layer in store.layer_directories(store.config(image))]


def is_empty(store: Store) -> bool:
    return not list(store.temporary.iterdir()) and not store.tags() and not list(store.blobs.iterdir())


@pytest.mark.parametrize("form", ["docker", "oci", "both"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_what_is_saved_is_loaded(
    store: Store, other: Store, base: str, child: str, form: str, compress: Callable[[bytes], bytes]
) -> None:
    files = files_of(saved(store, "base:1", "localhost:5000/team/base:two", "child"))
    if form == "docker":
        files = {name: content for name, content in files.items() if name not in ("index.json", "oci-layout")}
    elif form == "oci":
        del files["manifest.json"]
    found = loaded(other, compress(packed({**files})))
    assert [image.id for image in found] == [base, child]
    assert set(found[0].names) == {"docker.io/library/base:1", "localhost:5000/team/base:two"}
    assert other.tags() == store.tags()
    for image in (base, child):
        assert other.config(image) == store.config(image)
    assert layer_names(other, child) == [["above"], ["below"]]
    assert list(other.temporary.iterdir()) == []
    assert loaded(other, packed({**files})) == found


def test_each_blob_is_written_once_and_is_what_its_name_says(store: Store, base: str, child: str) -> None:
    content = saved(store, "base:1", "child", "child", base[7:19])
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        names = archive.getnames()
    assert len(names) == len(set(names))
    for name, blob in files_of(content).items():
        if name.startswith("blobs/"):
            assert digests.of(blob) == f"sha256:{name.rpartition('/')[2]}"
    listed = json.loads(files_of(content)["manifest.json"])
    assert [image["RepoTags"] for image in listed] == [["base:1"], ["child:latest", "child:latest"]]
    assert content == saved(store, "base:1", "child", "child", base[7:19])


def test_an_image_without_a_name(store: Store, other: Store, base: str) -> None:
    assert loaded(other, saved(store, base)) == (LoadedImage(base, ()),)
    assert other.tags() == {}
    assert other.config(base) == store.config(base)


def test_saving_needs_no_seekable_file_and_loading_none_either(store: Store, other: Store, base: str) -> None:
    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *arguments: Any) -> int:
            raise io.UnsupportedOperation

        tell = seek

    file = Stream()
    save(store, ["base:1"], file)
    assert load(other, Stream(file.getvalue()))[0].id == base


@pytest.mark.parametrize("recipe", ["there", "gone", "damaged"])
def test_a_layer_archived_by_another_program(store: Store, other: Store, recipe: str) -> None:
    foreign = packed({"file": b"x"}) + bytes(512)
    config = dataclasses.replace(ImageConfig.scratch(), diff_ids=(digests.of(foreign),))
    with store.layer_writer(manifests.OCI_LAYER) as layer:
        layer.write(foreign)
        layer.commit(digests.of(foreign))
    kept = store.recipes / digests.of(foreign)[7:]
    if recipe == "gone":
        kept.unlink()
    elif recipe == "damaged":
        kept.write_bytes(kept.read_bytes()[:-1])
    image_id = store.put_image(config)
    store.tag(image_id, "foreign")
    (image,) = loaded(other, saved(store, "foreign"))
    assert layer_names(other, image.id) == [["file"]]
    assert image.names == ("docker.io/library/foreign:latest",)
    assert (image.id == image_id) == (recipe == "there")


def test_a_config_comes_through_byte_for_byte(store: Store, other: Store) -> None:
    config = b'{ "os":"linux", "architecture" : "amd64" , "rootfs":{"type":"layers","diff_ids":[]}}'
    content = packed({"c.json": config, "manifest.json": b'[{"Config":"c.json","RepoTags":["odd"],"Layers":null}]'})
    (image,) = loaded(other, content)
    assert image.id == digests.of(config)
    assert loaded(store, saved(other, "odd"))[0].id == image.id


def test_old_dockers_layout_with_links_between_layers(store: Store, other: Store) -> None:
    layer = packed({"file": b"x"})
    config = json.dumps({"rootfs": {"diff_ids": [digests.of(layer)] * 2}}).encode()
    link = tarfile.TarInfo("two/layer.tar")
    link.type, link.linkname = tarfile.SYMTYPE, "../one/layer.tar"
    listed = [{"Config": "c.json", "RepoTags": None, "Layers": ["two/layer.tar", "one/layer.tar"]}]
    content: dict[str, bytes | tarfile.TarInfo] = {
        "c.json": config,
        "one/layer.tar": layer,
        "two/layer.tar": link,
        "manifest.json": json.dumps(listed).encode(),
    }
    (image,) = loaded(other, packed(content))
    assert layer_names(other, image.id) == [["file"]]


def oci(store: Store, base: str, *indexed: Platform) -> dict[str, bytes]:
    """An OCI layout whose image is an index for several platforms."""
    files = files_of(saved(store, base))
    del files["manifest.json"]
    described = json.loads(files["index.json"])["manifests"][0]
    entries = []
    for platform in indexed:
        entries.append({**described, "platform": {"os": platform.os, "architecture": platform.architecture}})
    inner = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    files["blobs/sha256/" + digests.of(inner)[7:]] = inner
    outer = {"mediaType": manifests.OCI_INDEX, "size": len(inner), "digest": digests.of(inner)}
    outer["annotations"] = {"org.opencontainers.image.ref.name": "many:platforms"}
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [outer]}).encode()
    return files


def test_an_image_for_several_platforms(store: Store, other: Store, base: str) -> None:
    files = oci(store, base, Platform("plan9", "mips"), PLATFORM)
    assert loaded(other, packed({**files})) == (LoadedImage(base, ("docker.io/library/many:platforms",)),)


def test_manifests_of_several_platforms_side_by_side(store: Store, other: Store, base: str) -> None:
    """As some programs list them: without an index that holds them together."""
    files = files_of(saved(store, base))
    del files["manifest.json"]
    described = json.loads(files["index.json"])["manifests"][0]
    absent = {**described, "digest": digests.of(b"not here"), "platform": {"os": "plan9", "architecture": "mips"}}
    ours = {**described, "platform": {"os": PLATFORM.os, "architecture": PLATFORM.architecture}}
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [absent, ours]}).encode()
    assert loaded(other, packed({**files})) == (LoadedImage(base, ()),)


def test_an_image_for_other_platforms(store: Store, other: Store, base: str) -> None:
    with pytest.raises(NoMatchingPlatformError, match="plan9/mips"):
        loaded(other, packed({**oci(store, base, Platform("plan9", "mips"))}))
    assert is_empty(other)


@pytest.mark.parametrize(
    ("listed", "problem"),
    [
        (b"[]", "it holds no image"),
        (b"[", "not JSON"),
        (b'{"a": 1}', "manifest.json is .*wanted an array of objects"),
        (b'[{"Config": 1}]', r"manifest\.json\[0\]\.Config is 1"),
        (b'[{"Layers": []}]', r"manifest\.json\[0\]\.Config is None"),
        (b'[{"Config": "/etc/passwd"}]', "names '/etc/passwd', which it does not hold"),
        (b'[{"Config": "../c.json"}]', "which it does not hold"),
        (b'[{"Config": "loop"}]', "which it does not hold"),
        (b'[{"Config": "c.json", "Layers": ["a", "b"]}]', "2 layers, and 1 in its config"),
        (b'[{"Config": "c.json", "Layers": ["missing"]}]', "names 'missing'"),
        (b'[{"Config": "host.json", "Layers": []}]', "a machine's root file system"),
    ],
)
def test_archives_that_are_not_what_they_should_be(other: Store, listed: bytes, problem: str) -> None:
    loop = tarfile.TarInfo("loop")
    loop.type, loop.linkname = tarfile.SYMTYPE, "loop"
    config = json.dumps({"rootfs": {"diff_ids": [digests.of(b"layer")]}}).encode()
    host = dataclasses.replace(ImageConfig.scratch(), host=digests.of(b"host")).to_json()
    content = packed({"c.json": config, "host.json": host, "loop": loop, "manifest.json": listed})
    with pytest.raises(InvalidArchiveError, match=problem):
        loaded(other, content)
    assert is_empty(other)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no tar archive"),
        (b"rubbish" * 1000, "no tar archive"),
        (gzip.compress(b"rubbish" * 1000), "no tar archive"),
        (gzip.compress(bytes(10240))[:-9], "ends too early"),
        (packed({"other": b""}), "neither manifest.json .* nor index.json"),
        (packed({"manifest.json": bytes(manifests.MANIFEST_BYTES_AT_MOST + 1)}), "wanted at most"),
    ],
    ids=["nothing", "rubbish", "compressed rubbish", "cut off", "another archive", "a bomb"],
)
def test_files_that_are_no_archives(other: Store, content: bytes, problem: str) -> None:
    with pytest.raises(InvalidArchiveError, match=problem):
        loaded(other, content)
    assert is_empty(other)


@pytest.mark.parametrize("form", ["docker", "oci"])
def test_a_layer_that_is_another_one(store: Store, other: Store, base: str, form: str) -> None:
    files = files_of(saved(store, base))
    if form == "oci":
        del files["manifest.json"]
    name = f"blobs/sha256/{store.config(base).diff_ids[0][7:]}"
    files[name] = packed({"below": b"something else"})
    with pytest.raises(DigestMismatchError, match="layer"):
        loaded(other, packed({**files}))
    assert is_empty(other)
    assert list(other.layers.iterdir()) == []


def test_a_blob_that_is_another_one(store: Store, other: Store, base: str) -> None:
    files = files_of(saved(store, base))
    del files["manifest.json"]
    files[f"blobs/sha256/{base[7:]}"] += b" "
    with pytest.raises(DigestMismatchError, match="blob"):
        loaded(other, packed({**files}))
    assert is_empty(other)


def test_a_name_that_is_none_is_found_before_anything_is_stored(other: Store) -> None:
    config = ImageConfig.scratch().to_json()
    listed = b'[{"Config": "c", "RepoTags": ["fine", "scratch"], "Layers": []}]'
    with pytest.raises(InvalidReferenceError, match="that name is taken"):
        loaded(other, packed({"c": config, "manifest.json": listed}))
    assert is_empty(other)


def test_images_that_cannot_be_saved(store: Store, base: str) -> None:
    with pytest.raises(ImageNotFoundError):
        saved(store, "base:1", "nothing")
    with pytest.raises(ImageNotPortableError, match="'host'"):
        saved(store, "host")
    shutil.rmtree(store.layers / store.config(base).diff_ids[0][7:])
    with pytest.raises(StoreError, match="it is missing"):
        saved(store, "base:1")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80, deadline=None)
@given(st.data())
def test_damage_anywhere_is_found_out(
    store: Store, base: str, child: str, tmp_path_factory: Any, data: st.DataObject
) -> None:
    content = bytearray(saved(store, "child"))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    other = Store(tmp_path_factory.mktemp("other"))
    with suppress(PycontainerError):
        (image,) = loaded(other, bytes(content))
        # What got in is whole: the image with that ID, or one that the damage named otherwise.
        assert other.has_layers(other.config(image.id))
        assert len(other.layer_directories(other.config(image.id))) == 2
    assert list(other.temporary.iterdir()) == []


def test_a_file_that_is_full(store: Store, base: str) -> None:
    with Path("/dev/full").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        save(store, [base], file)


# skopeo, where it is installed, has the last word


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="no skopeo here")
def test_skopeo_reads_ours_and_we_read_skopeos(store: Store, base: str, child: str, tmp_path: Path) -> None:
    ours = tmp_path / "ours.tar"
    ours.write_bytes(saved(store, "base:1", "child"))

    def copy(source: str, target: str, *options: str) -> None:
        command = ["skopeo", "--insecure-policy", "copy", "-q", *options, source, target]
        subprocess.run(command, check=True, timeout=60, stdin=subprocess.DEVNULL)

    copy(f"docker-archive:{ours}:child:latest", f"docker-archive:{tmp_path}/docker.tar:child:again")
    copy(f"docker-archive:{ours}:child:latest", f"oci-archive:{tmp_path}/gzip.tar:child:again")
    copy(f"oci-archive:{ours}:latest", f"oci-archive:{tmp_path}/oci.tar:x/child:again")
    for name in ("docker", "gzip", "oci"):
        other = Store(tmp_path / name)
        with (tmp_path / f"{name}.tar").open("rb") as file:
            (image,) = load(other, file)
        assert image.names[0].endswith("child:again")
        assert layer_names(other, image.id) == [["above"], ["below"]]
        assert other.config(image.id).cmd == ("sh",)
