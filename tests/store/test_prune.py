from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.store.cache import BuildCache
from pytest_pycontainer.store.files import unfinished_directory
from pytest_pycontainer.store.prune import Pruned, prune
from pytest_pycontainer.store.sizes import LayerSizes
from pytest_pycontainer.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

MakeImage = Callable[..., str]
DAY = 86400.0


def nobody() -> Mapping[str, tuple[str, ...]]:
    return {}


def age(store: Store, image_id: str, seconds: float, *, used: float | None = None) -> None:
    """Makes an image be stored ``seconds`` ago, and used ``used`` seconds ago."""
    then = time.time() - seconds
    os.utime(store.config_file(image_id), (then, then))
    if used is not None:
        store.mark_used(image_id)
        then = time.time() - used
        os.utime(store.used / image_id[7:], (then, then))


def size(store: Store, image_id: str) -> int:
    return LayerSizes(store).of_image(store.config(image_id))


def test_by_default_only_what_nobody_named_goes(store: Store, make_image: MakeImage) -> None:
    step = make_image("a")
    app = make_image("b", base=step, tag="app")
    make_image("c", "d", base=step)
    dangling = size(store, app)
    pruned = prune(store, users=nobody)
    assert (pruned.untagged, len(pruned.deleted), pruned.reclaimed_bytes) == ((), 2, dangling)
    assert store.has_layers(store.image("app").config)
    assert store.has_image(step)
    assert prune(store, users=nobody) == Pruned((), (), 0)


def test_a_digest_is_no_tag(store: Store, make_image: MakeImage) -> None:
    image = make_image("a")
    name = f"redis@{digests.of(b'manifest')}"
    store.tag(image, name)
    pruned = prune(store, users=nobody)
    assert (pruned.untagged, pruned.deleted) == ((name,), (image,))


def test_all_but_what_containers_use(store: Store, make_image: MakeImage) -> None:
    base = make_image("a", tag="base")
    used = make_image("b", base=base, tag="used")
    unused = make_image("c", base=base, tag="unused")
    pruned = prune(store, users=lambda: {used: ("web",)}, tagged=True)
    assert set(pruned.untagged) == {"base:latest", "unused:latest"}
    assert pruned.deleted == (unused,)
    assert store.has_layers(store.image("used").config)
    assert store.has_image(base)
    assert set(prune(store, users=nobody, tagged=True).deleted) == {base, used}
    assert list(store.layers.iterdir()) == []


def test_age_and_use_spare(store: Store, make_image: MakeImage) -> None:
    images = {name: make_image(name, tag=name) for name in ("new", "old", "used")}
    age(store, images["old"], 3 * DAY)
    age(store, images["used"], 3 * DAY, used=60)
    assert prune(store, users=nobody, tagged=True, older_than=2 * DAY, unused_for=DAY).deleted == (images["old"],)
    assert prune(store, users=nobody, tagged=True, older_than=2 * DAY).deleted == (images["used"],)
    assert prune(store, users=nobody, tagged=True, unused_for=DAY).deleted == ()
    assert prune(store, users=nobody, older_than=0).deleted == ()
    assert store.image("new").id == images["new"]


def test_to_a_size_the_least_recently_used_go_first(store: Store, make_image: MakeImage) -> None:
    base = make_image("base", tag="base")
    images = [make_image(name, base=base, tag=name) for name in ("b", "c", "d")]
    for days, image in zip((2, 3, 1), images, strict=True):
        age(store, image, 9 * DAY, used=days * DAY)
    age(store, base, 20 * DAY)
    one = size(store, base)
    assert prune(store, users=nobody, tagged=True, keep_bytes=4 * one).deleted == ()
    assert prune(store, users=nobody, tagged=True, keep_bytes=4 * one - 1).deleted == (images[1],)
    pruned = prune(store, users=lambda: {images[0]: ("web",)}, tagged=True, keep_bytes=2 * one)
    assert (pruned.untagged, pruned.deleted, pruned.reclaimed_bytes) == (("d:latest",), (images[2],), one)
    assert prune(store, users=lambda: {images[0]: ("web",)}, tagged=True, keep_bytes=0).deleted == ()
    assert prune(store, users=nobody, keep_bytes=0).deleted == ()  # both have tags
    assert set(prune(store, users=nobody, tagged=True, keep_bytes=0).deleted) == {images[0], base}


def test_what_belongs_to_no_image_is_cleared(store: Store, make_image: MakeImage, tmp_path: Path) -> None:
    kept = make_image("kept", tag="kept")
    LayerSizes(store).of_image(store.config(kept))
    store.mark_used(kept)
    before = {path for path in store.root.rglob("*") if path.parent != store.locks}
    gone = make_image("gone", tag="gone")
    LayerSizes(store).of_image(store.config(gone))
    store.mark_used(gone)
    (store.recipes / store.config(gone).diff_ids[0][7:]).touch()
    store.config_file(gone).unlink()
    damaged = make_image("damaged", tag="damaged")
    store.config_file(damaged).write_bytes(b"{}")
    (store.names / "damaged.json").touch()
    (store.cache / f"{digests.of(b'x')[7:]}.json").write_bytes(b"[]")
    with BuildCache(store).lock(digests.of(b"step")):
        pass
    (store.temporary / "file").touch()
    (store.temporary / "directory" / "below").mkdir(parents=True)
    store.image("host")
    with unfinished_directory(store.temporary) as written:
        pruned = prune(store, users=nobody)
        assert written.is_dir()
    assert pruned.deleted == ()
    assert set(pruned.untagged) == {"gone:latest", "damaged:latest"}
    assert pruned.reclaimed_bytes > 100_000
    assert set(store.root.rglob("*")) == before
    assert list(store.locks.iterdir()) == []


def test_layers_stay_while_a_container_runs_on_an_image_that_cannot_be_read(
    store: Store, make_image: MakeImage
) -> None:
    image = make_image("a", tag="app")
    content = store.config_file(image).read_bytes()
    store.config_file(image).write_bytes(b"{}")
    prune(store, users=lambda: {image: ("web",)}, tagged=True)
    store.config_file(image).write_bytes(content)
    assert store.has_layers(store.config(image))


def test_the_steps_of_a_tagged_image_stay_whatever_their_age(store: Store, make_image: MakeImage) -> None:
    step = make_image("a")
    make_image("b", base=step, tag="app")
    age(store, step, 100 * DAY)
    assert prune(store, users=nobody, older_than=DAY, unused_for=DAY).deleted == ()
    assert store.has_image(step)


@pytest.mark.parametrize("same", [True, False])
def test_files_with_several_names_count_once(store: Store, tmp_path: Path, same: bool) -> None:
    upper = tmp_path / "upper"
    upper.mkdir()
    (upper / "a").write_bytes(os.urandom(100_000))
    if same:
        (upper / "b").hardlink_to(upper / "a")
    else:
        (upper / "b").write_bytes(os.urandom(100_000))
    diff_id = store.commit_layer(upper)
    counted = LayerSizes(store).of(diff_id)
    assert (100_000 < counted < 130_000) if same else (200_000 < counted < 230_000)
    (store.layers / diff_id[7:] / "c").write_bytes(os.urandom(100_000))
    assert LayerSizes(store).of(diff_id) == counted  # it is remembered
