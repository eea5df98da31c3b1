"""A container's or an image's whole root file system as one plain archive, as ``docker export`` writes it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pytest_pycontainer.errors import ImageNotPortableError
from pytest_pycontainer.store.calling import Caller, directly, write_through
from pytest_pycontainer.store.files import storing
from pytest_pycontainer.store.flatten import write_flat

if TYPE_CHECKING:
    from pytest_pycontainer.engine.image import Image


def export_root(
    image: Image, upper: Path | None, file: str | os.PathLike[str] | BinaryIO, call: Caller = directly
) -> None:
    """Writes the root file system of ``image``, with a container's ``upper`` directory on it, to ``file``.

    If that fails, what a path names stays as it was. Raises ImageNotPortableError for the host image and what stands on
    it, StoreError, and OSError for what ``file`` raises.
    """
    if image.config.host is not None:
        raise ImageNotPortableError(image.name)
    layers = image.layers if upper is None else (upper, *image.layers)
    if not isinstance(file, str | os.PathLike):
        write_through(call, partial(write_flat, layers), file.write)
        return
    with written_file(Path(file)) as archive:
        write_through(call, partial(write_flat, layers), archive.write)


@contextmanager
def written_file(path: Path) -> Iterator[BinaryIO]:
    """A file to be written, which takes the place of what is at ``path`` when its block has ended well, and not before.

    A pipe or a device is written to as it is. Raises StoreError for what the system answers.
    """
    with storing("write", path):
        target = path.resolve()
        if target.exists() and not target.is_file():
            with target.open("wb") as file:
                yield file
            return
        unfinished = target.with_name(f".pycontainer-{secrets.token_hex(8)}")
        try:
            with unfinished.open("xb") as file:
                yield file
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
