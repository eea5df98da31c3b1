"""Pulling: manifest → config and layers → store → name."""

from __future__ import annotations

import os
import threading
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pytest_pycontainer.errors import (
    InvalidManifestError,
    LayerInvalidError,
    NoMatchingPlatformError,
    RegistryAnswerError,
)
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image.config import ImageConfig
from pytest_pycontainer.image.manifest import (
    DOCKER_CONFIG,
    INDEXES,
    MANIFESTS,
    OCI_CONFIG,
    Descriptor,
    Index,
    Manifest,
)
from pytest_pycontainer.image.platform import Platform
from pytest_pycontainer.image.reference import Reference
from pytest_pycontainer.registry.download import read_blob, stream_blob
from pytest_pycontainer.registry.known_blobs import KnownBlobs
from pytest_pycontainer.registry.progress import Progress, Stage, silent
from pytest_pycontainer.store.cache import BuildCache
from pytest_pycontainer.store.files import write_whole
from pytest_pycontainer.store.store import StoredImage, parse_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from pytest_pycontainer.registry.mirrors import Source
    from pytest_pycontainer.registry.registries import Registries
    from pytest_pycontainer.store.store import Store

_LAYERS_AT_ONCE: Final = 4
_CONFIG_BYTES_AT_MOST: Final = 8 << 20


def pull(
    store: Store,
    registries: Registries,
    reference: str,
    *,
    platform: Platform | None = None,
    progress: Progress = silent,
) -> StoredImage:
    """Pulls the image ``reference`` for ``platform`` (this machine's by default), and names it so, and by its digest.

    Asks for no more than the manifest's digest if the image is here, and for nothing if ``reference`` has a digest.
    Processes that pull the same at the same time download it once. Nothing of an image is visible before all of it is
    stored; layers that were complete when a pull failed are kept.

    Raises InvalidReferenceError, ImageNotInRegistryError, NoMatchingPlatformError, AccessDeniedError,
    RateLimitedError, RegistryUnavailableError, RegistryCertificateError, RegistryAnswerError, ProxyError,
    CertificateFileError, DigestMismatchError, InvalidManifestError, InvalidImageConfigError, CredentialsError,
    StoreError, and what a layer's extraction raises.
    """
    name = parse_tag(reference)
    one = _Pull(store, registries.source(name), name, platform, progress)
    with store.in_use():
        image, digest = one.run()
        if name.digest is None:
            store.tag(image.id, str(name))
        store.tag(image.id, f"{name.name}@{digest}")
    progress(digest, Stage.IMAGE, 0, 0)
    return image


class RemoteImage:
    """An image in a registry, of which layers can be had one by one. Safe for several threads.

    Raises what ``pull`` raises, when it is made and in ``fetch``.
    """

    def __init__(
        self, store: Store, registries: Registries, reference: str, *, platform: Platform | None = None
    ) -> None:
        name = parse_tag(reference)
        source = registries.source(name)
        self._new_pull: Callable[[], _Pull] = lambda: _Pull(store, source, name, platform, silent)
        self._store = store
        self.config, self._layers = self._new_pull().describe()

    def fetch(self, diff_id: str) -> None:
        """Stores the layer with this diff ID, unless it is here."""
        with self._store.in_use():
            self._new_pull().fetch({diff_id: self._layers[diff_id]})


class _Stopped(Exception):  # noqa: N818  (no error: it ends the threads whose work is not wanted any more)
    """Another layer failed, or the caller was interrupted."""


class _Pull:
    def __init__(
        self, store: Store, repository: Source, name: Reference, platform: Platform | None, progress: Progress
    ) -> None:
        self._store = store
        self._cache = BuildCache(store)
        self._known = KnownBlobs(store)
        self._repository = repository
        self._name = name
        self._asked_platform = platform
        self._platform = platform or Platform.current()
        self._progress = progress
        self._stop = threading.Event()
        self._has_idle_cores = False

    def run(self) -> tuple[StoredImage, str]:
        """The image, and the digest of what was asked for, which may be an index."""
        digest = self._name.digest or self._repository.manifest_digest(self._name)
        if digest and (image := self._here(digest)):
            return image, digest
        with self._cache.lock(self._key(digest or str(self._name))):
            if digest and (image := self._here(digest)):
                return image, digest  # another process has just pulled it
            top_digest, manifest = self._manifest(digest)
            image = self._download(manifest)
            self._cache.put(self._key(top_digest), image.id)
        return image, top_digest

    def describe(self) -> tuple[ImageConfig, dict[str, Descriptor]]:
        """The image's config, and its layers under their diff IDs; nothing is stored."""
        _, manifest = self._manifest(self._name.digest)
        config, _ = self._config(manifest)
        return config, dict(zip(config.diff_ids, manifest.layers, strict=True))

    def fetch(self, layers: dict[str, Descriptor]) -> None:
        """Stores these layers alone."""
        self._download_layers(layers)

    def _here(self, digest: str) -> StoredImage | None:
        return self._cache.get(self._key(digest))

    def _key(self, digest: str) -> str:
        return digests.of(f"pulled {digest} {self._platform}".encode())

    def _manifest(self, digest: str | None) -> tuple[str, Manifest]:
        """The image's manifest, and the digest of what was asked for, which may be an index."""
        # By digest, so that a tag that moves meanwhile does not give us something else under the old one's key.
        name = replace(self._name, digest=digest) if digest else self._name
        media_type, content = self._repository.manifest(name)
        top_digest = digests.of(content)
        if media_type in INDEXES:
            chosen = Index.from_json(content).select(self._platform)
            media_type, content = self._repository.manifest(replace(self._name, digest=chosen.digest))
        if media_type not in MANIFESTS:
            raise self._unusable(f"{self._name} has the media type {media_type!r}; wanted an image's manifest")
        manifest = Manifest.from_json(content)
        if manifest.config.media_type not in (OCI_CONFIG, DOCKER_CONFIG):
            kind = manifest.config.media_type
            raise self._unusable(f"{self._name} is no image but something of type {kind!r}")
        return top_digest, manifest

    def _config(self, manifest: Manifest) -> tuple[ImageConfig, bytes]:
        if manifest.config.size > _CONFIG_BYTES_AT_MOST:
            raise InvalidManifestError(f"its config is of {manifest.config.size} bytes; wanted {_CONFIG_BYTES_AT_MOST}")
        content = read_blob(self._repository, manifest.config)
        config = ImageConfig.from_json(content)
        self._check(config, manifest)
        return config, content

    def _download(self, manifest: Manifest) -> StoredImage:
        config, content = self._config(manifest)
        self._download_layers(dict(zip(config.diff_ids, manifest.layers, strict=True)))
        # The config last: an image is there when its config is.
        # Also over one that is there: it may be damaged.
        write_whole(self._store.config_file(manifest.config.digest), content, self._store.temporary)
        return StoredImage(manifest.config.digest, config)

    def _check(self, config: ImageConfig, manifest: Manifest) -> None:
        if len(config.diff_ids) != len(manifest.layers):
            layers = f"{len(manifest.layers)} layers, and its config has {len(config.diff_ids)}"
            raise InvalidManifestError(f"the manifest of {self._name} has {layers}")
        if config.host is not None:
            # It would run on this machine's root file system, by the word of whoever pushed it.
            raise InvalidManifestError(f"the config of {self._name} names a host image, which no registry can have")
        found = Platform(config.os, config.architecture, config.variant)
        asked = self._asked_platform
        if asked and (found.os, found.architecture) != (asked.os, asked.architecture):
            raise NoMatchingPlatformError(str(asked), (str(found),))

    def _download_layers(self, layers: dict[str, Descriptor]) -> None:
        for blob in layers.values():
            self._progress(blob.digest, Stage.WAITING, 0, blob.size)
        # Measured: threads within a layer help while there are cores for them, and hinder when layers keep all busy.
        self._has_idle_cores = len(layers) < len(os.sched_getaffinity(0))
        with ThreadPoolExecutor(_LAYERS_AT_ONCE, thread_name_prefix="pull") as threads:
            running = [threads.submit(self._download_layer, diff_id, blob) for diff_id, blob in layers.items()]
            try:
                wait(running, return_when=FIRST_EXCEPTION)
            finally:
                # After a failure, or Ctrl-C here: the threads notice within one piece, or one read's time limit.
                self._stop.set()
        _raise_first(running)

    def _download_layer(self, diff_id: str, blob: Descriptor) -> None:
        with self._layer_lock(diff_id):
            if self._store.has_layer(diff_id):
                self._progress(blob.digest, Stage.HERE, blob.size, blob.size)
            else:
                self._store_layer(diff_id, blob)
        self._known.add(diff_id, self._repository.name, blob)

    def _store_layer(self, diff_id: str, blob: Descriptor) -> None:
        pieces = self._pieces(blob)
        with self._store.layer_writer(blob.media_type, threads=self._has_idle_cores) as layer:
            try:
                for piece in pieces:
                    layer.write(piece)
            except LayerInvalidError:
                for _ in pieces:
                    pass  # to its end: if the bytes are not what the digest says, that is the error to tell
                raise
            layer.commit(diff_id)
        self._progress(blob.digest, Stage.DONE, blob.size, blob.size)

    def _pieces(self, blob: Descriptor) -> Iterator[bytes]:
        done = 0
        for piece in stream_blob(self._repository, blob):
            self._check_stopped()
            yield piece
            done += len(piece)
            self._progress(blob.digest, Stage.DOWNLOADING, done, blob.size)

    def _layer_lock(self, diff_id: str) -> AbstractContextManager[None]:
        """Holds a layer alone among all processes and threads: images that share it download it once.

        Whoever holds one waits for no lock, so no two wait for each other.
        """
        key = digests.of(f"layer {diff_id}".encode())
        return self._cache.lock(key, check=self._check_stopped, held="another pull has held this layer")

    def _check_stopped(self) -> None:
        if self._stop.is_set():
            raise _Stopped

    def _unusable(self, detail: str) -> RegistryAnswerError:
        return RegistryAnswerError(self._repository.registry, f"pull {self._name}", detail)


def _raise_first(futures: list[Future[None]]) -> None:
    """Raises the failure that stopped the others, if there was one."""
    for future in futures:
        if (problem := future.exception()) is not None and not isinstance(problem, _Stopped):
            raise problem
