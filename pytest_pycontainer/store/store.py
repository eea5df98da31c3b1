"""The store: images, their layers and their names under one directory, shared by any number of processes.

::

    blobs/sha256/HEX    an image's config; its digest is the image's ID
    layers/HEX/         a layer, extracted, under its diff ID: what overlayfs mounts
    recipes/HEX         how that layer had been archived, if another program did that: see ``recipe``
    tags/HEX.json       a name, with a tag or a digest, and the ID it stands for, under the name's digest
    used/HEX            an empty file whose time is that of the image's last use
    cache/HEX.json      what a build step or a pull made; cache/HEX.KIND.json: what is known about a layer
    mounts/             what RUN --mount=type=cache shows (see ``cache_mounts``)
    volumes/            what containers keep (see ``volumes``)
    locks/  tmp/        flocks; files that are being written
    use.lock            who uses images, and who removes some (see ``use``)

No reader takes a lock: everything appears by one rename, whole, and is never changed afterwards but by another rename.
Two that write the same blob or layer write the same content, and the kernel lets one of them win; two that write the
same tag leave one of their two IDs. What must not be *done* twice, a build step, is locked (see ``cache``), and what
must still be there a moment later is (``in_use``).
"""

from __future__ import annotations

import json
import os
import re
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
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
from pytest_pycontainer.store.calling import Caller, directly
from pytest_pycontainer.store.files import move_whole, storing, sweep_abandoned, write_whole
from pytest_pycontainer.store.host import HostIdentity, host_config
from pytest_pycontainer.store.use import UseLock

if TYPE_CHECKING:
    from pytest_pycontainer.store.delegated_layers import DelegatedLayerWriter
    from pytest_pycontainer.store.layers import LayerWriter
    from pytest_pycontainer.store.limits import LayerLimits

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

    Values and paths only, no open files: it may be used by several threads at once and needs no closing. What it
    stores or finds stays for sure only within ``in_use``. Raises StoreError.
    """

    def __init__(self, root: Path, limits: LayerLimits | None = None, call: Caller = directly) -> None:
        """``call`` does what takes rights over files of whatever users."""
        self.call = call
        self.root = root.absolute()
        self.blobs = self.root / "blobs" / "sha256"
        self.layers = self.root / "layers"
        self.recipes = self.root / "recipes"
        self.cache = self.root / "cache"
        self.locks = self.root / "locks"
        self.temporary = self.root / "tmp"
        self.used = self.root / "used"
        self.names = self.root / "tags"
        self._use = UseLock(self.root / "use.lock")
        self._host = HostIdentity()
        self._limits = limits
        with storing("create the store", self.root):
            self.root.parent.mkdir(parents=True, exist_ok=True)
            # 0700 each: a set-uid file in a layer must not be within an ordinary user's reach (CVE-2021-41091).
            for directory in (
                self.root,
                self.blobs.parent,
                self.blobs,
                self.layers,
                self.recipes,
                self.cache,
                self.locks,
                self.temporary,
                self.used,
                self.names,
            ):
                directory.mkdir(mode=0o700, exist_ok=True)
            sweep_abandoned(self.temporary, call)

    def __reduce__(self) -> tuple[object, ...]:
        # Where it is sent to, there are the rights that ``call`` would get.
        return type(self), (self.root, self._limits)

    def in_use(self) -> AbstractContextManager[None]:
        """While its block runs nobody removes anything from the store; within another such block too.

        Raises StoreError if somebody has been removing images for a minute.
        """
        return self._use.shared()

    def alone(self, timeout: float) -> AbstractContextManager[None]:
        """While its block runs nobody else is in one, nor in one of ``in_use``: what is removed is in nobody's hands.

        Raises StoreError if the store was still in use after ``timeout`` seconds.
        """
        return self._use.alone(timeout)

    # Images

    def put_image(self, config: ImageConfig) -> str:
        """Stores ``config`` and returns the image's ID. Success means that it is stored, perhaps by somebody else."""
        return self.put_config(config.to_json())

    def put_config(self, content: bytes) -> str:
        """As ``put_image``, of a config as it was written."""
        image_id = digests.of(content)
        path = self.config_file(image_id)
        if not path.exists():
            with self.in_use():
                write_whole(path, content, self.temporary)
        return image_id

    def has_image(self, image_id: str) -> bool:
        """Whether the image with the (whole) ID ``image_id`` is here."""
        return self.config_file(image_id).exists()

    def mark_used(self, image_id: str) -> None:
        """Notes that the image was used now."""
        path = self.used / digests.hexadecimal(image_id)
        # Whatever is wrong with the disk, that the image was not marked is the least of it.
        with suppress(OSError):
            try:
                os.utime(path)
            except FileNotFoundError:
                path.touch(0o600)

    def config(self, image_id: str) -> ImageConfig:
        """The config of the image with the (whole) ID ``image_id``.

        Raises ImageNotFoundError if there is none, StoreError if what is there is not what its name says.
        """
        path = self.config_file(image_id)
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

    def config_file(self, image_id: str) -> Path:
        """The file of an image's config; its time is that of its storing."""
        return self.blobs / digests.hexadecimal(image_id)

    def _find(self, reference: str) -> str:
        if digests.is_digest(reference):
            return reference
        prefix = _ID_PREFIX.fullmatch(reference)
        try:
            if named := self.named(reference):
                return named[1]
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

        A name with a digest stands for what a registry has under that digest, whatever tag is in it. Raises
        InvalidReferenceError for no name, ``host`` and ``scratch``; ImageNotFoundError for an unknown image.
        """
        name = _key(parse_tag(reference))
        record = (str(name), image_id)
        with self.in_use():
            if not self.has_image(image_id):
                raise ImageNotFoundError(image_id)
            path = self.name_file(name)
            if self.name_record(path) != record:
                content = json.dumps({"reference": record[0], "image": image_id}).encode()
                write_whole(path, content, self.temporary)

    def tags(self) -> dict[str, str]:
        """Every tag (the canonical name) and the ID of its image. Raises StoreError."""
        return {name: image_id for name, image_id in self.all_names().items() if "@" not in name}

    def named(self, reference: str) -> tuple[str, str] | None:
        """The (canonical) name that ``reference`` is and the ID of its image; None if it is no image's name.

        Raises InvalidReferenceError for text that can be no name; an ID can be one.
        """
        return self.name_record(self.name_file(_key(Reference.parse(reference))))

    def all_names(self) -> dict[str, str]:
        """Every tag, and every name with a digest, and the ID of its image. Raises StoreError."""
        with storing("read", self.names):
            records = map(self.name_record, sorted(self.names.iterdir()))
        return dict(sorted(record for record in records if record))

    def name_file(self, name: Reference) -> Path:
        """The file that holds a name's image."""
        # The digest, not the name: names have slashes and may be longer than a file's name.
        return self.names / f"{digests.hexadecimal(digests.of(str(name).encode()))}.json"

    def name_record(self, path: Path) -> tuple[str, str] | None:
        """The name and ID that a name's file holds; None if it is not there or damaged: tagging again mends it."""
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
        with self.in_use(), storing("store the layer", upper):
            return self.call(_commit_layer, upper, self.layers)

    def layer_writer(
        self, media_type: str, limits: LayerLimits | None = None, *, threads: bool = True
    ) -> LayerWriter | DelegatedLayerWriter:
        """A context manager that takes a layer's compressed bytes as they stream, and stores it extracted.

        ``threads`` says whether it may have some of its own, which is faster where cores are idle otherwise. Raises
        LayerInvalidError at once if ``media_type`` is no layer's.
        """
        limits = limits or self._limits
        places = self.layers, self.recipes, self.temporary
        # Most runs pull nothing.
        if self.call is directly:
            from pytest_pycontainer.store.layers import LayerWriter

            return LayerWriter(*places, media_type, limits, threads=threads)
        from pytest_pycontainer.store.delegated_layers import DelegatedLayerWriter

        return DelegatedLayerWriter(self.call, *places, media_type, limits, threads=threads)

    def has_layers(self, config: ImageConfig) -> bool:
        """Whether every layer of ``config`` is stored."""
        return all(map(self.has_layer, config.diff_ids))

    def has_layer(self, diff_id: str) -> bool:
        """Whether a layer is stored; the empty one always is."""
        return diff_id == digests.EMPTY_LAYER or self._layer(diff_id).is_dir()

    def layer_directories(self, config: ImageConfig) -> tuple[Path, ...]:
        """The directories of an image's layers for overlayfs, topmost first.

        Empty layers are left out, and a layer that is there twice is kept once, at its topmost place: overlayfs refuses
        one directory twice. Raises StoreError for one that is missing.
        """
        return tuple(map(self.layer_directory, _stored_layers(config)))

    def layer_directory(self, diff_id: str) -> Path:
        """The directory of one layer. Raises StoreError if it is missing."""
        directory = self._layer(diff_id)
        if not directory.is_dir():
            raise StoreError("read the layer", str(directory), "it is missing; build or pull the image again")
        return directory

    def layer_note(self, diff_id: str, kind: str) -> Path:
        """The file for what is known about a layer, which never changes; it goes with the layer, or any time."""
        return self.cache / f"{digests.hexadecimal(diff_id)}.{kind}.json"

    def _layer(self, diff_id: str) -> Path:
        return self.layers / digests.hexadecimal(diff_id)


def _commit_layer(upper: Path, layers: Path) -> str:
    diff_id = diff.diff_id(upper)
    if diff_id == digests.EMPTY_LAYER:
        remove_tree(upper)
    else:
        move_whole(upper, layers / digests.hexadecimal(diff_id))
    return diff_id


def parse_new_tag(reference: str) -> Reference:
    """As ``parse_tag``, and raises InvalidReferenceError for a name with a digest, which only a registry gives."""
    name = parse_tag(reference)
    if name.digest is not None:
        raise InvalidReferenceError(reference, "a digest is not given, an image has it; leave out the part from @")
    return name


def parse_tag(reference: str) -> Reference:
    """The name that an image can be given. Raises InvalidReferenceError for no name, ``host`` and ``scratch``."""
    if reference in (HOST, SCRATCH):
        raise InvalidReferenceError(reference, "that name is taken: it stands for an image that is always there")
    if digests.is_digest(reference):
        raise InvalidReferenceError(reference, "that is an image's ID, not a name")
    return Reference.parse(reference)


def _key(name: Reference) -> Reference:
    """The name that the store has: a digest says all, so a tag before it is not asked for, as docker has it."""
    return name if name.digest is None else replace(name, tag=None)


def _stored_layers(config: ImageConfig) -> list[str]:
    return [diff_id for diff_id in dict.fromkeys(reversed(config.diff_ids)) if diff_id != digests.EMPTY_LAYER]
