"""Images read from files: what ``docker save`` writes, and OCI layouts, in an archive or a directory."""

from __future__ import annotations

import dataclasses
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from pytest_pycontainer.errors import ImageError, InvalidArchiveError
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image import manifest as manifests
from pytest_pycontainer.image.config import ImageConfig
from pytest_pycontainer.image.json_object import JsonObject
from pytest_pycontainer.image.manifest import Descriptor, Index, Manifest
from pytest_pycontainer.image.platform import Platform
from pytest_pycontainer.store.image_files import files_of_archive, files_of_directory, read_blob, read_json
from pytest_pycontainer.store.layout import DOCKER_MANIFEST, NAME, OCI_INDEX, TAG, blob_name
from pytest_pycontainer.store.store import Store, parse_tag

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pytest_pycontainer.image.reference import Reference
    from pytest_pycontainer.store.image_files import ImageFiles


@dataclasses.dataclass(frozen=True, slots=True)
class LoadedImage:
    """An image that came out of an archive, and the (canonical) names that it has been given."""

    id: str
    names: tuple[str, ...]


def load(store: Store, file: BinaryIO) -> tuple[LoadedImage, ...]:
    """Stores the images that ``file`` holds, plain or compressed, and gives them the names that it has for them.

    Of an image for several platforms, the one for this machine. Success means that they are stored, perhaps by somebody
    else. Raises InvalidArchiveError, InvalidManifestError, InvalidImageConfigError, NoMatchingPlatformError,
    DigestMismatchError, LayerInvalidError, CompressionUnavailableError or StoreError; an image is stored whole or not
    at all, and those before it stay.
    """
    with store.in_use(), files_of_archive(file, store.temporary) as files:
        return _load(store, files)


def load_path(store: Store, path: Path) -> tuple[LoadedImage, ...]:
    """As ``load``, from the archive or the directory with an OCI layout that is at ``path``, which errors name."""
    with store.in_use(), _opened(store, path) as files:
        return _load(store, files)


def load_only_image(store: Store, path: Path) -> str:
    """The ID of the one image in the archive or directory at ``path``, stored without a name.

    Raises as ``load`` does, and InvalidArchiveError if there are several images.
    """
    with store.in_use(), _opened(store, path) as files:
        found = {digests.of(image.config): image for image in _images(files)}
        if len(found) > 1:
            names = sorted(name.familiar for image in found.values() for name in image.names)
            there = f": {', '.join(names)}" if names else ""
            raise InvalidArchiveError(f"it holds {len(found)} images{there}; load it, and choose one by its name or ID")
        return next(_store_image(store, files, image) for image in found.values())


@contextmanager
def _opened(store: Store, path: Path) -> Iterator[ImageFiles]:
    """The files at ``path``, of which errors of the block then speak."""
    try:
        with _open(store, path) as files:
            yield files
    except InvalidArchiveError as problem:
        raise InvalidArchiveError(problem.problem, str(path)) from problem.__cause__
    except ImageError as problem:
        problem.add_note(f"while loading an image from {path}")
        raise


@contextmanager
def _open(store: Store, path: Path) -> Iterator[ImageFiles]:
    if path.is_dir():
        with files_of_directory(path) as files:
            yield files
        return
    try:
        file = path.open("rb")
    except OSError as problem:
        raise InvalidArchiveError(problem.strerror or str(problem)) from problem
    with file, files_of_archive(file, store.temporary) as files:
        yield files


@dataclasses.dataclass(frozen=True, slots=True)
class _FoundImage:
    config: bytes
    layers: tuple[str, ...]
    """The names of their files."""
    names: tuple[Reference, ...]


def _load(store: Store, files: ImageFiles) -> tuple[LoadedImage, ...]:
    loaded: dict[str, dict[str, None]] = {}
    for image in _images(files):
        image_id = _store_image(store, files, image)
        for reference in image.names:
            store.tag(image_id, str(reference))
        loaded.setdefault(image_id, {}).update((str(name), None) for name in image.names)
    return tuple(LoadedImage(image_id, tuple(names)) for image_id, names in loaded.items())


def _images(files: ImageFiles) -> list[_FoundImage]:
    if DOCKER_MANIFEST in files:
        found = list(_docker_images(files))
    elif OCI_INDEX in files:
        found = list(_oci_images(files))
    else:
        wanted = f"{DOCKER_MANIFEST} (docker save) nor {OCI_INDEX} (an OCI layout)"
        raise InvalidArchiveError(f"it holds neither {wanted}; a plain root file system is imported, not loaded")
    if not found:
        raise InvalidArchiveError("it holds no image")
    return found


def _docker_images(files: ImageFiles) -> Iterator[_FoundImage]:
    try:
        listed = json.loads(read_json(files, DOCKER_MANIFEST))
    except (ValueError, RecursionError) as problem:
        raise InvalidArchiveError(f"its {DOCKER_MANIFEST} is not JSON: {problem}") from None
    for image in JsonObject({DOCKER_MANIFEST: listed}, "", InvalidArchiveError).objects(DOCKER_MANIFEST):
        config = image.text("Config")
        if not config:
            raise image.problem("Config", "the name of a file")
        names = tuple(map(parse_tag, image.texts("RepoTags") or ()))
        yield _FoundImage(read_json(files, config), image.texts("Layers") or (), names)


def _oci_images(files: ImageFiles) -> Iterator[_FoundImage]:
    for described in _for_this_machine(Index.from_json(read_json(files, OCI_INDEX)).manifests):
        content = read_blob(files, described)
        if described.media_type in manifests.INDEXES:
            content = read_blob(files, Index.from_json(content).select(Platform.current()))
        manifest = Manifest.from_json(content)
        layers = tuple(blob_name(layer.digest) for layer in manifest.layers)
        yield _FoundImage(read_blob(files, manifest.config), layers, _names(described.annotations))


def _for_this_machine(listed: tuple[Descriptor, ...]) -> Iterator[Descriptor]:
    """One of each name: some programs list the manifests for all platforms side by side, without an index of them."""
    groups: dict[object, list[Descriptor]] = {}
    for number, described in enumerate(listed):
        name = described.annotations.get(NAME) or described.annotations.get(TAG)
        groups.setdefault((name, None if described.platform else number), []).append(described)
    for group in groups.values():
        yield group[0] if len(group) == 1 else Index(tuple(group)).select(Platform.current())


def _names(annotations: Mapping[str, str]) -> tuple[Reference, ...]:
    # By the specification the second is a tag alone; skopeo and others write the whole name there.
    name = annotations.get(NAME) or annotations.get(TAG) or ""
    return (parse_tag(name),) if "/" in name or ":" in name else ()


def _store_image(store: Store, files: ImageFiles, image: _FoundImage) -> str:
    config = ImageConfig.from_json(image.config)
    if config.host is not None:
        # What lies under such an image is this machine: no stranger may have that mounted.
        raise InvalidArchiveError("it holds an image that stands on a machine's root file system")
    if len(image.layers) != len(config.diff_ids):
        found = f"{len(image.layers)} layers, and {len(config.diff_ids)} in its config"
        raise InvalidArchiveError(f"it holds an image with {found}")
    for name, diff_id in zip(image.layers, config.diff_ids, strict=True):
        if not store.has_layer(diff_id):
            with store.layer_writer(manifests.OCI_LAYER) as layer:
                for piece in files.pieces(name):
                    layer.write(piece)
                layer.commit(diff_id)
    return store.put_config(image.config)
