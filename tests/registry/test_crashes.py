"""A pull that is killed at any moment leaves a store that the next one uses without repair."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import ImageNotFoundError
from pytest_pycontainer.registry.pull import pull
from pytest_pycontainer.registry.push import push
from pytest_pycontainer.registry.registries import Registries
from pytest_pycontainer.store.prune import prune
from pytest_pycontainer.store.store import Store

if TYPE_CHECKING:
    from tests.registry.conftest import Registry

PULL = """
import sys
from pathlib import Path
from pytest_pycontainer.registry.pull import pull
from pytest_pycontainer.registry.registries import Registries
from pytest_pycontainer.store.store import Store

def tell(*news):
    print(flush=True)

with Registries() as registries:
    pull(Store(Path(sys.argv[1])), registries, sys.argv[2], progress=tell)
"""


def test_a_pull_that_is_killed_shows_nothing_or_the_whole(
    registry: Registry,
    registries: Registries,
    name: str,
    new_store: Callable[[], Store],
    make_image: Callable[..., str],
) -> None:
    here, there = new_store(), new_store()
    image = make_image(here, {"a": os.urandom(3 << 20)}, {"b": os.urandom(3 << 20)})
    push(here, registries, image, f"{name}:1")
    for news in (1, 3, 10, 15, 20, 30, 40):  # the kill comes after so many calls of progress
        command = [sys.executable, "-c", PULL, str(there.root), f"{name}:1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            for _ in range(news):
                process.stdout.readline()
            os.kill(process.pid, signal.SIGKILL)
        try:
            found = there.image(f"{name}:1")
        except ImageNotFoundError:
            assert list(there.blobs.iterdir()) in ([], [there.config_file(image)])
        else:
            assert there.has_layers(found.config)
        pulled = pull(there, registries, f"{name}:1")
        assert there.has_layers(pulled.config)
        assert there.image(f"{name}@{_digest(there)}").id == pulled.id == image
        prune(there, users=dict, tagged=True)
        for directory in (there.blobs, there.layers, there.names, there.cache, there.temporary, there.locks):
            assert list(directory.iterdir()) == []


def _digest(store: Store) -> str:
    (digest,) = (name.partition("@")[2] for name in store.all_names() if "@" in name)
    return digest
