"""Manifests and indexes: what an image consists of, and which image there is for a platform.

Both of Docker's (schema 2) and of OCI's (image-spec, "manifest", "index", "descriptor"). An index is what Docker calls
a manifest list.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import InvalidManifestError, NoMatchingPlatformError
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image.json_object import JsonObject
from pytest_pycontainer.image.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"

MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEXES = (OCI_INDEX, DOCKER_INDEX)

MANIFEST_BYTES_AT_MOST = 4 << 20
"""The size that every registry takes (distribution-spec, "Pushing Manifests"); hardly any takes a larger one."""

_UNKNOWN = "unknown"
_ARM_VARIANTS = ("v8", "v7", "v6", "v5")
_AMD64_VARIANTS = ("v4", "v3", "v2", None)
_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386"}
_DEFAULT_VARIANTS = {"arm64": "v8", "arm": "v7"}


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference to content (OCI image-spec, "descriptor"): its type, digest and size in bytes.

    ``platform`` says what an index's image runs on; ``urls`` are other places where the content can be had.
    """

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    urls: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    def as_object(self) -> dict[str, object]:
        """The descriptor as JSON has it."""
        values: dict[str, object] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.urls:
            values["urls"] = self.urls
        if self.annotations:
            values["annotations"] = dict(self.annotations)
        if self.platform:
            names = {"os": self.platform.os, "architecture": self.platform.architecture}
            values["platform"] = names | ({"variant": self.platform.variant} if self.platform.variant else {})
        return values


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image: its config, and its layers as they travel, lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = OCI_MANIFEST

    @classmethod
    def from_json(cls, content: bytes) -> Manifest:
        """Reads a manifest. Raises InvalidManifestError, naming the key."""
        whole = _parse(content)
        media_type = _media_type(whole, MANIFESTS, "manifests")
        return cls(
            _descriptor(whole.object("config")),
            tuple(map(_descriptor, whole.objects("layers"))),
            media_type,
        )

    def to_json(self) -> bytes:
        """The manifest as JSON, equal bytes for equal manifests.

        Not those of the manifest that ``from_json`` read: what has a digest already is kept and sent as it came.
        """
        return _to_json(
            self.media_type,
            {"config": self.config.as_object(), "layers": [layer.as_object() for layer in self.layers]},
        )


@dataclass(frozen=True, slots=True)
class Index:
    """The manifests of one image for several platforms."""

    manifests: tuple[Descriptor, ...]
    media_type: str = OCI_INDEX

    @classmethod
    def from_json(cls, content: bytes) -> Index:
        """Reads an index or manifest list. Raises InvalidManifestError, naming the key."""
        whole = _parse(content)
        media_type = _media_type(whole, INDEXES, "layers")
        return cls(tuple(map(_descriptor, whole.objects("manifests"))), media_type)

    def to_json(self) -> bytes:
        """The index as JSON, equal bytes for equal indexes."""
        return _to_json(self.media_type, {"manifests": [manifest.as_object() for manifest in self.manifests]})

    def select(self, platform: Platform) -> Descriptor:
        """The manifest for ``platform``, or else the best that runs on it.

        As Docker chooses: the very variant, then older ones, then the 32-bit form of the same processors; of two that
        are equally good the first. A manifest that names no platform is taken if it is the only one. Raises
        NoMatchingPlatformError.
        """
        there = [(_normal(manifest.platform), manifest) for manifest in self.manifests if manifest.platform]
        for acceptable in _acceptable(_normal(platform)):
            for candidate, manifest in there:
                if candidate == acceptable:
                    return manifest
        if len(self.manifests) == 1 and self.manifests[0].platform is None:
            return self.manifests[0]
        # Attestations of the build are listed as images for unknown platforms.
        known = dict.fromkeys(str(found.platform) for candidate, found in there if candidate.os != _UNKNOWN)
        raise NoMatchingPlatformError(str(platform), tuple(known))


def _normal(platform: Platform) -> Platform:
    """The one way to write a platform of the several that are in use."""
    architecture = _ARCHITECTURES.get(platform.architecture, platform.architecture)
    variant = platform.variant or _DEFAULT_VARIANTS.get(architecture)
    if variant and variant.isdecimal():
        variant = f"v{variant}"
    if architecture == "amd64" and variant == "v1":
        variant = None
    return Platform(platform.os, architecture, variant)


def _acceptable(platform: Platform) -> list[Platform]:
    """What runs on ``platform``, best first."""
    found = [platform]
    match platform.architecture:
        case "arm":
            found += _older(platform, "arm", _ARM_VARIANTS)
        case "arm64":
            if platform.variant != "v8":
                found.append(Platform(platform.os, "arm64", "v8"))
            found += [Platform(platform.os, "arm", variant) for variant in _ARM_VARIANTS]
        case "amd64":
            found += _older(platform, "amd64", _AMD64_VARIANTS)
            found.append(Platform(platform.os, "386"))
    return found


def _older(platform: Platform, architecture: str, variants: tuple[str | None, ...]) -> list[Platform]:
    if platform.variant not in variants:
        return []
    older = variants[variants.index(platform.variant) + 1 :]
    return [Platform(platform.os, architecture, variant) for variant in older]


def _parse(content: bytes) -> JsonObject:
    if len(content) > MANIFEST_BYTES_AT_MOST:
        raise InvalidManifestError(f"it is {len(content)} bytes long; wanted at most {MANIFEST_BYTES_AT_MOST}")
    whole = JsonObject.parse(content, InvalidManifestError)
    version = whole.values.get("schemaVersion")
    if version == 1:
        raise InvalidManifestError("it is of Docker's schema 1, which has been out of use since 2017; wanted schema 2")
    if version != 2:
        raise whole.problem("schemaVersion", "2")
    return whole


def _media_type(whole: JsonObject, known: tuple[str, ...], foreign_key: str) -> str:
    """What ``whole`` says that it is; OCI lets it say nothing."""
    media_type = whole.text("mediaType") or known[0]
    if media_type not in known:
        raise whole.problem("mediaType", " or ".join(known))
    # One text must not be a manifest to one reader and an index to another (CVE-2021-41190).
    if foreign_key in whole.values:
        raise InvalidManifestError(f"it has {foreign_key!r}, which a document of type {media_type} can't have")
    return media_type


def _descriptor(found: JsonObject) -> Descriptor:
    digest = found.text("digest")
    if digest is None or not digests.is_digest(digest):
        raise found.problem("digest", "sha256: and 64 lower-case hexadecimal digits")
    size = found.get("size", int, "a number of bytes")
    if size is None or isinstance(size, bool) or size < 0:
        raise found.problem("size", "a number of bytes")
    return Descriptor(
        found.text("mediaType") or "",
        digest,
        size,
        _platform(found.object("platform")),
        found.texts("urls") or (),
        found.object("annotations").text_values(),
    )


def _platform(found: JsonObject) -> Platform | None:
    system, architecture = found.text("os"), found.text("architecture")
    return Platform(system, architecture, found.text("variant") or None) if system and architecture else None


def _to_json(media_type: str, rest: dict[str, object]) -> bytes:
    document = {"schemaVersion": 2, "mediaType": media_type, **rest}
    return json.dumps(document, separators=(",", ":")).encode()
