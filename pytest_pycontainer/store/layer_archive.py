"""The tar archive of a stored layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.store import diff
from pytest_pycontainer.store.calling import Write, write_through
from pytest_pycontainer.store.recipe import rebuild

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_pycontainer.store.store import Store

Archiving = Callable[[Write], bool]
"""Hands an archive to its argument, piece by piece, and says whether it came to the end."""

_EMPTY = bytes(1024)


def ways_to_archive(store: Store, diff_id: str) -> Iterator[Archiving]:
    """The ways to archive a stored layer: with its recipe, if there is one, and anew; there is always one.

    What they write is the layer's own archive if its digest is ``diff_id``, and else another one of the same content.
    Each raises StoreError or OSError if the layer can't be read, and what its argument raises.
    """
    name = digests.hexadecimal(diff_id)
    if diff_id == digests.EMPTY_LAYER:
        yield _archive_nothing
        return
    layer, recipe = store.layers / name, store.recipes / name
    if recipe.exists():
        yield partial(write_through, store.call, partial(rebuild, recipe, layer))
    yield partial(write_through, store.call, partial(_archive_anew, layer))


def _archive_nothing(write: Write) -> bool:
    write(_EMPTY)
    return True


def _archive_anew(layer: Path, write: Write) -> bool:
    diff.write_layer(layer, write)
    return True
