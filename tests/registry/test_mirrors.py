"""Mirrors, at real registries: asked first, passed over when they fail, and never told what is not theirs."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer import Engine, Settings
from pytest_pycontainer.errors import (
    AccessDeniedError,
    CertificateFileError,
    DigestMismatchError,
    ImageNotInRegistryError,
    RegistryUnavailableError,
)
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image.manifest import Manifest
from pytest_pycontainer.image.reference import Reference
from pytest_pycontainer.registry.credentials import Credentials, CredentialStore
from pytest_pycontainer.registry.download import read_blob
from pytest_pycontainer.registry.pull import pull
from pytest_pycontainer.registry.push import push
from pytest_pycontainer.registry.registries import Registries, RegistryOptions
from pytest_pycontainer.store.store import Store

if TYPE_CHECKING:
    from tests.registry.conftest import Registry, SmallServer

MakeImage = Callable[..., str]
NewStore = Callable[[], Store]
Mirrored = Callable[..., AbstractContextManager[Registries]]
Answer = tuple[int, dict[str, str], bytes]

DOWN = "http://127.0.0.1:9"


@pytest.fixture
def mirrored(credentials: CredentialStore) -> Mirrored:
    """Registries of which one has mirrors."""

    @contextmanager
    def make(registry: str, *mirrors: str) -> Iterator[Registries]:
        options = RegistryOptions(mirrors={registry: mirrors})
        with Registries(options, credentials=credentials, sleep=lambda _: None) as registries:
            yield registries

    return make


@pytest.fixture(scope="session")
def mirror(run_registry: Callable[..., Registry]) -> Iterator[Registry]:
    mirror = run_registry("plain")
    yield mirror
    mirror.container.remove(force=True)


def test_a_mirror_is_asked_for_everything_and_its_registry_for_nothing(
    mirror: Registry,
    registries: Registries,
    mirrored: Mirrored,
    new_store: NewStore,
    make_image: MakeImage,
) -> None:
    """The registry is down, and would be on the network at all only by docker.io's name."""
    store = new_store()
    image = make_image(store, {"a": b"1"}, {"b": b"2"})
    digest = push(store, registries, image, f"{mirror.host}/hub/library/mirrored:1")
    with mirrored("docker.io", f"http://{mirror.host}/hub") as reached:
        other = new_store()
        assert pull(other, reached, "mirrored:1").id == image
        assert other.image("docker.io/library/mirrored:1").id == image
        assert pull(new_store(), reached, f"mirrored@{digest}").id == image


def test_mirrors_that_fail_are_passed_over_in_their_order(
    registry: Registry,
    mirror: Registry,
    htpasswd_registry: Registry,
    registries: Registries,
    mirrored: Mirrored,
    new_store: NewStore,
    make_image: MakeImage,
    serve: Callable[..., SmallServer],
    name: str,
) -> None:
    broken = serve(lambda *_: (500, {}, b""))
    store = new_store()
    image = make_image(store, {"a": b"1"}, {"b": b"2"})
    push(store, registries, image, name)
    mirrors = (
        DOWN,
        f"http://{broken.host}",
        f"http://{htpasswd_registry.host}",  # refuses
        f"http://{mirror.host}/none",  # lacks it
    )
    with mirrored(registry.host, *mirrors) as reached:
        assert pull(new_store(), reached, name).id == image
        assert len(broken.seen) == 1  # and not once for each blob, nor several times
        with pytest.raises(ImageNotInRegistryError) as caught:
            pull(new_store(), reached, f"{name}:other")
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        down, out_of_order, refusing, lacking = error.__notes__
        assert "127.0.0.1:9" in down
        assert "refused" in down
        assert "500" in out_of_order
        assert "there are none for it" in refusing
        assert "no image" in lacking


def test_blobs_that_a_mirror_lacks_come_from_the_registry(
    registry: Registry,
    registries: Registries,
    mirrored: Mirrored,
    new_store: NewStore,
    make_image: MakeImage,
    serve: Callable[..., SmallServer],
    name: str,
) -> None:
    store = new_store()
    image = make_image(store, {"a": b"1"})
    digest = push(store, registries, image, name)
    partial = serve(
        lambda method, path, *_: (200, {"Docker-Content-Digest": digest}, b"") if method == "HEAD" else (404, {}, b"")
    )
    with mirrored(registry.host, f"http://{partial.host}") as reached:
        assert pull(new_store(), reached, name).id == image
    assert [method for method, _, _ in partial.seen] == ["HEAD", "GET"]


def test_a_mirror_that_sends_something_else(
    registry: Registry,
    registries: Registries,
    mirrored: Mirrored,
    new_store: NewStore,
    make_image: MakeImage,
    serve: Callable[..., SmallServer],
    name: str,
) -> None:
    """Another manifest is passed over; a blob is found out when it has streamed, and the error says who sent it."""
    store = new_store()
    image = make_image(store, {"a": b"1"})
    digest = push(store, registries, image, name)
    _, manifest = registries.repository(Reference.parse(name)).manifest(Reference.parse(f"{name}@{digest}"))

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if "/manifests/" in path:
            return 200, {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}, content
        return 200, {}, bytes(10)

    liar = serve(answer)
    with mirrored(registry.host, f"http://{liar.host}") as reached:
        content = b"{}"
        assert pull(new_store(), reached, f"{name}@{digest}").id == image
        content = manifest
        with pytest.raises(DigestMismatchError, match=f"sent by {liar.host}"):
            pull(new_store(), reached, f"{name}@{digest}")


def test_a_transfer_that_a_mirror_breaks_off_goes_on_at_the_registry(
    registry: Registry,
    registries: Registries,
    mirrored: Mirrored,
    new_store: NewStore,
    make_image: MakeImage,
    serve: Callable[..., SmallServer],
    name: str,
) -> None:
    store = new_store()
    digest = push(store, registries, make_image(store, {"a": bytes(range(256)) * 400}), name)
    repository = registries.repository(Reference.parse(name))
    _, manifest = repository.manifest(Reference.parse(f"{name}@{digest}"))
    layer = Manifest.from_json(manifest).layers[0].digest
    with repository.blob(layer) as response:
        content = response.read(1 << 20)

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if not path.endswith(layer):
            return 404, {}, b""
        return 200, {"Content-Length": str(len(content)), "Connection": "close"}, content[:100]

    breaking = serve(lambda *request: answer(*request))
    with mirrored(registry.host, f"http://{breaking.host}") as reached:
        source = reached.source(Reference.parse(name))
        blob = Manifest.from_json(manifest).layers[0]
        assert digests.of(read_blob(source, blob)) == layer
    assert len(breaking.seen) == 2
    assert any(layer in line for line in registry.requests(name))


def test_each_gets_its_own_password(
    mirrored: Mirrored,
    credentials: CredentialStore,
    new_store: NewStore,
    serve: Callable[..., SmallServer],
) -> None:
    """Neither the mirror the registry's, nor the registry the mirror's (CVE-2020-15157)."""

    def wants_a_password(*request: object) -> Answer:
        return 401, {"WWW-Authenticate": 'Basic realm="here"'}, b""

    mirror, registry = serve(wants_a_password), serve(wants_a_password)
    credentials.save(registry.host, Credentials("registry", "secret"))
    with (
        mirrored(registry.host, f"http://{mirror.host}") as reached,
        pytest.raises(AccessDeniedError) as caught,
    ):
        pull(new_store(), reached, f"{registry.host}/a:1")
    assert ["there are none for it" in note for note in caught.value.__notes__] == [True]
    assert {headers.get("authorization") for _, _, headers in mirror.seen} == {None}
    assert {headers.get("authorization") for _, _, headers in registry.seen} == {None, "Basic cmVnaXN0cnk6c2VjcmV0"}
    credentials.save(mirror.host, Credentials("mirror", "other"))
    registry.seen.clear()
    with (
        mirrored(registry.host, f"http://{mirror.host}") as reached,
        pytest.raises(AccessDeniedError),
    ):
        pull(new_store(), reached, f"{registry.host}/a:1")
    assert "Basic bWlycm9yOm90aGVy" in {headers.get("authorization") for _, _, headers in mirror.seen}
    assert "Basic bWlycm9yOm90aGVy" not in {headers.get("authorization") for _, _, headers in registry.seen}


def test_nothing_is_pushed_to_a_mirror(
    registry: Registry,
    mirrored: Mirrored,
    new_store: NewStore,
    make_image: MakeImage,
    serve: Callable[..., SmallServer],
    name: str,
) -> None:
    mirror = serve(lambda *_: (404, {}, b""))
    store = new_store()
    image = make_image(store, {"a": b"1"})
    with mirrored(registry.host, f"http://{mirror.host}") as reached:
        push(store, reached, image, name)
        assert mirror.seen == []
        assert pull(new_store(), reached, name).id == image
        assert mirror.seen != []


def test_certificates_of_a_mirror_that_can_not_be_used_are_no_reason_to_pass_it_over(
    registry: Registry, credentials: CredentialStore, new_store: NewStore, tmp_path: Path
) -> None:
    (tmp_path / "mirror.test").mkdir()
    (tmp_path / "mirror.test/ca.crt").write_text("nonsense")
    options = RegistryOptions(mirrors={registry.host: ("https://mirror.test",)}, certificates=tmp_path)
    with Registries(options, credentials=credentials) as registries, pytest.raises(CertificateFileError):
        pull(new_store(), registries, f"{registry.host}/a:1")


def test_the_engine_takes_it_all_from_its_settings(
    mirror: Registry,
    registries: Registries,
    engine: Engine,
    new_store: NewStore,
    make_image: MakeImage,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    store = new_store()
    image = make_image(store, {"a": b"1"})
    push(store, registries, image, f"{mirror.host}/library/by-settings:1")
    places = Settings(tmp_path / "store", engine.settings.state)
    settings = Settings.read(
        environment={},
        options={
            "root": str(places.root),
            "state": str(places.state),
            "registry_mirrors": f"{DOWN},http://{mirror.host}",
            "insecure_registries": "lan.test",
            "proxy": "http://127.0.0.1:9",
        },
    )
    with Engine(settings) as mirrored:
        assert mirrored.pull("by-settings:1").id == image
        with pytest.raises(RegistryUnavailableError, match="refused"):
            mirrored.pull("127.0.0.1:9/a")
        options = mirrored._resources.registries._options
        assert (options.insecure, options.proxy) == (frozenset({"lan.test"}), "http://127.0.0.1:9")
