"""Files from the web that ADD has read: kept, so that what has not changed there is not fetched again.

::

    downloads/HEX.json    what is known of a URL, under its digest: the content's, and what to ask the server with
    downloads/HEX.file    a content, with its time, under a digest of URL, content and time

Everything appears by one rename. A file goes only when somebody has the store alone: with it in use, what was found
stays.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import StoreError
from pytest_pycontainer.store.files import storing, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_pycontainer.store.store import Store

_FILE_MODE = 0o600
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class KnownDownload:
    """What is here of a URL: the content's ``digest``, the time of its last change (seconds since the epoch, None if
    the server did not say), and the ``tag`` that the server knows it by (ETag), perhaps empty.
    """

    digest: str
    changed_at: int | None = None
    tag: str = ""


class Downloads:
    """The downloads of a store. Safe for any number of threads and processes; raises StoreError."""

    def __init__(self, store: Store) -> None:
        self._temporary = store.temporary
        self._directory = store.root / "downloads"

    def known(self, url: str) -> KnownDownload | None:
        """What is here of ``url``, if its content is."""
        try:
            fields = json.loads(self._note(url).read_bytes())
            known = KnownDownload(fields["digest"], fields["changed_at"], fields["tag"])
        except (OSError, ValueError, KeyError, TypeError):
            return None  # whatever is wrong with it, it can be fetched again
        return known if self.file(url, known).is_file() else None

    def file(self, url: str, known: KnownDownload) -> Path:
        """Where the content is."""
        parts = json.dumps([url, known.digest, known.changed_at])
        return self._directory / f"{hashlib.sha256(parts.encode()).hexdigest()}.file"

    def receive(self, url: str, pieces: Iterable[bytes], changed_at: int | None, tag: str) -> KnownDownload:
        """Stores what comes; raises what ``pieces`` raises, and then nothing is stored."""
        with storing("make", self._directory):
            self._directory.mkdir(mode=0o700, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self._temporary)
        unfinished = Path(name)
        digest = hashlib.sha256()
        try:
            with os.fdopen(descriptor, "wb") as file:
                for piece in pieces:
                    digest.update(piece)
                    with storing("write", unfinished):
                        file.write(piece)
            known = KnownDownload(f"sha256:{digest.hexdigest()}", changed_at, tag)
            with storing("store", unfinished):
                unfinished.chmod(_FILE_MODE)
                if changed_at is not None:
                    os.utime(unfinished, ns=(changed_at * _SECOND, changed_at * _SECOND))
                unfinished.rename(self.file(url, known))
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        write_whole(self._note(url), json.dumps(asdict(known)).encode(), self._temporary)
        return known

    def files(self) -> list[Path]:
        """Everything that is kept."""
        try:
            return sorted(self._directory.iterdir())
        except FileNotFoundError:
            return []
        except OSError as problem:
            raise StoreError("read", str(self._directory), problem.strerror or str(problem)) from problem

    def _note(self, url: str) -> Path:
        return self._directory / f"{hashlib.sha256(url.encode()).hexdigest()}.json"
