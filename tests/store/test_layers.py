"""The way of a layer's bytes into the store: compressions, digests, limits, and what is left when it goes wrong."""

from __future__ import annotations

import gzip
import importlib
import io
import os
import pickle
import random
import signal
import tarfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_pycontainer.errors import (
    CompressionUnavailableError,
    DigestMismatchError,
    InvalidArchiveError,
    LayerInvalidError,
    PycontainerError,
    StoreError,
)
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image import manifest as manifests
from pytest_pycontainer.kernel import mount
from pytest_pycontainer.store import compression
from pytest_pycontainer.store.limits import LayerLimits
from pytest_pycontainer.store.store import Store

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def archive(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


FILES = {"a": b"x" * 100, "random": random.Random(1).randbytes(700_000), "empty": b"", "zeros": bytes(3_000_000)}
ARCHIVE = archive(FILES)
DIFF_ID = digests.of(ARCHIVE)


def put(store: Store, data: bytes, diff_id: str, piece: int = 1 << 16, limits: LayerLimits | None = None) -> Path:
    with store.layer_writer(manifests.OCI_LAYER_GZIP, limits) as layer:
        for start in range(0, len(data), piece):
            layer.write(data[start : start + piece])
        layer.commit(diff_id)
    return store.layers / diff_id[7:]


def is_empty(store: Store) -> bool:
    return not list(store.layers.iterdir()) and not list(store.temporary.iterdir())


@pytest.fixture(params=[False, True], ids=["one thread", "threads"])
def threads(request: pytest.FixtureRequest) -> bool:
    """Whether a layer has threads of its own: a pull chooses by the number of cores."""
    chosen: bool = request.param
    return chosen


@pytest.fixture(params=["isal or zlib", "zlib"])
def gzip_library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "zlib":
        monkeypatch.setattr(compression, "_first_of", lambda *names: None)


@pytest.mark.usefixtures("gzip_library")
@pytest.mark.parametrize("piece", [1, 7, 511, 512, 1 << 30])
def test_however_the_bytes_come(store: Store, piece: int) -> None:
    small = archive({"a": b"x" * 700, "b": b"", "c/d": b"y"})
    top = put(store, gzip.compress(small), digests.of(small), piece)
    assert {name: (top / name).read_bytes() for name in ("a", "b", "c/d")} == {"a": b"x" * 700, "b": b"", "c/d": b"y"}
    assert list(store.temporary.iterdir()) == []


@pytest.mark.usefixtures("gzip_library")
@pytest.mark.parametrize(
    "data",
    [
        ARCHIVE,
        gzip.compress(ARCHIVE),
        b"".join(gzip.compress(ARCHIVE[start : start + 100_000]) for start in range(0, len(ARCHIVE), 100_000)),
        gzip.compress(ARCHIVE) + bytes(100_000),
    ],
    ids=["plain", "gzip", "members", "padded"],
)
def test_the_bytes_tell_how_they_are_compressed(store: Store, data: bytes) -> None:
    top = put(store, data, DIFF_ID)
    assert {path.name: path.read_bytes() for path in top.iterdir()} == FILES


def test_zstd(store: Store) -> None:
    library = _zstd()
    data = library.compress(ARCHIVE[:2_000_000]) + library.compress(ARCHIVE[2_000_000:])
    top = put(store, data, DIFF_ID)
    assert {path.name: path.read_bytes() for path in top.iterdir()} == FILES
    for bad in (data[:-1], data[:4] + b"\xff" * 20 + data[24:]):
        with pytest.raises(LayerInvalidError, match="zstd"):
            put(store, bad, digests.of(b"other"))


def _zstd() -> Any:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return pytest.skip("no zstd library: neither compression.zstd nor backports.zstd")


def test_zstd_without_a_library(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_first_of", lambda *names: None)
    with pytest.raises(CompressionUnavailableError, match=r"zstd: install backports\.zstd"):
        put(store, ZSTD_MAGIC + bytes(100), DIFF_ID)
    assert is_empty(store)


def test_the_empty_layer_leaves_nothing(store: Store) -> None:
    put(store, gzip.compress(bytes(1024)), digests.EMPTY_LAYER)
    assert is_empty(store)


def test_what_comes_after_the_end_counts_for_the_digest_alone(store: Store) -> None:
    data = archive({"a": b""}) + b"rubbish" * 1000
    assert [path.name for path in put(store, data, digests.of(data)).iterdir()] == ["a"]


def test_an_archive_without_an_end(store: Store) -> None:
    data = archive({"a": b"x" * 512})[:1024]
    assert (put(store, data, digests.of(data)) / "a").stat().st_size == 512


@pytest.mark.parametrize("kind", ["old", "posix 0.0", "posix 0.1", "posix 1.0"])
def test_sparse_files(store: Store, kind: str) -> None:
    segments = [(4096, b"a" * 1000), (1_000_000, b"b" * 24), *((2_000_000 + n * 10_000, b"c") for n in range(30))]
    size = 5_000_000
    data = _sparse_archive(kind, segments, size)
    file = put(store, data, digests.of(data), 100) / "file"
    wanted = bytearray(size)
    for offset, content in segments:
        wanted[offset : offset + len(content)] = content
    assert file.read_bytes() == wanted
    assert file.stat().st_blocks * 512 < size / 2
    with tarfile.open(fileobj=io.BytesIO(data)) as oracle:
        read = oracle.extractfile("file")
        assert read is not None
        assert read.read() == wanted
    assert (file.parent / "after").is_file()


def _sparse_archive(kind: str, segments: list[tuple[int, bytes]], size: int) -> bytes:
    content = b"".join(segment for _, segment in segments)
    pairs = [(offset, len(segment)) for offset, segment in segments]
    info = tarfile.TarInfo("file")
    info.size = len(content)
    if kind == "old":
        info.type = b"S"
        block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        fields = [b"%011o\0" % number for pair in pairs for number in pair]
        block[386:482] = b"".join(fields[:8])
        block[482] = 1
        block[483:495] = b"%011o\0" % size
        block[148:156] = b"%06o\0 " % sum(block[:148] + b" " * 8 + block[156:])
        rest = fields[8:]
        while rest:
            extension, rest = rest[:42], rest[42:]
            block += b"".join(extension).ljust(504, b"\0") + bytes([bool(rest)]) + bytes(7)
    else:
        numbers = [str(number) for pair in pairs for number in pair]
        records = {"GNU.sparse.size": str(size), "GNU.sparse.numblocks": str(len(pairs))}
        match kind:
            case "posix 0.0":
                records = {"GNU.sparse.size": str(size), "GNU.sparse.numblocks": str(len(pairs))}
            case "posix 0.1":
                records["GNU.sparse.map"] = ",".join(numbers)
                records["GNU.sparse.name"] = "file"
                info.name = "GNUSparseFile.1/file"
            case _:
                records = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "file"}
                records["GNU.sparse.realsize"] = str(size)
                listed = "".join(f"{number}\n" for number in (len(pairs), *numbers)).encode()
                content = listed + bytes(-len(listed) % 512) + content
                info.size = len(content)
                info.name = "GNUSparseFile.1/file"
        block = bytearray(_pax(records, pairs if kind == "posix 0.0" else []) + info.tobuf(tarfile.USTAR_FORMAT))
    return bytes(block) + content + bytes(-len(content) % 512) + archive({"after": b""})


def _pax(records: dict[str, str], pairs: list[tuple[int, int]]) -> bytes:
    listed = list(records.items())
    for offset, length in pairs:
        listed += [("GNU.sparse.offset", str(offset)), ("GNU.sparse.numbytes", str(length))]
    body = b""
    for key, value in listed:
        rest = f" {key}={value}\n"
        length = next(n for n in range(len(rest), len(rest) + 9) if n == len(str(n)) + len(rest))
        body += f"{length}{rest}".encode()
    info = tarfile.TarInfo("pax")
    info.type, info.size = b"x", len(body)
    return info.tobuf(tarfile.USTAR_FORMAT) + body + bytes(-len(body) % 512)


# What goes wrong


def test_a_layer_that_is_another_one(store: Store) -> None:
    wanted = digests.of(b"another")
    with pytest.raises(DigestMismatchError, match=f"got {DIFF_ID}, wanted {wanted}"):
        put(store, gzip.compress(ARCHIVE), wanted)
    assert is_empty(store)


def test_leaving_without_commit_leaves_nothing(store: Store) -> None:
    with store.layer_writer(manifests.OCI_LAYER) as layer:
        layer.write(ARCHIVE)
        assert list(store.temporary.iterdir())
    assert is_empty(store)


@pytest.mark.usefixtures("gzip_library")
@pytest.mark.parametrize("cut", [0.3, 0.9, 0.9999])
def test_a_gzip_stream_that_ends_early(store: Store, cut: float) -> None:
    data = gzip.compress(ARCHIVE)
    with pytest.raises(LayerInvalidError, match="ends too early"):
        put(store, data[: int(len(data) * cut)], DIFF_ID)
    assert is_empty(store)


@pytest.mark.usefixtures("gzip_library")
def test_a_gzip_stream_that_is_damaged(store: Store) -> None:
    data = gzip.compress(ARCHIVE)
    for bad in (data[:-8] + b"\0" * 8, data[:12] + b"\xff" * 300 + data[312:], data + b"rubbish" * 100):
        with pytest.raises(LayerInvalidError, match=r"gzip data is (damaged|followed by something else)"):
            put(store, bad, DIFF_ID)
    assert is_empty(store)


@pytest.mark.parametrize("length", [100, 512, 600, 1500])
def test_an_archive_that_ends_early(store: Store, length: int) -> None:
    data = archive({"a" * 200: b"x" * 1000})[:length]
    with pytest.raises(LayerInvalidError, match="in the middle"):
        put(store, data, digests.of(data))
    assert is_empty(store)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (LayerLimits(entries=3), "more than 3 entries"),
        (LayerLimits(size=3_000_000), "larger than 3000000 bytes"),
        (LayerLimits(ratio=4, free=100_000), "more than 4 times as large"),
    ],
)
def test_a_bomb(store: Store, limits: LayerLimits, reason: str) -> None:
    data = gzip.compress(ARCHIVE)
    with pytest.raises(LayerInvalidError, match=reason):
        put(store, data, DIFF_ID, limits=limits)
    assert is_empty(store)
    exact = LayerLimits(entries=len(FILES), size=len(ARCHIVE), ratio=6, free=0)
    assert put(store, data, DIFF_ID, limits=exact).is_dir()


def test_a_bomb_is_never_held_in_memory(store: Store) -> None:
    """A megabyte that stands for a gigabyte comes out in small pieces: the limit is met long before."""
    data = gzip.compress(archive({"zeros": bytes(300 << 20)}), 1)
    pieces = compression.Sniffer().pieces(data)
    assert max(map(len, pieces)) <= 1 << 18


def test_an_entry_refused_is_not_forgotten(store: Store, threads: bool) -> None:
    """The digest is right, but something is missing: nothing may be stored although the caller goes on."""
    data = archive({"../x": b"", "fine": b""})
    with store.layer_writer(manifests.OCI_LAYER, threads=threads) as layer:
        with suppress(LayerInvalidError):
            layer.write(data)
        for _ in range(8):  # more often than there is room for what waits
            with pytest.raises(LayerInvalidError, match="leads out"):
                layer.commit(digests.of(data))
        with pytest.raises(LayerInvalidError, match="leads out"):
            layer.write(data)
    assert is_empty(store)


ENDLESS = gzip.compress(archive({"zeros": bytes(200 << 20)}), 1)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (gzip.compress(ARCHIVE)[:-100], "ends too early"),
        (gzip.compress(ARCHIVE)[:9] + b"\xff" * 90, "gzip data is damaged"),
        (archive({"../x": b""}) + ARCHIVE * 10, "leads out"),
        (gzip.compress(archive({"fine": b""})[:700]), "in the middle"),
        (ENDLESS, "interrupted"),
    ],
    ids=["truncated", "damaged", "refused", "unfinished", "interrupted"],
)
def test_a_failure_ends_every_thread(store: Store, threads: bool, data: bytes, error: str) -> None:
    """Whichever step fails, or the caller: nothing of the layer is there, and nobody is still at work."""
    with pytest.raises((LayerInvalidError, KeyboardInterrupt), match=error):  # noqa: PT012, SIM117
        with store.layer_writer(manifests.OCI_LAYER, threads=threads) as layer:
            if threads:
                assert {"decompress", "extract"} <= {thread.name for thread in threading.enumerate()}
            for start in range(0, len(data), 1 << 16):
                layer.write(data[start : start + (1 << 16)])
            if data is ENDLESS:
                raise KeyboardInterrupt("interrupted")
            layer.commit(digests.of(b"of no interest"))
    assert not {"decompress", "extract"} & {thread.name for thread in threading.enumerate()}
    assert is_empty(store)


@pytest.mark.parametrize("media_type", ["application/json", manifests.OCI_LAYER + "+encrypted", ""])
def test_a_media_type_that_is_no_layers(store: Store, media_type: str) -> None:
    with pytest.raises(LayerInvalidError, match="its media type is"):
        store.layer_writer(media_type)


@pytest.mark.parametrize(
    "media_type",
    [
        *(manifests.OCI_LAYER, manifests.OCI_LAYER_GZIP, manifests.OCI_LAYER_ZSTD),
        *(manifests.DOCKER_LAYER, manifests.DOCKER_LAYER_GZIP),
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ],
)
def test_media_types_of_layers(store: Store, media_type: str) -> None:
    store.layer_writer(media_type)


def test_a_full_disk(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    try:
        mount.mount("tmpfs", str(small), "tmpfs", options="size=1m")
    except OSError as problem:
        pytest.skip(f"cannot mount a small file system: {problem.strerror}")
    try:
        store = Store(small / "store")
        with pytest.raises(StoreError, match=r"extract 'random' into .*No space left"):
            put(store, archive({"random": random.Random(2).randbytes(2 << 20)}), DIFF_ID)
        assert is_empty(store)
        data = archive({"fits": b"x"})
        assert put(store, data, digests.of(data)).is_dir()
    finally:
        mount.detach(str(small))


def test_what_a_killed_writer_left_is_swept_but_not_what_is_being_written(store: Store) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with store.layer_writer(manifests.OCI_LAYER) as layer:
            layer.write(ARCHIVE[:100_000])
            os.write(writing, b"x")
            signal.pause()
        os._exit(1)
    try:
        assert os.read(reading, 1) == b"x"
        abandoned = list(store.temporary.iterdir())  # of the layer, and of its recipe
        for path in abandoned:
            os.utime(path, (1, 1))
        Store(store.root)
        assert list(store.temporary.iterdir()) == abandoned  # their writer lives
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)
    for path in abandoned:
        os.utime(path, (time.time(),) * 2)
    Store(store.root)
    assert list(store.temporary.iterdir()) == abandoned  # not yet an hour old
    for path in abandoned:
        os.utime(path, (1, 1))
    Store(store.root)
    assert is_empty(store)


def test_many_that_store_one_layer_at_once_all_succeed(store: Store) -> None:
    start = threading.Barrier(6)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            start.wait(10)
            put(store, gzip.compress(ARCHIVE), DIFF_ID)
        except BaseException as failure:  # noqa: BLE001
            failures.append(failure)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert [path.name for path in store.layers.iterdir()] == [DIFF_ID[7:]]
    assert list(store.temporary.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        LayerInvalidError("etc/passwd", "it is a hard link to the root"),
        LayerInvalidError("", "it ends too early"),
        CompressionUnavailableError("zstd", "install something"),
        InvalidArchiveError("it holds no image"),
    ],
    ids=str,
)
def test_errors_cross_process_borders(error: PycontainerError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.args, str(copy)) == (type(error), error.args, str(error))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.data())
def test_damage_anywhere_is_stored_as_it_is_or_refused(store: Store, data: st.DataObject) -> None:
    """A layer's fault never shows as anything but LayerInvalidError."""
    kinds = ["old", "posix 0.0", "posix 0.1", "posix 1.0"]
    whole = bytearray(
        _sparse_archive(data.draw(st.sampled_from(kinds)), [(n * 5000, b"x" * 9) for n in range(9)], 50_000)
    )
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, min(len(whole), 2600) - 1))
        whole[position] = data.draw(st.sampled_from([0, 0xFF, 0x80, *b"0179-S xgLK2=\n/."]))
    if data.draw(st.booleans()):
        for start in (0, 512, 1024):  # so that the damage gets past the checksum
            block = whole[start : start + 512]
            whole[start + 148 : start + 156] = b"%06o\0 " % sum(block[:148] + b" " * 8 + block[156:])
    content = bytes(whole)
    with suppress(LayerInvalidError):
        put(store, content, digests.of(content))
    assert list(store.temporary.iterdir()) == []
