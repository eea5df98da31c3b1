from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping

import pytest

from pytest_pycontainer.errors import (
    ImageHasSeveralNamesError,
    ImageInUseError,
    ImageNotFoundError,
    InvalidReferenceError,
    StoreError,
)
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.store.cache import BuildCache
from pytest_pycontainer.store.remove_image import RemovedImages, remove
from pytest_pycontainer.store.store import Store

MakeImage = Callable[..., str]
DIGEST = digests.of(b"a manifest")


def nobody() -> Mapping[str, tuple[str, ...]]:
    return {}


def layers(store: Store) -> int:
    return len(list(store.layers.iterdir()))


def test_the_last_name_takes_the_image_its_steps_and_its_records_along(store: Store, make_image: MakeImage) -> None:
    image = make_image("a", "b", "c", tag="app:1")
    store.tag(image, "app:2")
    store.mark_used(image)
    assert remove(store, "app:1", users=nobody) == RemovedImages(("app:1",), ())
    assert store.image("app:2").id == image
    removed = remove(store, "app:2", users=nobody)
    assert removed.untagged == ("app:2",)
    assert removed.deleted[0] == image
    assert len(removed.deleted) == 3
    assert BuildCache(store).count() == 0
    for directory in (store.blobs, store.layers, store.names, store.cache, store.used, store.temporary):
        assert list(directory.iterdir()) == []
    with pytest.raises(ImageNotFoundError):
        remove(store, "app:2", users=nobody)


def test_what_other_images_need_stays(store: Store, make_image: MakeImage) -> None:
    base = make_image("a", "b", tag="base")
    app = make_image("c", base=base, tag="app")
    other = make_image("d", base=base, tag="other")
    assert remove(store, "base", users=nobody) == RemovedImages(("base:latest",), ())
    assert remove(store, "app", users=nobody).deleted == (app,)
    assert store.has_layers(store.image("other").config)
    assert layers(store) == 3
    assert other in remove(store, "other", users=nobody).deleted
    assert layers(store) == 0


def test_a_step_of_another_image_is_not_removed_by_id(store: Store, make_image: MakeImage) -> None:
    step = make_image("a")
    make_image("b", base=step, tag="app")
    with pytest.raises(ImageInUseError, match="a step of app:latest; remove that") as caught:
        remove(store, step, users=nobody, force=True)
    assert caught.value.images == ("app:latest",)
    assert store.has_image(step)


def test_by_id_all_names_go_if_it_is_one_or_by_force(store: Store, make_image: MakeImage) -> None:
    image = make_image("a", tag="one")
    store.tag(image, "two")
    with pytest.raises(ImageHasSeveralNamesError) as caught:
        remove(store, digests.short(image), users=nobody)
    assert caught.value.names == ("one:latest", "two:latest")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert remove(store, image, users=nobody, force=True) == RemovedImages(("one:latest", "two:latest"), (image,))
    image = make_image("b", tag="one")
    store.tag(image, f"one@{DIGEST}")
    assert remove(store, image, users=nobody).deleted == (image,)


def test_digests_go_with_the_last_tag_of_their_repository(store: Store, make_image: MakeImage) -> None:
    image = make_image("a", tag="redis:7")
    for name in ("redis:latest", f"redis@{DIGEST}", f"localhost:5000/redis@{DIGEST}"):
        store.tag(image, name)
    assert remove(store, "redis:7", users=nobody).untagged == ("redis:7",)
    assert store.image(f"redis:whatever@{DIGEST}").id == image
    assert set(remove(store, "redis", users=nobody).untagged) == {"redis:latest", f"redis@{DIGEST}"}
    assert remove(store, f"localhost:5000/redis@{DIGEST}", users=nobody).deleted == (image,)


def test_what_a_container_uses_is_refused_and_by_force_loses_its_name(store: Store, make_image: MakeImage) -> None:
    image = make_image("a", "b", tag="app")

    def users() -> Mapping[str, tuple[str, ...]]:
        return {image: ("web", "other")}

    for reference in ("app", image):
        with pytest.raises(ImageInUseError, match="container web, other") as caught:
            remove(store, reference, users=users)
        assert caught.value.containers == ("web", "other")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert remove(store, "app", users=users, force=True) == RemovedImages(("app:latest",), ())
    assert layers(store) == 2
    with pytest.raises(ImageInUseError):
        remove(store, image, users=users, force=True)
    store.tag(image, "app")
    store.tag(image, "again")
    assert remove(store, "app", users=users).untagged == ("app:latest",)  # it has another name
    assert image in remove(store, "again", users=nobody).deleted


@pytest.mark.parametrize("name", ["host", "scratch"])
def test_what_is_always_there_is_not_removed(store: Store, name: str) -> None:
    with pytest.raises(InvalidReferenceError, match="always there"):
        remove(store, name, users=nobody)
    with pytest.raises(ImageNotFoundError):
        remove(store, store.image(name).id, users=nobody)


def test_a_store_in_use_is_waited_for(store: Store, make_image: MakeImage) -> None:
    make_image("a", tag="app")
    with store.in_use(), pytest.raises(StoreError, match="wait for that, or end it"):
        remove(store, "app", users=nobody, timeout=0)
    assert store.has_layers(store.image("app").config)
    assert list(store.temporary.iterdir()) == []


def test_steps_that_a_container_uses_stay(store: Store, make_image: MakeImage) -> None:
    step = make_image("a")
    image = make_image("b", base=step, tag="app")
    assert remove(store, "app", users=lambda: {step: ("web",)}).deleted == (image,)
    assert store.has_layers(store.config(step))
