from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer.errors import InvalidReferenceError, StoreError
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image.config import ImageConfig
from pytest_pycontainer.store.cache import BuildCache
from pytest_pycontainer.store.store import StoredImage

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_pycontainer.store.store import Store

KEY = digests.of(b"RUN true")
CONFIG = ImageConfig("amd64", "linux")


@pytest.fixture
def cache(store: Store) -> BuildCache:
    return BuildCache(store)


def test_what_was_put_is_got(store: Store, cache: BuildCache) -> None:
    assert cache.get(KEY) is None
    image_id = store.put_image(CONFIG)
    cache.put(KEY, image_id)
    assert cache.get(KEY) == StoredImage(image_id, CONFIG)
    assert cache.get(digests.of(b"other")) is None


def test_no_record_when_its_layer_or_its_image_is_gone(store: Store, cache: BuildCache, upper: Path) -> None:
    (upper / "file").touch()
    diff_id = store.commit_layer(upper)
    image_id = store.put_image(dataclasses.replace(CONFIG, diff_ids=(diff_id,)))
    cache.put(KEY, image_id)
    layer = store.layers / diff_id[7:]
    assert cache.get(KEY) == store.image(image_id)
    layer.rename(store.root / "away")
    assert cache.get(KEY) is None
    (store.root / "away").rename(layer)
    (store.blobs / image_id[7:]).unlink()
    assert cache.get(KEY) is None


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"image": 1}', b'{"image": "../../etc/passwd"}', b"{}"])
def test_a_damaged_record_is_no_record(store: Store, cache: BuildCache, damage: bytes) -> None:
    cache.put(KEY, store.put_image(CONFIG))
    (store.cache / f"{KEY[7:]}.json").write_bytes(damage)
    assert cache.get(KEY) is None


def test_a_key_cannot_be_a_path(cache: BuildCache) -> None:
    with pytest.raises(InvalidReferenceError):
        cache.get("../../etc/passwd")


def test_one_at_a_time_and_with_a_time_limit(cache: BuildCache) -> None:
    problems: list[StoreError] = []

    def second() -> None:
        try:
            with cache.lock(KEY, timeout=0.05):
                pass
        except StoreError as problem:
            problems.append(problem)

    with cache.lock(KEY), cache.lock(digests.of(b"another step")):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(10)
    assert "another build has held this step" in str(problems[0])
    second()
    assert len(problems) == 1


def test_the_death_of_its_holder_frees_it(store: Store, cache: BuildCache) -> None:
    program = (
        "import sys, time, pathlib; from pytest_pycontainer.store.store import Store;"
        "from pytest_pycontainer.store.cache import BuildCache\n"
        "with BuildCache(Store(pathlib.Path(sys.argv[1]))).lock(sys.argv[2]): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(store.root), KEY], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == b"held\n"
            with pytest.raises(StoreError, match="another build"), cache.lock(KEY, timeout=0):
                pass
        finally:
            os.kill(holder.pid, signal.SIGKILL)
            holder.wait(10)
    with cache.lock(KEY, timeout=5):
        pass
