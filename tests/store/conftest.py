from __future__ import annotations

import dataclasses
import hashlib
import os
import stat
from typing import TYPE_CHECKING, Protocol

import pytest

from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image.config import History, ImageConfig
from pytest_pycontainer.image.manifest import OCI_LAYER
from pytest_pycontainer.store.cache import BuildCache
from pytest_pycontainer.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def extract(store: Store) -> Callable[[bytes], Path]:
    """Stores a tar archive as a layer, and returns the layer's directory."""

    def extract(archive: bytes) -> Path:
        digest = hashlib.sha256(archive).hexdigest()
        with store.layer_writer(OCI_LAYER) as layer:
            layer.write(archive)
            layer.commit(f"sha256:{digest}")
        return store.layers / digest

    return extract


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    """An empty directory on the store's file system, as an overlay's upper one."""
    path = tmp_path / "upper"
    path.mkdir(mode=0o755)
    return path


@pytest.fixture
def overlay_privilege(tmp_path: Path) -> None:
    """Skips where overlayfs's marks can't be made by hand: device nodes and trusted attributes."""
    try:
        os.mknod(tmp_path / "probe", stat.S_IFCHR, os.makedev(0, 0))
        os.setxattr(tmp_path, "trusted.probe", b"y")
    except OSError as problem:
        pytest.skip(f"cannot make overlayfs's marks: {problem.strerror}")


class MakeImage(Protocol):
    """Makes an image by further steps on ``base`` (an ID): one for each name, which adds a file of that name."""

    def __call__(self, *steps: str, base: str | None = None, tag: str | None = None) -> str: ...


@pytest.fixture
def make_image(store: Store, tmp_path: Path) -> MakeImage:
    """As a build does: every step makes an image, and a record of the cache."""

    def make(*steps: str, base: str | None = None, tag: str | None = None) -> str:
        config = ImageConfig("amd64", "linux") if base is None else store.config(base)
        image_id = base or ""
        for step in steps:
            upper = tmp_path / f"upper-{step}"
            upper.mkdir(mode=0o755)
            (upper / step).write_bytes(os.urandom(50_000))
            diff_ids = (*config.diff_ids, store.commit_layer(upper))
            config = dataclasses.replace(config, diff_ids=diff_ids, history=(*config.history, History(created_by=step)))
            image_id = store.put_image(config)
            BuildCache(store).put(digests.of(f"{base} {step}".encode()), image_id)
        if tag:
            store.tag(image_id, tag)
        return image_id

    return make
