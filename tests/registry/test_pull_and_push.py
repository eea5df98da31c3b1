"""Images to a real registry and back."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer.errors import (
    DigestMismatchError,
    ImageNotFoundError,
    ImageNotInRegistryError,
    ImageNotPortableError,
    InvalidManifestError,
    InvalidReferenceError,
    NoMatchingPlatformError,
    RegistryAnswerError,
    StoreError,
)
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image.config import ImageConfig
from pytest_pycontainer.image.manifest import (
    DOCKER_CONFIG,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    Descriptor,
    Index,
    Manifest,
)
from pytest_pycontainer.image.platform import Platform
from pytest_pycontainer.image.reference import Reference
from pytest_pycontainer.kernel.removal import remove_tree
from pytest_pycontainer.registry.progress import Stage
from pytest_pycontainer.registry.pull import pull
from pytest_pycontainer.registry.push import push
from pytest_pycontainer.registry.registries import Registries
from pytest_pycontainer.registry.repository import Repository
from pytest_pycontainer.registry.upload import upload_blob
from pytest_pycontainer.store.store import Store

if TYPE_CHECKING:
    from tests.registry.conftest import Registry, SmallServer

Serve = Callable[..., "SmallServer"]
MakeImage = Callable[..., str]
NewStore = Callable[[], Store]


def files(store: Store, config: ImageConfig) -> list[dict[str, bytes]]:
    """The files of each layer, topmost first."""
    return [
        {str(file.relative_to(layer)): file.read_bytes() for file in layer.rglob("*") if file.is_file()}
        for layer in store.layer_directories(config)
    ]


def is_empty(store: Store) -> bool:
    return not store.tags() and not any(any(place.iterdir()) for place in (store.blobs, store.layers, store.temporary))


def put_blob(repository: Repository, media_type: str, content: bytes, directory: Path) -> Descriptor:
    blob = Descriptor(media_type, digests.of(content), len(content))
    path = directory / "blob"
    path.write_bytes(content)
    with path.open("rb") as file:
        upload_blob(repository, blob, file)
    return blob


def put_manifest(repository: Repository, reference: Reference, manifest: Manifest | Index) -> Descriptor:
    content = manifest.to_json()
    repository.put_manifest(reference, manifest.media_type, content)
    return Descriptor(manifest.media_type, digests.of(content), len(content))


def foreign_layer() -> bytes:
    """A layer archive that our own writer would write otherwise: its names begin with ./, and it has GNU's magic."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.GNU_FORMAT) as tar:
        entry = tarfile.TarInfo("./etc/greeting")
        entry.size = 5
        tar.addfile(entry, io.BytesIO(b"hello"))
    return archive.getvalue()


def config_of(*archives: bytes, architecture: str | None = None, **more: object) -> bytes:
    here = Platform.current()
    config = ImageConfig(
        architecture or here.architecture,
        here.os,
        here.variant if architecture is None else None,
        diff_ids=tuple(map(digests.of, archives)),
        **more,  # type: ignore[arg-type]
    )
    # Indented: an image's ID is the digest of the bytes that came, whatever we would write.
    return config.to_json().replace(b',"', b',\n  "')


def test_what_is_pushed_is_what_is_pulled(
    registries: Registries, name: str, new_store: NewStore, make_image: MakeImage
) -> None:
    here, there = new_store(), new_store()
    image = make_image(here, {"a": b"1"}, {}, {"b/c": os.urandom(300_000), "d": b""}, cmd=("/a",))
    manifest = push(here, registries, image, f"{name}:1")
    pulled = pull(there, registries, f"{name}:1")
    assert (pulled.id, pulled.config.cmd) == (image, ("/a",))
    assert files(there, pulled.config) == files(here, here.config(image))
    assert there.image(f"{name}:1") == pulled
    assert pull(new_store(), registries, f"{name}@{manifest}").id == image


def test_what_is_here_costs_one_head_and_by_digest_nothing(
    registry: Registry, registries: Registries, name: str, new_store: NewStore, make_image: MakeImage
) -> None:
    here, there = new_store(), new_store()
    image = make_image(here, {"a": b"1"})
    manifest = push(here, registries, image, f"{name}:1")
    pull(there, registries, f"{name}:1")
    before = len(registry.requests(name))
    assert pull(there, registries, f"{name}:1").id == image
    assert registry.requests(name)[before:] == ["HEAD manifests/1"]
    assert pull(there, registries, f"{name}@{manifest}").id == image
    assert len(registry.requests(name)) == before + 1
    assert there.image(f"{name}@{manifest}").id == image


def test_a_tag_that_moved_is_pulled_again_without_the_layers_that_are_here(
    registry: Registry, registries: Registries, name: str, new_store: NewStore, make_image: MakeImage
) -> None:
    here, there = new_store(), new_store()
    push(here, registries, make_image(here, {"a": b"1"}), f"{name}:1")
    pull(there, registries, f"{name}:1")
    moved = make_image(here, {"a": b"1"}, {"b": b"2"})
    push(here, registries, moved, f"{name}:1")
    before = len(registry.requests(name))
    assert pull(there, registries, f"{name}:1").id == moved
    assert there.image(f"{name}:1").id == moved
    kinds = [request.partition("/")[0] for request in registry.requests(name)[before:]]
    assert kinds == ["HEAD manifests", "GET manifests", "GET blobs", "GET blobs"]  # config and one layer


def test_layers_lost_from_the_store_are_pulled_again(
    registries: Registries, name: str, new_store: NewStore, make_image: MakeImage
) -> None:
    here, there = new_store(), new_store()
    push(here, registries, make_image(here, {"a": b"1"}), f"{name}:1")
    pulled = pull(there, registries, f"{name}:1")
    (layer,) = there.layer_directories(pulled.config)
    layer.rename(layer.parent.parent / "elsewhere")
    pull(there, registries, f"{name}:1")
    assert files(there, pulled.config) == [{"a": b"1"}]


def test_many_that_pull_at_once_download_once(
    registry: Registry, registries: Registries, name: str, new_store: NewStore, make_image: MakeImage
) -> None:
    here, there = new_store(), new_store()
    shared = {"shared": os.urandom(2 << 20)}
    names = [f"{name}:1", f"{name}:2"]
    images = [make_image(here, shared, {"own": b"1"}), make_image(here, shared, {"own": b"2"})]
    for image, tag in zip(images, names, strict=True):
        push(here, registries, image, tag)
    before = len(registry.requests(name))
    with ThreadPoolExecutor(6) as threads:
        pulled = list(threads.map(lambda tag: pull(Store(there.root), registries, tag).id, names * 3))
    assert pulled == images * 3
    downloads = [request for request in registry.requests(name)[before:] if request.startswith("GET")]
    assert len(downloads) == len(set(downloads)) == 2 + 2 + 1 + 2  # manifests, configs, the shared layer, their own


PULL = """
import sys
from pathlib import Path
from pytest_pycontainer.registry.pull import pull
from pytest_pycontainer.registry.registries import Registries
from pytest_pycontainer.store.store import Store
with Registries() as registries:
    pull(Store(Path(sys.argv[1])), registries, sys.argv[2])
"""


def test_processes_that_pull_at_once_download_once(
    registry: Registry, registries: Registries, name: str, new_store: NewStore, make_image: MakeImage
) -> None:
    here, there = new_store(), new_store()
    image = make_image(here, {"a": os.urandom(2 << 20)})
    push(here, registries, image, f"{name}:1")
    before = len(registry.requests(name))
    command = [sys.executable, "-c", PULL, str(there.root), f"{name}:1"]
    running = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(timeout=60) for process in running] == [0, 0, 0]
    assert there.image(f"{name}:1").id == image
    downloads = [request for request in registry.requests(name)[before:] if request.startswith("GET")]
    assert len(downloads) == len(set(downloads)) == 3


def test_a_second_push_sends_only_what_is_new(
    registry: Registry, registries: Registries, name: str, new_store: NewStore, make_image: MakeImage
) -> None:
    store = new_store()
    push(store, registries, make_image(store, {"a": b"1"}), f"{name}:1")
    before = len(registry.requests(name))
    told: dict[str, Stage] = {}
    image = make_image(store, {"a": b"1"}, {"b": b"2"})
    push(
        store, registries, image, f"{name}:2", progress=lambda digest, stage, done, total: told.update({digest: stage})
    )
    requests = [request.partition("?")[0] for request in registry.requests(name)[before:]]
    assert sum(request.startswith("PUT blobs") for request in requests) == 2  # the new layer and the config
    assert list(map(told.get, store.config(image).diff_ids)) == [Stage.HERE, Stage.DONE]


def test_blobs_are_mounted_from_another_repository(
    registry: Registry, registries: Registries, name: str, new_store: NewStore, make_image: MakeImage
) -> None:
    store = new_store()
    image = make_image(store, {"a": b"1"})
    push(store, registries, image, f"{name}:1")
    push(store, registries, image, f"{name}-copy:1")
    requests = registry.requests(f"{name}-copy")
    assert sum(request.startswith("POST blobs/uploads/?mount=") for request in requests) == 1
    assert sum(request.startswith("PUT blobs") for request in requests) == 1  # the config
    assert pull(new_store(), registries, f"{name}-copy:1").id == image


@pytest.mark.parametrize("without", ["recipe", "source"])
def test_a_layer_that_somebody_else_archived_travels_on_as_it_was(
    registry: Registry,
    htpasswd_registry: Registry,
    registries: Registries,
    name: str,
    new_store: NewStore,
    tmp_path: Path,
    without: str,
) -> None:
    """To another registry, where there is nothing to mount it from."""
    reference = Reference.parse(f"{name}:1")
    archive = foreign_layer()
    config = config_of(archive)
    repository = registries.repository(reference)
    layer = put_blob(repository, DOCKER_LAYER_GZIP, gzip.compress(archive, 1), tmp_path)
    manifest = Manifest(put_blob(repository, DOCKER_CONFIG, config, tmp_path), (layer,), DOCKER_MANIFEST)
    put_manifest(repository, reference, manifest)
    store = new_store()
    pulled = pull(store, registries, str(reference))
    assert pulled.id == digests.of(config)
    assert files(store, pulled.config) == [{"etc/greeting": b"hello"}]
    registries.login(htpasswd_registry.host, htpasswd_registry.user, htpasswd_registry.password)
    if without == "recipe":
        remove_tree(store.recipes)  # then it is fetched from where it came from
    else:
        store.layer_note(digests.of(archive), "blobs").unlink()
    elsewhere = f"{htpasswd_registry.host}/elsewhere:1"
    push(store, registries, pulled.id, elsewhere)
    again = pull(new_store(), registries, elsewhere)
    assert again.id == pulled.id


@pytest.mark.parametrize("compressed", [True, False])
def test_an_index_gives_the_image_for_the_platform(
    registries: Registries, name: str, new_store: NewStore, tmp_path: Path, compressed: bool
) -> None:
    reference = Reference.parse(f"{name}:{compressed}")
    repository = registries.repository(reference)
    archive = foreign_layer()
    content, kind = (gzip.compress(archive), OCI_LAYER_GZIP) if compressed else (archive, OCI_LAYER)
    layer = put_blob(repository, kind, content, tmp_path)
    manifests = []
    for platform in (Platform("linux", "s390x"), Platform.current()):
        config = put_blob(repository, OCI_CONFIG, config_of(archive, architecture=platform.architecture), tmp_path)
        single = Manifest(config, (layer,))
        tag = Reference(reference.domain, reference.path, f"{platform.architecture}-{compressed}", None)
        found = put_manifest(repository, tag, single)
        manifests.append(Descriptor(found.media_type, found.digest, found.size, platform))
    put_manifest(repository, reference, Index(tuple(manifests), OCI_INDEX))
    store = new_store()
    ours = pull(store, registries, str(reference))
    assert ours.config.architecture == Platform.current().architecture
    theirs = pull(store, registries, str(reference), platform=Platform("linux", "s390x"))
    assert theirs.config.architecture == "s390x"
    assert pull(store, registries, str(reference)) == ours
    with pytest.raises(NoMatchingPlatformError, match="s390x"):
        pull(store, registries, str(reference), platform=Platform("linux", "riscv64"))
    # An image that is there for one platform only says so in its config.
    with pytest.raises(NoMatchingPlatformError, match="s390x"):
        pull(store, registries, f"{name}:s390x-{compressed}", platform=Platform("linux", "riscv64"))


def test_near_tags_are_named(registries: Registries, name: str, new_store: NewStore, make_image: MakeImage) -> None:
    store = new_store()
    push(store, registries, make_image(store, {"a": b"1"}), f"{name}:7.2-bookworm")
    with pytest.raises(ImageNotInRegistryError) as caught:
        pull(store, registries, f"{name}:7.3-bookworm")
    assert caught.value.known == (f"{name}:7.2-bookworm",)
    with pytest.raises(ImageNotInRegistryError) as caught:
        pull(store, registries, f"{name}-other:1")
    assert (caught.value.reference, caught.value.known) == (f"{name}-other:1", ())


def test_what_cannot_be_pushed_or_pulled(registries: Registries, name: str, new_store: NewStore) -> None:
    store = new_store()
    with pytest.raises(ImageNotPortableError):
        push(store, registries, "host", f"{name}:1")
    with pytest.raises(ImageNotFoundError):
        push(store, registries, f"{name}:1")
    with pytest.raises(InvalidReferenceError):
        pull(store, registries, "host")


def test_a_damaged_blob_is_refused_and_leaves_nothing(
    registry: Registry, registries: Registries, name: str, new_store: NewStore, make_image: MakeImage
) -> None:
    here, there = new_store(), new_store()
    image = make_image(here, {"a": os.urandom(1000)})
    push(here, registries, image, f"{name}:1")
    layers = [request for request in registry.requests(name) if request.startswith("HEAD blobs/")]
    digest = layers[0].rpartition("/")[2]
    digits = digest.removeprefix("sha256:")
    path = f"/var/lib/docker-registry/docker/registry/v2/blobs/sha256/{digits[:2]}/{digits}/data"
    swapped = f"tail -c 8 {path} > /tmp/end && truncate -s -8 {path} && head -c 8 /dev/zero >> {path}"
    assert registry.container.exec(["sh", "-c", swapped]).exit_code == 0
    with pytest.raises(DigestMismatchError) as caught:
        pull(there, registries, f"{name}:1")
    assert caught.value.wanted == digest
    assert is_empty(there)
    mended = f"truncate -s -8 {path} && cat /tmp/end >> {path}"
    assert registry.container.exec(["sh", "-c", mended]).exit_code == 0
    assert pull(there, registries, f"{name}:1").id == image


def test_a_layer_with_another_diff_id_is_refused(
    registries: Registries, name: str, new_store: NewStore, tmp_path: Path
) -> None:
    reference = Reference.parse(f"{name}:1")
    repository = registries.repository(reference)
    layer = put_blob(repository, OCI_LAYER, foreign_layer(), tmp_path)
    config = put_blob(repository, OCI_CONFIG, config_of(b"something else"), tmp_path)
    put_manifest(repository, reference, Manifest(config, (layer,)))
    store = new_store()
    with pytest.raises(DigestMismatchError):
        pull(store, registries, str(reference))
    assert is_empty(store)


def test_a_registry_that_knows_no_head_is_pulled_from(
    registry: Registry, serve: Serve, registries: Registries, name: str, new_store: NewStore, make_image: MakeImage
) -> None:
    ours = new_store()
    image = make_image(ours, {"file": b"content"})
    ours.tag(image, f"{name}:1")
    push(ours, registries, image, f"{name}:1")

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        if method == "HEAD":
            return 405, {}, b""
        return 307, {"Location": f"http://{registry.host}{path}"}, b""

    server = serve(answer)
    store = new_store()
    pulled = pull(store, registries, name.replace(registry.host, server.host) + ":1")
    assert (pulled.id, store.has_layers(pulled.config)) == (image, True)


def test_what_is_no_image_is_refused(registries: Registries, name: str, new_store: NewStore, tmp_path: Path) -> None:
    repository = registries.repository(Reference.parse(name))
    chart = put_blob(repository, "application/vnd.cncf.helm.config.v1+json", b"{}", tmp_path)
    put_manifest(repository, Reference.parse(f"{name}:chart"), Manifest(chart, ()))
    with pytest.raises(RegistryAnswerError, match=r"no image but something of type .*helm"):
        pull(new_store(), registries, f"{name}:chart")
    config = put_blob(repository, OCI_CONFIG, config_of(b"1", b"2"), tmp_path)
    put_manifest(repository, Reference.parse(f"{name}:uneven"), Manifest(config, ()))
    with pytest.raises(InvalidManifestError, match="0 layers, and its config has 2"):
        pull(new_store(), registries, f"{name}:uneven")


def test_an_image_that_claims_this_machines_root_is_refused(
    registries: Registries, name: str, new_store: NewStore, tmp_path: Path
) -> None:
    repository = registries.repository(Reference.parse(name))
    store = new_store()
    content = store.image("host").config.to_json()
    config = put_blob(repository, OCI_CONFIG, content, tmp_path)
    put_manifest(repository, Reference.parse(f"{name}:host"), Manifest(config, ()))
    with pytest.raises(InvalidManifestError, match="names a host image"):
        pull(store, registries, f"{name}:host")


def test_a_failure_of_progress_ends_the_pull_and_leaves_nothing(
    registries: Registries, name: str, new_store: NewStore, make_image: MakeImage
) -> None:
    here, there = new_store(), new_store()
    push(here, registries, make_image(here, {"a": os.urandom(1 << 20)}, {"b": b"2"}), f"{name}:1")

    def fail(digest: str, stage: Stage, done: int, total: int) -> None:
        if stage is Stage.DOWNLOADING:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        pull(there, registries, f"{name}:1", progress=fail)
    assert is_empty(there)


def test_progress_counts_every_byte(
    registries: Registries, name: str, new_store: NewStore, make_image: MakeImage
) -> None:
    here = new_store()
    image = push(here, registries, make_image(here, {"a": os.urandom(1 << 20)}), f"{name}:1")
    news: list[tuple[Stage, int, int]] = []
    digests: list[str] = []

    def note(digest: str, stage: Stage, done: int, total: int) -> None:
        news.append((stage, done, total))
        digests.append(digest)

    there = new_store()
    pull(there, registries, f"{name}:1", progress=note)
    assert news[0][:2] == (Stage.WAITING, 0)
    total = news[0][2]
    downloaded = [done for stage, done, _ in news if stage is Stage.DOWNLOADING]
    assert downloaded == sorted(downloaded)
    assert downloaded[-1] == total > 1 << 20
    assert news[-2] == (Stage.DONE, total, total)
    assert (digests.pop(), news.pop()) == (image, (Stage.IMAGE, 0, 0))
    news.clear()
    pull(there, registries, f"{name}:1", progress=note)
    assert (digests.pop(), news) == (image, [(Stage.IMAGE, 0, 0)])


def test_a_lost_layer_cannot_be_pushed(
    registries: Registries, name: str, new_store: NewStore, make_image: MakeImage
) -> None:
    store = new_store()
    image = make_image(store, {"a": b"1"})
    (layer,) = store.layer_directories(store.config(image))
    (layer / "a").write_bytes(b"changed")
    with pytest.raises(StoreError, match="pull or build the image again"):
        push(store, registries, image, f"{name}:1")
