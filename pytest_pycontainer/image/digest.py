"""Digests: ``sha256:`` and 64 hexadecimal digits (OCI image-spec, "Digests")."""

from __future__ import annotations

import hashlib
import re

from pytest_pycontainer.errors import InvalidReferenceError

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")

EMPTY_LAYER = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
"""The diff ID of a layer without entries: a tar archive of two empty blocks."""


def of(content: bytes) -> str:
    """The digest of ``content``."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def hexadecimal(digest: str) -> str:
    """The 64 digits of ``digest``, safe as a file name. Raises InvalidReferenceError for anything that is no digest."""
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise InvalidReferenceError(digest, "a digest is sha256: and 64 lower-case hexadecimal digits")
    return match[1]


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def short(digest: str) -> str:
    """The twelve digits that people are shown."""
    return hexadecimal(digest)[:12]
