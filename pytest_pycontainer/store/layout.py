"""The names that an image archive gives its files (OCI image-spec, "Image Layout"; docker save)."""

from __future__ import annotations

from typing import Final

from pytest_pycontainer.image import digest as digests

DOCKER_MANIFEST: Final = "manifest.json"
OCI_INDEX: Final = "index.json"
OCI_LAYOUT: Final = "oci-layout"
OCI_LAYOUT_CONTENT: Final = b'{"imageLayoutVersion":"1.0.0"}'

NAME: Final = "io.containerd.image.name"
"""The annotation that holds an image's whole name."""

TAG: Final = "org.opencontainers.image.ref.name"
"""The annotation that holds its tag, or what the program that wrote it thinks of as its name."""


def blob_name(digest: str) -> str:
    """Where the blob of that digest is."""
    return f"blobs/sha256/{digests.hexadecimal(digest)}"
