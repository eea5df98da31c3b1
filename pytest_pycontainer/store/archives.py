"""Images as files: what ``docker save`` writes and an OCI layout in a tar archive (OCI image-spec, "Image Layout").

``save`` writes one archive that is both, as Docker does since version 25: blobs under their digests, Docker's
``manifest.json`` and OCI's ``index.json`` beside them. ``load`` reads either.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import posixpath
import tarfile
import tempfile
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, BinaryIO

from pytest_pycontainer.errors import (
    DigestMismatchError,
    ImageNotPortableError,
    InvalidArchiveError,
    InvalidReferenceError,
    LayerInvalidError,
)
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image import manifest as manifests
from pytest_pycontainer.image.config import ImageConfig
from pytest_pycontainer.image.json_object import JsonObject
from pytest_pycontainer.image.manifest import Descriptor, Index, Manifest
from pytest_pycontainer.image.platform import Platform
from pytest_pycontainer.image.reference import Reference
from pytest_pycontainer.store import diff
from pytest_pycontainer.store.compression import Sniffer, is_compressed
from pytest_pycontainer.store.files import storing, write_whole
from pytest_pycontainer.store.store import Store, StoredImage, parse_tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_PIECE = 1 << 20
_LINKS_AT_MOST = 8
_DOCKER_MANIFEST, _OCI_INDEX, _OCI_LAYOUT = "manifest.json", "index.json", "oci-layout"
_NAME, _TAG = "io.containerd.image.name", "org.opencontainers.image.ref.name"
_MODE = 0o644


@dataclasses.dataclass(frozen=True, slots=True)
class LoadedImage:
    """An image that came out of an archive, and the (canonical) names that it has been given."""

    id: str
    names: tuple[str, ...]


# Saving


def save(store: Store, references: Iterable[str], file: BinaryIO) -> None:
    """Writes the images of ``references`` to ``file``, which need not be seekable, with the names among them.

    A layer is archived anew. That of a build gets the digest that it has; one that another program archived may get
    another, and the image another ID with it. Raises ImageNotFoundError, ImageNotPortableError for an image on the host
    image, StoreError, and OSError for what ``file`` raises.
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
                    "Config": _blob_name(manifest.config.digest),
                    "RepoTags": [name.familiar for name in names],
                    "Layers": [_blob_name(layer.digest) for layer in manifest.layers],
                }
            )
            described = self._write_blob(manifest.to_json(), manifests.OCI_MANIFEST)
            annotations = [{_NAME: str(name), _TAG: name.tag or ""} for name in names] or [{}]
            for_oci += [dataclasses.replace(described, annotations=notes) for notes in annotations]
        self._write_file(_OCI_INDEX, Index(tuple(for_oci)).to_json())
        self._write_file(_DOCKER_MANIFEST, json.dumps(for_docker).encode())
        self._write_file(_OCI_LAYOUT, b'{"imageLayoutVersion":"1.0.0"}')
        self._file.write(bytes(2 * tarfile.BLOCKSIZE))

    def _write_image(self, image_id: str) -> Manifest:
        config = self._store.config(image_id)
        self._store.layer_directories(config)  # says which layer is missing before anything is written
        layers = tuple(map(self._write_layer, config.diff_ids))
        diff_ids = tuple(layer.digest for layer in layers)
        if diff_ids != config.diff_ids:
            content = dataclasses.replace(config, diff_ids=diff_ids).to_json()
        else:
            path = self._store.blobs / digests.hexadecimal(image_id)
            with storing("read", path):
                content = path.read_bytes()
        return Manifest(self._write_blob(content, manifests.OCI_CONFIG), layers)

    def _write_layer(self, diff_id: str) -> Descriptor:
        if diff_id in self._layers:
            return self._layers[diff_id]
        if diff_id == digests.EMPTY_LAYER:
            described = self._write_blob(bytes(2 * tarfile.BLOCKSIZE), manifests.OCI_LAYER)
        else:
            described = self._archive(self._store.layers / digests.hexadecimal(diff_id))
        self._layers[diff_id] = described
        return described

    def _archive(self, layer: Path) -> Descriptor:
        # Twice: the size stands before the content, and the digest is its name.
        archive, size = hashlib.sha256(), 0

        def measure(piece: bytes | memoryview) -> None:
            nonlocal size
            archive.update(piece)
            size += len(piece)

        with storing("read the layer", layer):
            diff.write_layer(layer, measure)
        described = Descriptor(manifests.OCI_LAYER, f"sha256:{archive.hexdigest()}", size)
        if described.digest not in self._written:
            self._written.add(described.digest)
            self._begin_file(_blob_name(described.digest), size)
            diff.write_layer(layer, self._file.write)
            self._end_file(size)
        return described

    def _write_blob(self, content: bytes, media_type: str) -> Descriptor:
        described = Descriptor(media_type, digests.of(content), len(content))
        if described.digest not in self._written:
            self._written.add(described.digest)
            self._write_file(_blob_name(described.digest), content)
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


def _blob_name(digest: str) -> str:
    return f"blobs/sha256/{digests.hexadecimal(digest)}"


# Loading


def load(store: Store, file: BinaryIO) -> tuple[LoadedImage, ...]:
    """Stores the images that ``file`` holds, plain or compressed, and gives them the names that it has for them.

    Of an image for several platforms, the one for this machine. Success means that they are stored, perhaps by somebody
    else. Raises InvalidArchiveError, InvalidManifestError, InvalidImageConfigError, NoMatchingPlatformError,
    DigestMismatchError, LayerInvalidError or StoreError; an image is stored whole or not at all, and those before it
    stay.
    """
    with store.in_use(), _opened(store, file) as archive:
        if _DOCKER_MANIFEST in archive:
            found = list(_docker_images(archive))
        elif _OCI_INDEX in archive:
            found = list(_oci_images(archive))
        else:
            wanted = f"{_DOCKER_MANIFEST} (docker save) nor {_OCI_INDEX} (an OCI layout)"
            raise InvalidArchiveError(f"it holds neither {wanted}")
        if not found:
            raise InvalidArchiveError("it holds no image")
        loaded: dict[str, dict[str, None]] = {}
        for image in found:
            image_id = _store_image(store, archive, image)
            loaded.setdefault(image_id, {}).update((str(name), None) for name in image.names)
        return tuple(LoadedImage(image_id, tuple(names)) for image_id, names in loaded.items())


@dataclasses.dataclass(frozen=True, slots=True)
class _FoundImage:
    config: bytes
    layers: tuple[str, ...]
    """Their names in the archive."""
    names: tuple[Reference, ...]


class _Archive:
    """The files of an archive, read by their names in any order."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._members = {posixpath.normpath(member.name): member for member in archive}

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def pieces(self, name: str) -> Iterator[bytes]:
        file = self._archive.extractfile(self._member(name))
        assert file is not None
        while piece := file.read(_PIECE):
            yield piece

    def read(self, name: str) -> bytes:
        """A JSON file's content, which is small."""
        member = self._member(name)
        if member.size > manifests.MANIFEST_BYTES_AT_MOST:
            most = manifests.MANIFEST_BYTES_AT_MOST
            raise InvalidArchiveError(f"its {name} is {member.size} bytes long; wanted at most {most}")
        return b"".join(self.pieces(name))

    def blob(self, described: Descriptor) -> bytes:
        content = self.read(_blob_name(described.digest))
        if digests.of(content) != described.digest:
            raise DigestMismatchError("blob of an archive", digests.of(content), described.digest)
        return content

    def _member(self, name: str) -> tarfile.TarInfo:
        # Docker used to write a layer that several images share once, and links to it.
        place = posixpath.normpath(name)
        for _ in range(_LINKS_AT_MOST):
            member = self._members.get(place)
            if member is None or not (member.issym() or member.islnk()):
                break
            start = posixpath.dirname(place) if member.issym() else ""
            place = posixpath.normpath(posixpath.join(start, member.linkname))
        if member is None or not member.isfile():
            raise InvalidArchiveError(f"it names {name!r:.200}, which it does not hold")
        return member


@contextmanager
def _opened(store: Store, file: BinaryIO) -> Iterator[_Archive]:
    with ExitStack() as owned:
        if not file.seekable() or is_compressed(_first_bytes(file)):
            plain = owned.enter_context(tempfile.TemporaryFile(dir=store.temporary))
            _decompress(store, file, plain)
            file = plain
        try:
            yield _Archive(owned.enter_context(tarfile.open(fileobj=file, mode="r:")))
        except (tarfile.TarError, EOFError) as problem:
            raise InvalidArchiveError(f"it is no tar archive, or damaged: {problem}") from problem


def _first_bytes(file: BinaryIO) -> bytes:
    position = file.tell()
    first = file.read(8)
    file.seek(position)
    return first


def _decompress(store: Store, file: BinaryIO, plain: BinaryIO) -> None:
    sniffer = Sniffer()
    with storing("decompress an archive into", store.temporary):
        try:
            while data := file.read(_PIECE):
                plain.writelines(sniffer.pieces(data))
            plain.writelines(sniffer.finish())
        except LayerInvalidError as problem:
            raise InvalidArchiveError(problem.reason) from None
        plain.seek(0)


def _docker_images(archive: _Archive) -> Iterator[_FoundImage]:
    try:
        listed = json.loads(archive.read(_DOCKER_MANIFEST))
    except (ValueError, RecursionError) as problem:
        raise InvalidArchiveError(f"its {_DOCKER_MANIFEST} is not JSON: {problem}") from None
    for image in JsonObject({_DOCKER_MANIFEST: listed}, "", InvalidArchiveError).objects(_DOCKER_MANIFEST):
        config = image.text("Config")
        if not config:
            raise image.problem("Config", "the name of a file")
        names = tuple(map(parse_tag, image.texts("RepoTags") or ()))
        yield _FoundImage(archive.read(config), image.texts("Layers") or (), names)


def _oci_images(archive: _Archive) -> Iterator[_FoundImage]:
    for described in Index.from_json(archive.read(_OCI_INDEX)).manifests:
        content = archive.blob(described)
        if described.media_type in manifests.INDEXES:
            content = archive.blob(Index.from_json(content).select(Platform.current()))
        manifest = Manifest.from_json(content)
        layers = tuple(_blob_name(layer.digest) for layer in manifest.layers)
        yield _FoundImage(archive.blob(manifest.config), layers, _names(described.annotations))


def _names(annotations: Mapping[str, str]) -> tuple[Reference, ...]:
    # By the specification the second is a tag alone; skopeo and others write the whole name there.
    name = annotations.get(_NAME) or annotations.get(_TAG) or ""
    return (parse_tag(name),) if "/" in name or ":" in name else ()


def _store_image(store: Store, archive: _Archive, image: _FoundImage) -> str:
    config = ImageConfig.from_json(image.config)
    if config.host is not None:
        # What lies under such an image is this machine: no stranger may have that mounted.
        raise InvalidArchiveError("it holds an image that stands on a machine's root file system")
    if len(image.layers) != len(config.diff_ids):
        found = f"{len(image.layers)} layers, and {len(config.diff_ids)} in its config"
        raise InvalidArchiveError(f"it holds an image with {found}")
    for name, diff_id in zip(image.layers, config.diff_ids, strict=True):
        if diff_id != digests.EMPTY_LAYER and not (store.layers / digests.hexadecimal(diff_id)).is_dir():
            with store.layer_writer(manifests.OCI_LAYER) as layer:
                for piece in archive.pieces(name):
                    layer.write(piece)
                layer.commit(diff_id)
    image_id = digests.of(image.config)
    path = store.blobs / digests.hexadecimal(image_id)
    if not path.exists():
        write_whole(path, image.config, store.temporary)
    for reference in image.names:
        store.tag(image_id, str(reference))
    return image_id
