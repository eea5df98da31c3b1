from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from pytest_pycontainer.errors import StoreError
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.kernel.flock import SHARED, try_lock
from pytest_pycontainer.store.cache_mounts import CacheMounts
from pytest_pycontainer.store.prune import prune
from pytest_pycontainer.store.store import Store

KEY = digests.of(b"a cache")


@pytest.fixture
def caches(store: Store) -> CacheMounts:
    return CacheMounts(store)


def test_a_cache_is_filled_once_and_stays(caches: CacheMounts) -> None:
    with caches.hold(KEY, Path.mkdir) as directory:
        (directory / "file").write_text("kept")
    with caches.hold(KEY, fail) as again:
        assert again == directory
        assert (again / "file").read_text() == "kept"
    with caches.hold(digests.of(b"another"), Path.mkdir) as other:
        assert list(other.iterdir()) == []


def test_what_was_filled_by_half_is_filled_anew(caches: CacheMounts) -> None:
    def break_off(content: Path) -> None:
        content.mkdir()
        (content / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), caches.hold(KEY, break_off):
        pass
    with caches.hold(KEY, Path.mkdir) as directory:
        assert list(directory.iterdir()) == []


def test_many_fill_a_shared_cache_once(caches: CacheMounts) -> None:
    filled: list[Path] = []
    together = threading.Barrier(4)
    inside = threading.Barrier(4)

    def fill(content: Path) -> None:
        filled.append(content)
        content.mkdir()

    def use() -> None:
        together.wait(30)
        with caches.hold(KEY, fill, timeout=30):
            inside.wait(30)  # all have it at the same moment

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(filled) == 1
    assert not inside.broken


def test_who_waits_to_fill_a_cache_takes_what_another_has_filled(caches: CacheMounts, store: Store) -> None:
    directory = store.root / "mounts" / digests.hexadecimal(KEY)
    directory.mkdir(parents=True)
    another = os.open(directory, os.O_RDONLY)
    try:
        assert try_lock(another, SHARED)  # and it goes on sharing what is there meanwhile
        with caches.hold(KEY, fail, timeout=10, check=(directory / "content").mkdir) as content:
            assert content.is_dir()
    finally:
        os.close(another)


def test_a_locked_cache_is_held_alone(caches: CacheMounts) -> None:
    with (
        caches.hold(KEY, Path.mkdir),
        pytest.raises(StoreError, match="another build"),
        caches.hold(KEY, fail, sharing="locked", timeout=0.02),
    ):
        pass
    with (
        caches.hold(KEY, fail, sharing="locked"),
        pytest.raises(StoreError, match="another build"),
        caches.hold(KEY, fail, timeout=0.02),
    ):
        pass


def test_who_waits_can_be_told_to_give_up(caches: CacheMounts) -> None:
    def give_up() -> None:
        raise KeyboardInterrupt

    with (
        caches.hold(KEY, Path.mkdir),
        pytest.raises(KeyboardInterrupt),
        caches.hold(KEY, fail, sharing="locked", check=give_up),
    ):
        pass


def test_private_caches_are_as_many_as_want_one(caches: CacheMounts) -> None:
    with caches.hold(KEY, Path.mkdir, sharing="private") as first:
        with caches.hold(KEY, Path.mkdir, sharing="private") as second:
            assert second != first
        with caches.hold(KEY, fail, sharing="private") as third:
            assert third == second
    with caches.hold(KEY, fail, sharing="private") as again:
        assert again == first
    assert len(caches.listed()) == 2


def test_pruning_everything_takes_caches_that_nobody_holds(store: Store, caches: CacheMounts) -> None:
    with caches.hold(KEY, Path.mkdir) as directory:
        (directory / "file").write_bytes(bytes(1 << 16))
        with pytest.raises(StoreError, match="in use"):
            prune(store, users=dict, tagged=True, timeout=0.02)
    prune(store, users=dict)
    assert len(caches.listed()) == 1
    prune(store, users=dict, tagged=True, unused_for=3600)
    assert len(caches.listed()) == 1
    then = time.time() - 7200
    os.utime(caches.listed()[0].directory, (then, then))
    assert prune(store, users=dict, tagged=True, unused_for=3600).reclaimed_bytes >= 1 << 16
    assert caches.listed() == []
    with caches.hold(KEY, Path.mkdir) as directory:
        assert list(directory.iterdir()) == []


def fail(content: Path) -> None:
    raise AssertionError(f"{content} is filled again")
