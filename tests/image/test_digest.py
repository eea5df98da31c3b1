from __future__ import annotations

import hashlib
import io
import tarfile

import pytest

from pytest_pycontainer.errors import InvalidReferenceError
from pytest_pycontainer.image import digest


def test_digest_of_bytes() -> None:
    assert digest.of(b"redis") == "sha256:" + hashlib.sha256(b"redis").hexdigest()


def test_the_empty_layer_is_a_tar_without_entries() -> None:
    assert digest.of(b"\0" * 1024) == digest.EMPTY_LAYER
    with tarfile.open(fileobj=io.BytesIO(b"\0" * 1024)) as archive:
        assert archive.getnames() == []


@pytest.mark.parametrize("text", ["", "sha256:", "sha256:" + "A" * 64, "sha256:../../etc", "md5:" + "a" * 64, "a" * 64])
def test_only_a_digest_becomes_a_file_name(text: str) -> None:
    assert not digest.is_digest(text)
    with pytest.raises(InvalidReferenceError, match="64 lower-case"):
        digest.hexadecimal(text)


def test_parts() -> None:
    assert digest.hexadecimal("sha256:" + "ab" * 32) == "ab" * 32
    assert digest.short("sha256:" + "ab" * 32) == "ab" * 6
