"""A blob on its way to a registry: piece by piece, taken up again where it broke off."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from pytest_pycontainer.errors import RegistryAnswerError, RegistryUnavailableError
from pytest_pycontainer.registry.exchange import ATTEMPTS

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from pytest_pycontainer.image.manifest import Descriptor
    from pytest_pycontainer.registry.repository import Repository

_CHUNK: Final = 8 << 20


def upload_blob(
    repository: Repository, blob: Descriptor, content: BinaryIO, sent: Callable[[int], object] = lambda _: None
) -> None:
    """Uploads ``content``, a real file that holds ``blob``; tells ``sent`` how many bytes have arrived.

    Pieces of 8 MiB (distribution-spec, "Pushing a blob in chunks"): after an interruption the registry is asked how
    much it has, and if it knows nothing of it any more the upload begins again. It is given up after several failures
    without a piece in between. Raises what ``Repository`` raises.
    """
    failures = 0
    location, offset = repository.begin_upload(), 0
    while True:
        try:
            if offset < blob.size:
                chunk = os.pread(content.fileno(), min(_CHUNK, blob.size - offset), offset)
                location, offset = repository.send_chunk(location, chunk, offset)
                failures = 0
                sent(offset)
                continue
            repository.end_upload(location, blob.digest)
        except (RegistryUnavailableError, RegistryAnswerError) as problem:
            failures += 1
            if failures == ATTEMPTS:
                raise
            if offset >= blob.size and _arrived(repository, blob):
                return  # it did end, and the answer got lost
            if isinstance(problem, RegistryUnavailableError):
                repository.pause(failures)
            location, offset = _resumed(repository, location)
            continue
        return


def _arrived(repository: Repository, blob: Descriptor) -> bool:
    try:
        return repository.has_blob(blob.digest)
    except RegistryUnavailableError:
        return False


def _resumed(repository: Repository, location: str) -> tuple[str, int]:
    try:
        return repository.upload_state(location)
    except RegistryAnswerError:
        return repository.begin_upload(), 0  # it has forgotten this upload
