from __future__ import annotations

import hashlib
import os
import stat
import time
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer.engine.disk_usage import disk_usage
from pytest_pycontainer.store.downloads import Downloads, KnownDownload
from pytest_pycontainer.store.prune import prune

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_pycontainer.store.store import Store

URL = "http://host.test/file"
DIGEST = f"sha256:{hashlib.sha256(b'content').hexdigest()}"


@pytest.fixture
def downloads(store: Store) -> Downloads:
    return Downloads(store)


def test_what_was_received_is_known(downloads: Downloads) -> None:
    assert downloads.known(URL) is None
    assert downloads.listed() == []
    received = downloads.receive(URL, [b"con", b"tent"], 1_000_000_000, '"tag"')
    assert received == KnownDownload(DIGEST, 1_000_000_000, '"tag"') == downloads.known(URL)
    file = downloads.file(URL, received)
    assert (file.read_bytes(), file.stat().st_mtime) == (b"content", 1_000_000_000)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert downloads.known(f"{URL}2") is None


def test_what_breaks_off_leaves_nothing(store: Store, downloads: Downloads) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"con"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        downloads.receive(URL, pieces(), None, "")
    assert downloads.known(URL) is None
    assert downloads.listed() == []
    assert list(store.temporary.iterdir()) == []


def test_a_newer_content_does_not_touch_the_older_one(downloads: Downloads) -> None:
    older = downloads.receive(URL, [b"content"], None, "")
    newer = downloads.receive(URL, [b"other"], None, "")
    assert downloads.file(URL, older).read_bytes() == b"content"
    assert downloads.known(URL) == newer
    assert sorted(len(download.files) for download in downloads.listed()) == [1, 2]


def test_one_content_at_two_times_is_two_files(downloads: Downloads) -> None:
    first = downloads.receive(URL, [b"content"], 1, "")
    second = downloads.receive(URL, [b"content"], 2, "")
    assert [downloads.file(URL, one).stat().st_mtime for one in (first, second)] == [1, 2]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"[]", b'{"url": "x"}'])
def test_a_damaged_note_is_none(downloads: Downloads, content: bytes) -> None:
    downloads.receive(URL, [b"content"], None, "")
    (download,) = downloads.listed()
    download.files[0].write_bytes(content)
    assert downloads.known(URL) is None
    assert len(downloads.listed()) == 2


def test_a_content_that_is_gone_is_not_known(downloads: Downloads) -> None:
    downloads.file(URL, downloads.receive(URL, [b"content"], None, "")).unlink()
    assert downloads.known(URL) is None


def test_they_are_counted_and_pruned_by_use(store: Store, downloads: Downloads) -> None:
    downloads.receive(URL, [bytes(1 << 16)], None, "")
    (store.cache / f"{'0' * 64}.files").write_bytes(b"a context's digests")
    assert disk_usage(store, [], []).build_cache.download_bytes >= 1 << 16
    prune(store, users=dict)
    prune(store, users=dict, tagged=True, unused_for=3600)
    assert downloads.known(URL) is not None
    then = time.time() - 7200
    for path in (downloads.listed()[0].files[0], store.cache / f"{'0' * 64}.files"):
        os.utime(path, (then, then))
    assert prune(store, users=dict, tagged=True, unused_for=3600).reclaimed_bytes >= 1 << 16
    assert downloads.listed() == []
    assert list(store.cache.glob("*.files")) == []
    assert disk_usage(store, [], []).build_cache.download_bytes == 0
