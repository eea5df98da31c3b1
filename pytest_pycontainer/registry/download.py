"""A blob as it streams in: verified, and taken up again where it broke off."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import DigestMismatchError, RegistryUnavailableError
from pytest_pycontainer.registry.addresses import host_of
from pytest_pycontainer.registry.exchange import ATTEMPTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_pycontainer.image.manifest import Descriptor
    from pytest_pycontainer.registry.mirrors import Source


def stream_blob(repository: Source, blob: Descriptor) -> Iterator[bytes]:
    """The content of ``blob``, piece by piece; only when it ends without an error is it what its digest says.

    A download that breaks off goes on with the byte that it broke off at (RFC 9110, 14.2); it is given up when it does
    so several times without a byte in between. Raises DigestMismatchError, also for one that is longer than it should
    be, and what ``Repository.blob`` raises.
    """
    what = f"{blob.digest} of {repository.name}"
    content = hashlib.sha256()
    received = failures = 0
    while received < blob.size or not blob.size:
        try:
            with repository.blob(blob.digest, received) as response:
                known = received if response.status == 200 else 0
                if (sender := host_of(response.url)) != repository.registry:
                    what = f"{blob.digest} of {repository.name}, sent by {sender},"
                for piece in response.stream():
                    fresh = piece[known:]
                    known -= len(piece) - len(fresh)
                    received += len(fresh)
                    if received > blob.size:
                        raise DigestMismatchError(what, f"more than {blob.size} bytes", f"{blob.size} bytes")
                    content.update(fresh)
                    if fresh:
                        failures = 0
                        yield fresh
            if received < blob.size:
                detail = f"it ended after {received} of {blob.size} bytes"
                raise RegistryUnavailableError(repository.registry, f"download {what}", detail)
        except RegistryUnavailableError:
            failures += 1
            if failures == ATTEMPTS:
                raise
            repository.pause(failures)
            continue
        break
    got = f"sha256:{content.hexdigest()}"
    if got != blob.digest:
        raise DigestMismatchError(what, got, blob.digest)


def read_blob(repository: Source, blob: Descriptor) -> bytes:
    """The whole of a small blob. Raises as ``stream_blob`` does."""
    return b"".join(stream_blob(repository, blob))
