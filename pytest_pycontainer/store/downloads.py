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
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_pycontainer.store.files import storing, write_whole
from pytest_pycontainer.store.sizes import BLOCK

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


@dataclass(frozen=True, slots=True)
class ListedDownload:
    """Files that are of use together only, the bytes of the disk's blocks that they take, and when they were last used,
    in seconds since the epoch.
    """

    files: tuple[Path, ...]
    bytes: int
    used_at: float


class Downloads:
    """The downloads of a store. Safe for any number of threads and processes; raises StoreError."""

    def __init__(self, store: Store) -> None:
        self._temporary = store.temporary
        self._directory = store.root / "downloads"

    def known(self, url: str) -> KnownDownload | None:
        """What is here of ``url``, if its content is."""
        known = _read(self._note(url))[1]
        if known is None or not self.file(url, known).is_file():
            return None
        with suppress(OSError):
            os.utime(self._note(url))
        return known

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
        write_whole(self._note(url), json.dumps({"url": url, **asdict(known)}).encode(), self._temporary)
        return known

    def listed(self) -> list[ListedDownload]:
        """All downloads, the least recently used first; a content that a newer one has replaced is one by itself."""
        with storing("read", self._directory):
            if not self._directory.exists():
                return []
            replaced = set(self._directory.glob("*.file"))
            found = []
            for note in self._directory.glob("*.json"):
                url, known = _read(note)
                content = {self.file(url, known)} & replaced if known else set()
                replaced -= content
                found.append(_listed((note, *content), note.stat().st_mtime))
            found += [_listed((path,), path.stat().st_ctime) for path in replaced]
        return sorted(found, key=lambda download: download.used_at)

    def _note(self, url: str) -> Path:
        return self._directory / f"{hashlib.sha256(url.encode()).hexdigest()}.json"


def _listed(files: tuple[Path, ...], used_at: float) -> ListedDownload:
    return ListedDownload(files, sum(path.stat().st_blocks for path in files) * BLOCK, used_at)


def _read(note: Path) -> tuple[str, KnownDownload | None]:
    """What a note says; whatever is wrong with it, the file can be fetched again."""
    try:
        fields = json.loads(note.read_bytes())
        return fields["url"], KnownDownload(fields["digest"], fields["changed_at"], fields["tag"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", None
