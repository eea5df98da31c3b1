from __future__ import annotations

import dataclasses
import os
import pickle
import stat
import threading
from pathlib import Path

import pytest

from pytest_pycontainer.errors import (
    ImageNotFoundError,
    ImageOutdatedError,
    InvalidReferenceError,
    StoreError,
)
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image.config import ImageConfig
from pytest_pycontainer.store.host import host_identity
from pytest_pycontainer.store.store import Store

REDIS = ImageConfig("amd64", "linux", cmd=("redis-server",))
NGINX = ImageConfig("amd64", "linux", cmd=("nginx",))


def test_the_store_is_its_owners_alone(store: Store) -> None:
    for path in (store.root, *(path for path in store.root.rglob("*") if path.is_dir())):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_an_image_is_found_by_id_prefix_and_name(store: Store) -> None:
    image_id = store.put_image(REDIS)
    store.put_image(NGINX)
    store.tag(image_id, "my-redis:7")
    for reference in ("my-redis:7", "docker.io/library/my-redis:7", image_id, image_id[:19], image_id[7:19]):
        found = store.image(reference)
        assert (found.id, found.config) == (image_id, REDIS)
    assert image_id == digests.of(REDIS.to_json())
    assert store.tags() == {"docker.io/library/my-redis:7": image_id}


def test_another_store_in_the_same_directory_sees_it(store: Store) -> None:
    image_id = store.put_image(REDIS)
    store.tag(image_id, "redis")
    assert Store(store.root).image("redis").id == image_id


def test_a_tag_moves(store: Store) -> None:
    store.tag(store.put_image(REDIS), "web")
    store.tag(store.put_image(NGINX), "web")
    assert store.image("web").config == NGINX


def test_an_unknown_image_is_named_with_its_neighbours(store: Store) -> None:
    store.tag(store.put_image(REDIS), "my-redis")
    with pytest.raises(ImageNotFoundError) as caught:
        store.image("my-rediss")
    assert caught.value.known == ("my-redis:latest",)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_an_ambiguous_prefix_names_what_it_could_be(store: Store) -> None:
    ids: list[str] = []
    number = 0
    while len({image_id[:8] for image_id in ids}) == len(ids):
        ids.append(store.put_image(dataclasses.replace(REDIS, user=str(number))))
        number += 1
    prefix = ids[-1][7:8]
    with pytest.raises(ImageNotFoundError) as caught:
        store.image(prefix)
    assert set(caught.value.known) == {digests.short(image_id) for image_id in ids if image_id[7] == prefix}


@pytest.mark.parametrize("reference", ["Redis", "../../etc/passwd", "", "a b"])
def test_text_that_is_no_reference_is_refused(store: Store, reference: str) -> None:
    with pytest.raises(InvalidReferenceError):
        store.image(reference)
    with pytest.raises(InvalidReferenceError):
        store.tag(store.put_image(REDIS), reference)


@pytest.mark.parametrize("name", ["host", "scratch"])
def test_names_of_images_that_are_always_there_cannot_be_given(store: Store, name: str) -> None:
    with pytest.raises(InvalidReferenceError, match="that name is taken"):
        store.tag(store.put_image(REDIS), name)


def test_an_id_is_no_name(store: Store) -> None:
    image = store.put_image(REDIS)
    with pytest.raises(InvalidReferenceError, match="an image's ID"):
        store.tag(image, f"sha256:{'0' * 64}")


def test_a_name_longer_than_a_files_can_be(store: Store) -> None:
    name = "localhost:5000/" + "a/" * 100 + "b" * 30 + ":" + "t" * 128
    image_id = store.put_image(REDIS)
    store.tag(image_id, name)
    assert store.image(name).id == image_id


def test_tagging_an_image_that_is_not_there(store: Store) -> None:
    with pytest.raises(ImageNotFoundError):
        store.tag(digests.of(b"nothing"), "redis")


def test_a_name_whose_image_was_deleted_is_not_found(store: Store) -> None:
    image_id = store.put_image(REDIS)
    store.tag(image_id, "redis")
    (store.blobs / image_id[7:]).unlink()
    with pytest.raises(ImageNotFoundError, match="'redis'"):
        store.image("redis")
    assert store.put_image(REDIS) == image_id
    assert store.image("redis").id == image_id


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b'{"reference": 1, "image": 2}', b"[]", b'{"reference": "a", "image": "../x"}']
)
def test_a_damaged_tag_is_no_tag(store: Store, damage: bytes) -> None:
    image_id = store.put_image(REDIS)
    store.tag(image_id, "redis")
    (file,) = (store.names).iterdir()
    file.write_bytes(damage)
    assert store.tags() == {}
    with pytest.raises(ImageNotFoundError):
        store.image("redis")
    store.tag(image_id, "redis")
    assert store.image("redis").id == image_id


def test_a_damaged_config_is_found_out(store: Store) -> None:
    image_id = store.put_image(REDIS)
    (store.blobs / image_id[7:]).write_bytes(NGINX.to_json())
    with pytest.raises(StoreError, match="damaged"):
        store.image(image_id)


def test_a_place_where_no_store_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot create the store"):
        Store(tmp_path / "file" / "store")
    with pytest.raises(StoreError, match=r"no directory; take it away, or use another place .*PYCONTAINER_ROOT"):
        Store(tmp_path / "file")


def test_what_killed_writers_left_is_swept(store: Store) -> None:
    old, new = store.temporary / "old", store.temporary / "new"
    old.touch()
    new.touch()
    os.utime(old, (1, 1))
    Store(store.root)
    assert list(store.temporary.iterdir()) == [new]


def test_writing_leaves_no_temporary_file(store: Store) -> None:
    store.tag(store.put_image(REDIS), "redis")
    (store.root / "tags").rename(store.root / "moved")
    with pytest.raises(StoreError, match="cannot write"):
        store.tag(store.put_image(REDIS), "other")
    assert list(store.temporary.iterdir()) == []


# The host image


def test_host_is_this_machine_without_layers(store: Store) -> None:
    image = store.image("host")
    assert image.config.host == host_identity()
    assert image.config.cmd == ("/bin/sh",)
    assert store.layer_directories(image.config) == ()
    assert store.runnable_image("host") == image
    assert store.image(image.id) == image


def test_an_image_on_a_host_that_has_changed_is_outdated(store: Store) -> None:
    store.tag(store.put_image(dataclasses.replace(REDIS, host=host_identity())), "now")
    store.tag(store.put_image(dataclasses.replace(REDIS, host=digests.of(b"before"))), "before")
    store.tag(store.put_image(REDIS), "ordinary")
    assert store.runnable_image("now").config.host == host_identity()
    assert store.runnable_image("ordinary").config == REDIS
    with pytest.raises(ImageOutdatedError, match="'before'"):
        store.runnable_image("before")


# Layers


def test_an_upper_directory_becomes_a_layer_by_rename(store: Store, upper: Path) -> None:
    (upper / "file").write_text("x")
    inode = (upper / "file").stat().st_ino
    diff_id = store.commit_layer(upper)
    (directory,) = store.layer_directories(dataclasses.replace(REDIS, diff_ids=(diff_id,)))
    assert (directory / "file").read_text() == "x"
    assert (directory / "file").stat().st_ino == inode
    assert not upper.exists()


def test_an_empty_upper_directory_leaves_nothing(store: Store, upper: Path) -> None:
    assert store.commit_layer(upper) == digests.EMPTY_LAYER
    assert not upper.exists()
    assert list(store.layers.iterdir()) == []


def test_a_layer_that_is_there_is_kept_and_the_new_one_dropped(store: Store, tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        upper = tmp_path / name
        upper.mkdir()
        (upper / "file").write_text("x")
        os.utime(upper / "file", (1, 1))
        found.append((store.commit_layer(upper), upper.exists()))
    assert found[0] == found[1] == (found[0][0], False)
    assert len(list(store.layers.iterdir())) == 1


def test_many_that_store_one_layer_at_once_all_succeed(store: Store, tmp_path: Path) -> None:
    uppers = [tmp_path / f"upper{number}" for number in range(8)]
    for upper in uppers:
        upper.mkdir()
        (upper / "file").write_text("x")
        os.utime(upper / "file", (1, 1))
    start = threading.Barrier(len(uppers))
    results: list[str] = []

    def commit(upper: Path) -> None:
        start.wait(10)
        results.append(store.commit_layer(upper))

    threads = [threading.Thread(target=commit, args=(upper,)) for upper in uppers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(results) == len(uppers)
    assert len(set(results)) == 1
    assert not any(upper.exists() for upper in uppers)


def test_layers_come_topmost_first_without_empty_ones_and_doubles(store: Store, tmp_path: Path) -> None:
    ids = []
    for name in ("a", "b"):
        upper = tmp_path / name
        upper.mkdir()
        (upper / name).touch()
        ids.append(store.commit_layer(upper))
    a, b = ids
    config = dataclasses.replace(REDIS, diff_ids=(a, digests.EMPTY_LAYER, b, a))
    assert [next(path.iterdir()).name for path in store.layer_directories(config)] == ["a", "b"]


def test_a_missing_layer_is_named(store: Store) -> None:
    missing = digests.of(b"no such layer")
    config = dataclasses.replace(REDIS, diff_ids=(missing,))
    assert not store.has_layers(config)
    with pytest.raises(StoreError, match=missing[7:]):
        store.layer_directories(config)


@pytest.mark.parametrize("bad", ["sha256:../../../etc", "../etc", "sha256:" + "A" * 64])
def test_a_config_cannot_name_a_directory_outside(store: Store, bad: str) -> None:
    with pytest.raises(InvalidReferenceError):
        store.layer_directories(dataclasses.replace(REDIS, diff_ids=(bad,)))


def test_dropping_a_layer_follows_no_link(store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    for name in ("one", "two"):
        upper = tmp_path / name
        upper.mkdir()
        (upper / "link").symlink_to(outside)
        os.utime(upper / "link", (1, 1), follow_symlinks=False)
        store.commit_layer(upper)
        assert not upper.exists()
    assert (outside / "file").exists()


def test_an_upper_directory_elsewhere_stays_where_it_is(store: Store) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == store.root.stat().st_dev:
        pytest.skip("no second file system at /dev/shm")
    upper = other / f"pycontainer-test-{os.getpid()}"
    upper.mkdir()
    try:
        (upper / "file").touch()
        with pytest.raises(StoreError, match="cross-device"):
            store.commit_layer(upper)
        assert (upper / "file").exists()
    finally:
        (upper / "file").unlink()
        upper.rmdir()
