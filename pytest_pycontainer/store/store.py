"""The store: images, their layers and their names under one directory, shared by any number of processes.

::

    blobs/sha256/HEX    an image's config; its digest is the image's ID
    layers/HEX/         a layer, extracted, under its diff ID: what overlayfs mounts
    tags/HEX.json       a name and the ID it stands for, under the name's digest
    cache/HEX.json      what a build step made
    locks/  tmp/        flocks; files that are being written

No reader takes a lock: everything appears by one rename, whole, and is never changed afterwards but by another rename.
Two that write the same blob or layer write the same content, and the kernel lets one of them win; two that write the
same tag leave one of their two IDs. Only what must not be *done* twice, a build step, is locked (see ``cache``).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import (
    ImageNotFoundError,
    ImageOutdatedError,
    InvalidReferenceError,
    StoreError,
)
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image.config import ImageConfig
from pytest_pycontainer.image.reference import Reference
from pytest_pycontainer.kernel.removal import remove_tree
from pytest_pycontainer.store import diff
from pytest_pycontainer.store.files import move_whole, storing, sweep_abandoned, write_whole
from pytest_pycontainer.store.host import HostIdentity, host_config

if TYPE_CHECKING:
    from pytest_pycontainer.store.layers import LayerLimits, LayerWriter

HOST = "host"
SCRATCH = "scratch"

_ID_PREFIX = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})")
_SUGGESTIONS_AT_MOST = 3


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image in the store; ``id`` is the digest of its config."""

    id: str
    config: ImageConfig


class Store:
    """The store in the directory ``root``, which is made, for its owner alone, if it is not there.

    Values and paths only, no open files: it may be used by several threads at once and needs no closing. Raises
    StoreError.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.blobs = self.root / "blobs" / "sha256"
        self.layers = self.root / "layers"
        self.cache = self.root / "cache"
        self.locks = self.root / "locks"
        self.temporary = self.root / "tmp"
        self._tags = self.root / "tags"
        self._host = HostIdentity()
        with storing("create the store", self.root):
            self.root.parent.mkdir(parents=True, exist_ok=True)
            # 0700 each: a set-uid file in a layer must not be within an ordinary user's reach (CVE-2021-41091).
            for directory in (
                self.root,
                self.blobs.parent,
                self.blobs,
                self.layers,
                self.cache,
                self.locks,
                self.temporary,
                self._tags,
            ):
                directory.mkdir(mode=0o700, exist_ok=True)
            sweep_abandoned(self.temporary)

    # Images

    def put_image(self, config: ImageConfig) -> str:
        """Stores ``config`` and returns the image's ID. Success means that it is stored, perhaps by somebody else."""
        content = config.to_json()
        image_id = digests.of(content)
        path = self._blob(image_id)
        if not path.exists():
            write_whole(path, content, self.temporary)
        return image_id

    def config(self, image_id: str) -> ImageConfig:
        """The config of the image with the (whole) ID ``image_id``.

        Raises ImageNotFoundError if there is none, StoreError if what is there is not what its name says.
        """
        path = self._blob(image_id)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise ImageNotFoundError(image_id) from None
        except OSError as problem:
            raise StoreError("read", str(path), problem.strerror or str(problem)) from problem
        if digests.of(content) != image_id:
            raise StoreError("read", str(path), "its content is damaged; delete it, then build or pull the image again")
        return ImageConfig.from_json(content)

    def image(self, reference: str) -> StoredImage:
        """The image of a name, an ID, or the beginning of an ID; ``host`` is this machine as it is now.

        ``scratch`` is the image with nothing in it. Raises ImageNotFoundError, with near names; InvalidReferenceError
        for text that can be none of these.
        """
        if reference == HOST:
            with storing("read this machine's package databases for", Path(HOST)):
                config = host_config(self._host.read())
            return StoredImage(self.put_image(config), config)
        if reference == SCRATCH:
            config = ImageConfig.scratch()
            return StoredImage(self.put_image(config), config)
        image_id = self._find(reference)
        try:
            return StoredImage(image_id, self.config(image_id))
        except ImageNotFoundError:
            raise ImageNotFoundError(reference) from None  # a tag whose image is gone

    def runnable_image(self, reference: str) -> StoredImage:
        """As ``image``, and raises ImageOutdatedError if it stands on a state of the host image that is gone."""
        image = self.image(reference)
        if reference != HOST and image.config.host is not None and image.config.host != self._host.read():
            raise ImageOutdatedError(reference)
        return image

    def _blob(self, image_id: str) -> Path:
        return self.blobs / digests.hexadecimal(image_id)

    def _find(self, reference: str) -> str:
        if digests.is_digest(reference):
            return reference
        prefix = _ID_PREFIX.fullmatch(reference)
        try:
            if tagged := self._tagged(Reference.parse(reference)):
                return tagged
        except InvalidReferenceError:
            if prefix is None:
                raise
        found = self._ids_from(prefix[1]) if prefix else []
        if len(found) == 1:
            return found[0]
        raise ImageNotFoundError(reference, tuple(map(digests.short, found)) or self._near(reference))

    def _ids_from(self, prefix: str) -> list[str]:
        with storing("read", self.blobs):
            return sorted(f"sha256:{path.name}" for path in self.blobs.glob(f"{prefix}*"))

    # Names

    def tag(self, image_id: str, reference: str) -> None:
        """Makes ``reference`` a name of the image, in place of what had that name before.

        Raises InvalidReferenceError for no name, ``host`` and ``scratch``; ImageNotFoundError for an unknown image.
        """
        name = parse_tag(reference)
        if not self._blob(image_id).exists():
            raise ImageNotFoundError(image_id)
        record = json.dumps({"reference": str(name), "image": image_id}).encode()
        write_whole(self._tag_file(name), record, self.temporary)

    def tags(self) -> dict[str, str]:
        """Every name (canonical) and the ID of its image. Raises StoreError."""
        with storing("read", self._tags):
            records = map(self._tag_record, sorted(self._tags.iterdir()))
        return dict(sorted(record for record in records if record))

    def _tag_file(self, name: Reference) -> Path:
        # The digest, not the name: names have slashes and may be longer than a file's name.
        return self._tags / f"{digests.hexadecimal(digests.of(str(name).encode()))}.json"

    def _tagged(self, name: Reference) -> str | None:
        record = self._tag_record(self._tag_file(name))
        return record[1] if record else None

    def _tag_record(self, path: Path) -> tuple[str, str] | None:
        """The name and ID that a tag's file holds; None if it is not there or damaged: tagging again mends it."""
        try:
            record = json.loads(path.read_bytes())
            name, image_id = record["reference"], record["image"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        except OSError as problem:
            raise StoreError("read", str(path), problem.strerror or str(problem)) from problem
        known = isinstance(name, str) and isinstance(image_id, str) and digests.is_digest(image_id)
        return (name, image_id) if known else None

    def _near(self, reference: str) -> tuple[str, ...]:
        from difflib import get_close_matches

        names = [HOST, *(Reference.parse(name).familiar for name in self.tags())]
        return tuple(get_close_matches(reference, names, _SUGGESTIONS_AT_MOST))

    # Layers

    def commit_layer(self, upper: Path) -> str:
        """Makes an overlay's upper directory a layer by renaming it, and returns the diff ID.

        ``upper`` is on the store's file system, nothing is mounted on it, and it is gone afterwards. Success means that
        the layer is stored and durable, perhaps by somebody else. Raises StoreError; ``upper`` then stays.
        """
        with storing("store the layer", upper):
            diff_id = diff.diff_id(upper)
            if diff_id == digests.EMPTY_LAYER:
                remove_tree(upper)
            else:
                move_whole(upper, self._layer(diff_id))
        return diff_id

    def layer_writer(self, media_type: str, limits: LayerLimits | None = None) -> LayerWriter:
        """A context manager that takes a layer's compressed bytes as they stream, and stores it extracted.

        Raises LayerInvalidError at once if ``media_type`` is no layer's.
        """
        from pytest_pycontainer.store.layers import LayerWriter  # most runs pull nothing

        return LayerWriter(self.layers, self.temporary, media_type, limits)

    def has_layers(self, config: ImageConfig) -> bool:
        """Whether every layer of ``config`` is stored."""
        return all(self._layer(diff_id).is_dir() for diff_id in _stored_layers(config))

    def layer_directories(self, config: ImageConfig) -> tuple[Path, ...]:
        """The directories of an image's layers for overlayfs, topmost first.

        Empty layers are left out, and a layer that is there twice is kept once, at its topmost place: overlayfs refuses
        one directory twice. Raises StoreError for one that is missing.
        """
        directories = tuple(map(self._layer, _stored_layers(config)))
        for directory in directories:
            if not directory.is_dir():
                raise StoreError("read the layer", str(directory), "it is missing; build or pull the image again")
        return directories

    def _layer(self, diff_id: str) -> Path:
        return self.layers / digests.hexadecimal(diff_id)


def parse_tag(reference: str) -> Reference:
    """The name that an image can be given. Raises InvalidReferenceError for no name, ``host`` and ``scratch``."""
    if reference in (HOST, SCRATCH):
        raise InvalidReferenceError(reference, "that name is taken: it stands for an image that is always there")
    return Reference.parse(reference)


def _stored_layers(config: ImageConfig) -> list[str]:
    return [diff_id for diff_id in dict.fromkeys(reversed(config.diff_ids)) if diff_id != digests.EMPTY_LAYER]
