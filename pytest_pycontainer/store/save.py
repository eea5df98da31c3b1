"""Images written to a file: what ``docker save`` writes and an OCI layout in one tar archive (OCI image-spec, "Image
Layout"), as Docker has done since version 25.

Blobs lie under their digests, Docker's ``manifest.json`` and OCI's ``index.json`` beside them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tarfile
from typing import TYPE_CHECKING, BinaryIO

from pytest_pycontainer.errors import ImageNotPortableError, InvalidReferenceError, StoreError
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image import manifest as manifests
from pytest_pycontainer.image.manifest import Descriptor, Index, Manifest
from pytest_pycontainer.store.files import storing
from pytest_pycontainer.store.layer_archive import ways_to_archive
from pytest_pycontainer.store.layout import (
    DOCKER_MANIFEST,
    NAME,
    OCI_INDEX,
    OCI_LAYOUT,
    OCI_LAYOUT_CONTENT,
    TAG,
    blob_name,
)
from pytest_pycontainer.store.store import Store, StoredImage, parse_tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_pycontainer.image.reference import Reference
    from pytest_pycontainer.store.layer_archive import Archiving

_MODE = 0o644


def save(store: Store, references: Iterable[str], file: BinaryIO) -> None:
    """Writes the images of ``references`` to ``file``, which need not be seekable, with the names among them.

    They keep their IDs. Only where a layer's recipe is gone, and another program had archived it in another way, is it
    archived anew under another digest, and the image gets another ID. Raises ImageNotFoundError, ImageNotPortableError
    for an image on the host image, StoreError, and OSError for what ``file`` raises.
    """
    named: dict[str, list[Reference]] = {}
    for reference in references:
        image = store.image(reference)
        if image.config.host is not None:
            raise ImageNotPortableError(reference)
        named.setdefault(image.id, []).extend(_name_in(store, reference, image))
    _Saver(store, file).save(named)


def _name_in(store: Store, reference: str, image: StoredImage) -> list[Reference]:
    """The name that ``reference`` is; none if it is an ID."""
    try:
        name = parse_tag(reference)
    except InvalidReferenceError:
        return []
    if name.tag is None or store.tags().get(str(name)) != image.id:
        return []
    return [dataclasses.replace(name, digest=None)]


class _Saver:
    def __init__(self, store: Store, file: BinaryIO) -> None:
        self._store = store
        self._file = file
        self._layers: dict[str, Descriptor] = {}
        self._written: set[str] = set()

    def save(self, named: Mapping[str, list[Reference]]) -> None:
        for_docker: list[dict[str, object]] = []
        for_oci: list[Descriptor] = []
        for image_id, names in named.items():
            manifest = self._write_image(image_id)
            for_docker.append(
                {
                    "Config": blob_name(manifest.config.digest),
                    "RepoTags": [name.familiar for name in names],
                    "Layers": [blob_name(layer.digest) for layer in manifest.layers],
                }
            )
            described = self._write_blob(manifest.to_json(), manifests.OCI_MANIFEST)
            annotations = [{NAME: str(name), TAG: name.tag or ""} for name in names] or [{}]
            for_oci += [dataclasses.replace(described, annotations=notes) for notes in annotations]
        self._write_file(OCI_INDEX, Index(tuple(for_oci)).to_json())
        self._write_file(DOCKER_MANIFEST, json.dumps(for_docker).encode())
        self._write_file(OCI_LAYOUT, OCI_LAYOUT_CONTENT)
        self._file.write(bytes(2 * tarfile.BLOCKSIZE))

    def _write_image(self, image_id: str) -> Manifest:
        config = self._store.config(image_id)
        self._store.layer_directories(config)  # says which layer is missing before anything is written
        layers = tuple(map(self._write_layer, config.diff_ids))
        diff_ids = tuple(layer.digest for layer in layers)
        if diff_ids != config.diff_ids:
            content = dataclasses.replace(config, diff_ids=diff_ids).to_json()
        else:
            path = self._store.config_file(image_id)
            with storing("read", path):
                content = path.read_bytes()
        return Manifest(self._write_blob(content, manifests.OCI_CONFIG), layers)

    def _write_layer(self, diff_id: str) -> Descriptor:
        if diff_id not in self._layers:
            # Twice: the size stands before the content, and whether that is right is known at its end.
            described, archive = self._measure(diff_id)
            if described.digest not in self._written:
                self._written.add(described.digest)
                self._begin_file(blob_name(described.digest), described.size)
                again = _Measured(self._file)
                if not archive(again.add) or (again.digest, again.size) != (described.digest, described.size):
                    detail = "it changed while it was saved; nothing may write to it"
                    raise StoreError("read the layer", str(self._store.layers / digests.hexadecimal(diff_id)), detail)
                self._end_file(described.size)
            self._layers[diff_id] = described
        return self._layers[diff_id]

    def _measure(self, diff_id: str) -> tuple[Descriptor, Archiving]:
        for archive in ways_to_archive(self._store, diff_id):
            measured = _Measured()
            with storing("read the layer", self._store.layers / digests.hexadecimal(diff_id)):
                if archive(measured.add) and measured.digest == diff_id:
                    break
        return Descriptor(manifests.OCI_LAYER, measured.digest, measured.size), archive

    def _write_blob(self, content: bytes, media_type: str) -> Descriptor:
        described = Descriptor(media_type, digests.of(content), len(content))
        if described.digest not in self._written:
            self._written.add(described.digest)
            self._write_file(blob_name(described.digest), content)
        return described

    def _write_file(self, name: str, content: bytes) -> None:
        self._begin_file(name, len(content))
        self._file.write(content)
        self._end_file(len(content))

    def _begin_file(self, name: str, size: int) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, _MODE
        self._file.write(info.tobuf(tarfile.GNU_FORMAT))

    def _end_file(self, size: int) -> None:
        self._file.write(bytes(-size % tarfile.BLOCKSIZE))


class _Measured:
    """How long an archive is, and its digest; it goes on to ``file``, if there is one."""

    def __init__(self, file: BinaryIO | None = None) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def add(self, piece: bytes | memoryview) -> None:
        self._hash.update(piece)
        self.size += len(piece)
        if self._file is not None:
            self._file.write(piece)
