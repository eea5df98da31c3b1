"""Pushing: layers → config → manifest, each only if it is not there yet."""

from __future__ import annotations

import hashlib
import tempfile
import threading
import zlib
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pytest_pycontainer.errors import ImageNotPortableError, RegistryError, StoreError
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image.manifest import (
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
)
from pytest_pycontainer.image.reference import Reference
from pytest_pycontainer.registry.download import stream_blob
from pytest_pycontainer.registry.known_blobs import KnownBlob, KnownBlobs
from pytest_pycontainer.registry.progress import Progress, Stage, silent
from pytest_pycontainer.registry.upload import upload_blob
from pytest_pycontainer.store.files import storing
from pytest_pycontainer.store.layer_archive import Archiving, ways_to_archive
from pytest_pycontainer.store.store import parse_tag

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from pytest_pycontainer.registry.registries import Registries
    from pytest_pycontainer.store.store import Store

_LAYERS_AT_ONCE: Final = 4
_GZIP_LEVEL: Final = 6
_GZIP_WINDOW: Final = 31
"""zlib's word for "in a gzip wrapper". Its header has no time and no name: equal layers are equal bytes."""

_IN_OCI: Final = {DOCKER_LAYER: OCI_LAYER, DOCKER_LAYER_GZIP: OCI_LAYER_GZIP}


def push(
    store: Store, registries: Registries, source: str, destination: str | None = None, *, progress: Progress = silent
) -> str:
    """Pushes the image ``source``, a name or an ID, as ``destination`` (``source`` by default).

    Returns the digest of its manifest, which is OCI's. Blobs that are there stay, those of another repository of the
    same registry are mounted, and the manifest comes last, so that a push that fails leaves no image half there.

    Raises InvalidReferenceError, ImageNotFoundError, ImageNotPortableError for one built ``FROM host``,
    AccessDeniedError, RateLimitedError, RegistryUnavailableError, RegistryCertificateError, RegistryAnswerError,
    CredentialsError, and StoreError.
    """
    with store.in_use():
        image = store.image(source)
        if image.config.host is not None:
            raise ImageNotPortableError(source)
        name = parse_tag(destination or source)
        pushing = _Push(store, registries, name, progress)
        layers = pushing.push_layers(tuple(dict.fromkeys(image.config.diff_ids)))
        config = store.config_file(image.id).read_bytes()
        manifest = Manifest(
            Descriptor(OCI_CONFIG, image.id, len(config)),
            tuple(layers[diff_id] for diff_id in image.config.diff_ids),
        )
        digest = pushing.finish(manifest, config)
        store.tag(image.id, f"{name.name}@{digest}")
    return digest


class _Stopped(Exception):  # noqa: N818  (no error: it ends the threads whose work is not wanted any more)
    """Another layer failed, or the caller was interrupted."""


class _Push:
    def __init__(self, store: Store, registries: Registries, name: Reference, progress: Progress) -> None:
        self._store = store
        self._registries = registries
        self._repository = registries.repository(name)
        self._name = name
        self._known = KnownBlobs(store)
        self._progress = progress
        self._stop = threading.Event()

    def push_layers(self, diff_ids: tuple[str, ...]) -> dict[str, Descriptor]:
        """Has every layer in the registry, and returns what each is there."""
        for diff_id in diff_ids:
            self._progress(diff_id, Stage.WAITING, 0, 0)
        with ThreadPoolExecutor(_LAYERS_AT_ONCE, thread_name_prefix="push") as threads:
            running = {diff_id: threads.submit(self._push_layer, diff_id) for diff_id in diff_ids}
            try:
                wait(running.values(), return_when=FIRST_EXCEPTION)
            finally:
                self._stop.set()
        for pushed in running.values():
            if (problem := pushed.exception()) is not None and not isinstance(problem, _Stopped):
                raise problem
        return {diff_id: pushed.result() for diff_id, pushed in running.items()}

    def finish(self, manifest: Manifest, config: bytes) -> str:
        """Pushes config and manifest; returns the manifest's digest."""
        if not self._repository.has_blob(manifest.config.digest):
            with tempfile.TemporaryFile(dir=self._store.temporary) as file:
                file.write(config)
                file.flush()
                upload_blob(self._repository, manifest.config, file)
        content = manifest.to_json()
        self._repository.put_manifest(self._name, OCI_MANIFEST, content)
        digest = digests.of(content)
        self._progress(digest, Stage.IMAGE, len(content), len(content))
        return digest

    def _push_layer(self, diff_id: str) -> Descriptor:
        self._check_stopped()
        known = self._known.of(diff_id)
        blob = self._there(diff_id, known) or self._mounted(diff_id, known) or self._uploaded(diff_id, known)
        self._known.add(diff_id, self._repository.name, blob)
        return blob

    def _there(self, diff_id: str, known: list[KnownBlob]) -> Descriptor | None:
        for blob in dict.fromkeys(place.blob for place in known):
            if self._repository.has_blob(blob.digest):
                self._progress(diff_id, Stage.HERE, blob.size, blob.size)
                return _in_oci(blob)
        return None

    def _mounted(self, diff_id: str, known: list[KnownBlob]) -> Descriptor | None:
        for place in known:
            reference = Reference.parse(place.name)
            if reference.domain == self._name.domain and self._repository.mount(place.blob.digest, reference.path):
                self._progress(diff_id, Stage.MOUNTED, place.blob.size, place.blob.size)
                return _in_oci(place.blob)
        return None

    def _uploaded(self, diff_id: str, known: list[KnownBlob]) -> Descriptor:
        with self._file(diff_id, known) as (blob, file):
            if not self._repository.has_blob(blob.digest):

                def sent(done: int) -> None:
                    self._check_stopped()
                    self._progress(diff_id, Stage.UPLOADING, done, blob.size)

                upload_blob(self._repository, blob, file, sent)
        self._progress(diff_id, Stage.DONE, blob.size, blob.size)
        return blob

    @contextmanager
    def _file(self, diff_id: str, known: list[KnownBlob]) -> Iterator[tuple[Descriptor, BinaryIO]]:
        """The layer as a blob, in a file that has no name and so goes with its last user.

        A layer that another program archived, and whose recipe is gone, is fetched again from where it came from.
        """
        with tempfile.TemporaryFile(dir=self._store.temporary) as file:
            for archive in ways_to_archive(self._store, diff_id):
                if blob := self._compress(diff_id, archive, file):
                    break
                file.seek(0)
                file.truncate()
            else:
                blob = self._fetch(diff_id, known, file)
            file.flush()
            yield blob, file

    def _compress(self, diff_id: str, archive: Archiving, file: BinaryIO) -> Descriptor | None:
        """Writes the layer to ``file``; None if what comes out is not the archive of that diff ID."""
        uncompressed, compressed = hashlib.sha256(), hashlib.sha256()
        compressor = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WINDOW)
        size = done = 0

        def keep(content: bytes) -> None:
            nonlocal size
            compressed.update(content)
            file.write(content)
            size += len(content)

        def write(content: bytes | memoryview) -> None:
            nonlocal done
            self._check_stopped()
            uncompressed.update(content)
            keep(compressor.compress(content))
            done += len(content)
            self._progress(diff_id, Stage.COMPRESSING, done, 0)

        with storing("read the layer", self._store.layers / digests.hexadecimal(diff_id)):
            is_whole = archive(write)
        keep(compressor.flush())
        if not is_whole or f"sha256:{uncompressed.hexdigest()}" != diff_id:
            return None
        return Descriptor(OCI_LAYER_GZIP, f"sha256:{compressed.hexdigest()}", size)

    def _fetch(self, diff_id: str, known: list[KnownBlob], file: BinaryIO) -> Descriptor:
        problems = []
        for place in known:
            file.seek(0)
            file.truncate()
            try:
                for piece in stream_blob(self._registries.source(Reference.parse(place.name)), place.blob):
                    self._check_stopped()
                    file.write(piece)
            except RegistryError as problem:
                problems.append(str(problem))
                continue
            return _in_oci(place.blob)
        detail = "; ".join(problems) or "no registry is known to have it; pull or build the image again"
        path = str(self._store.layers / digests.hexadecimal(diff_id))
        raise StoreError("make an archive with the right digest of the layer", path, detail)

    def _check_stopped(self) -> None:
        if self._stop.is_set():
            raise _Stopped


def _in_oci(blob: Descriptor) -> Descriptor:
    """The descriptor with OCI's name for Docker's media type of the same format."""
    return Descriptor(_IN_OCI.get(blob.media_type, blob.media_type), blob.digest, blob.size)
