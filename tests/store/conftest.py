from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer.image.manifest import OCI_LAYER
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
