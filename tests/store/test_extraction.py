"""What comes out of a layer's archive, Python's tarfile being the one that writes it."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_pycontainer.errors import LayerInvalidError
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image.manifest import OCI_LAYER
from pytest_pycontainer.kernel.removal import remove_tree
from pytest_pycontainer.store.diff import write_layer
from pytest_pycontainer.store.store import Store

Extract = Callable[[bytes], Path]
OPAQUE = "trusted.overlay.opaque"


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", **fields: Any
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(content)
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def directory(name: str, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, tarfile.DIRTYPE, **fields)


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, tarfile.SYMTYPE, linkname=target)


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, tarfile.LNKTYPE, linkname=target)


def archive(*entries: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def names(top: Path) -> set[str]:
    return {str(path.relative_to(top)) for path in top.rglob("*")}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_files_directories_and_links(extract: Extract, form: int) -> None:
    top = extract(
        archive(
            directory("./"),
            directory("./etc/", mode=0o1750, mtime=5, uid=7, gid=8),
            entry("etc/motd", content=b"hello", mode=0o4751, uid=1000, gid=2000, mtime=1_700_000_000),
            link("etc/second", "./etc/motd"),
            symlink("etc/link", "/nowhere/../x"),
            entry("pipe", tarfile.FIFOTYPE, mode=0o600),
            form=form,
        )
    )
    assert names(top) == {"etc", "etc/motd", "etc/second", "etc/link", "pipe"}
    motd = (top / "etc/motd").stat()
    assert (top / "etc/motd").read_bytes() == b"hello"
    assert (stat.S_IMODE(motd.st_mode), motd.st_uid, motd.st_gid) == (0o4751, 1000, 2000)
    assert (motd.st_mtime_ns, motd.st_nlink) == (1_700_000_000 * 10**9, 2)
    assert (top / "etc/second").stat().st_ino == motd.st_ino
    assert (top / "etc/link").readlink() == Path("/nowhere/../x")
    etc = (top / "etc").stat()
    assert (stat.S_IMODE(etc.st_mode), etc.st_mtime, etc.st_uid, etc.st_gid) == (0o1750, 5, 7, 8)
    assert (top / "pipe").is_fifo()


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_does_not_fit_into_a_header(extract: Extract, form: int) -> None:
    long = "/".join("d" * 120 for _ in range(5)) + "/" + "ü" * 100
    top = extract(
        archive(
            entry(long, content=b"x", uid=3_000_000_000, gid=4_000_000_000),
            symlink("link", "t" * 300),
            link("hard", long),
            entry("old", mtime=-7),
            form=form,
        )
    )
    status = (top / long).stat()
    assert (status.st_uid, status.st_gid, status.st_nlink) == (3_000_000_000, 4_000_000_000, 2)
    assert (top / "link").readlink() == Path("t" * 300)
    assert (top / "old").stat().st_mtime == -7


def test_a_prefix_in_a_posix_header(extract: Extract) -> None:
    long = "d" * 150 + "/" + "f" * 90
    top = extract(archive(entry(long, content=b"x"), form=tarfile.USTAR_FORMAT))
    assert (top / long).read_bytes() == b"x"


def test_times_are_exact(extract: Extract) -> None:
    info, content = entry("file")
    info.pax_headers = {"mtime": "1700000000.123456789"}
    top = extract(archive((info, content)))
    assert (top / "file").stat().st_mtime_ns == 1_700_000_000_123_456_789


def test_owners_of_links_and_devices(extract: Extract, overlay_privilege: None) -> None:
    info, content = symlink("link", "/etc/passwd")
    info.uid = 77
    top = extract(
        archive((info, content), entry("disk", tarfile.BLKTYPE, devmajor=259, devminor=300, mode=0o660, uid=5))
    )
    assert (top / "link").lstat().st_uid == 77
    disk = (top / "disk").stat()
    assert (os.major(disk.st_rdev), os.minor(disk.st_rdev)) == (259, 300)
    assert (disk.st_mode, disk.st_uid) == (stat.S_IFBLK | 0o660, 5)


def test_extended_attributes(extract: Extract, overlay_privilege: None) -> None:
    file, directory_, fifo = entry("file"), directory("directory"), entry("fifo", tarfile.FIFOTYPE)
    capability = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    for info, _ in (file, directory_, fifo):
        info.uid = 9  # a change of owner takes capabilities away
        info.pax_headers = {
            "SCHILY.xattr.trusted.note": "two\nlines=",
            "SCHILY.xattr.trusted.overlay.redirect": "/etc",
        }
    file[0].pax_headers = {**file[0].pax_headers, "SCHILY.xattr.security.capability": capability.decode()}
    top = extract(archive(file, directory_, fifo))
    for name in ("file", "directory", "fifo"):
        assert os.getxattr(top / name, "trusted.note") == b"two\nlines="
        assert "trusted.overlay.redirect" not in os.listxattr(top / name)
    assert os.getxattr(top / "file", "security.capability") == capability


def test_an_attribute_that_its_kind_of_file_cannot_have_is_left_out(extract: Extract, overlay_privilege: None) -> None:
    odd = symlink("link", "file")
    odd[0].pax_headers = {"SCHILY.xattr.user.note": "hello", "SCHILY.xattr.trusted.note": "kept"}
    top = extract(archive(odd))
    assert os.listxattr(top / "link", follow_symlinks=False) == ["trusted.note"]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [("user.x", "x" * 70_000, "is too large"), ("user." + "x" * 300, "x", "the name of an extended attribute")],
    ids=["value", "name"],
)
def test_attributes_that_no_file_can_have(store: Store, name: str, value: str, reason: str) -> None:
    file = entry("file")
    file[0].pax_headers = {f"SCHILY.xattr.{name}": value}
    content = archive(file)
    with store.layer_writer(OCI_LAYER) as layer, pytest.raises(LayerInvalidError, match=reason):  # noqa: PT012
        layer.write(content)
        layer.commit(digests.of(content))


def test_parents_that_are_missing_and_directories_after_their_content(extract: Extract) -> None:
    old = os.umask(0o077)
    try:
        top = extract(archive(entry("a/b/file", content=b"x"), directory("a", mode=0o500, mtime=9)))
    finally:
        os.umask(old)
    assert stat.S_IMODE((top / "a").stat().st_mode) == 0o500
    assert (top / "a").stat().st_mtime == 9
    assert stat.S_IMODE((top / "a/b").stat().st_mode) == 0o755
    assert stat.S_IMODE(top.stat().st_mode) == 0o755


def test_the_roots_own_entry(extract: Extract) -> None:
    status = extract(archive(directory("./", mode=0o711, mtime=3, uid=4))).stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime, status.st_uid) == (0o711, 3, 4)


def test_deletions(extract: Extract, overlay_privilege: None) -> None:
    top = extract(
        archive(
            entry("etc/.wh.motd", content=b"ignored"),
            entry("opt/.wh..wh..opq"),
            entry("opt/new"),
            entry(".wh..wh.plnk"),
            # What the layer has itself stays: a file hides, a directory becomes opaque, in any order.
            entry("file"),
            entry(".wh.file"),
            entry(".wh.later"),
            entry("later", content=b"x"),
            entry("first/x"),
            entry(".wh.first"),
            entry(".wh.second"),
            directory("second"),
            entry(".wh.third"),
            entry("third/x"),
        )
    )
    assert names(top) == {
        *("etc", "etc/motd", "opt", "opt/new", "file", "later", "first", "first/x", "second", "third", "third/x")
    }
    motd = (top / "etc/motd").stat()
    assert stat.S_ISCHR(motd.st_mode)
    assert motd.st_rdev == 0
    for name in ("opt", "first", "second", "third"):
        assert os.getxattr(top / name, OPAQUE) == b"y"
    assert (top / "later").read_bytes() == b"x"
    assert (top / "file").is_file()
    assert OPAQUE not in os.listxattr(top / "etc")


def test_a_later_entry_takes_an_earlier_ones_place(extract: Extract) -> None:
    top = extract(
        archive(
            entry("a", content=b"first"),
            link("b", "a"),
            entry("a", content=b"second"),
            directory("c"),
            entry("c/file"),
            entry("c", content=b"file"),
            symlink("d", "/etc"),
            directory("d"),
            entry("d/file"),
            symlink("a2", "x"),
            symlink("a2", "y"),
            entry("e"),
            link("e", "b"),
            link("e", "b"),
            link("e", "e"),
        )
    )
    assert (top / "a").read_bytes() == b"second"
    assert (top / "b").read_bytes() == (top / "e").read_bytes() == b"first"
    assert (top / "c").read_bytes() == b"file"
    assert (top / "d/file").is_file()
    assert not (top / "d").is_symlink()
    assert (top / "a2").readlink() == Path("y")


def test_a_name_that_is_no_utf8(extract: Extract) -> None:
    info, content = entry("caf\udce9")
    top = extract(archive((info, content), form=tarfile.GNU_FORMAT))
    assert [os.fsencode(path.name) for path in top.iterdir()] == [b"caf\xe9"]


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([entry("../../etc/passwd")], "leads out of the layer"),
        ([entry("a/../../b")], "leads out of the layer"),
        ([entry("a//b")], "is empty"),
        ([entry("")], "an empty name"),
        ([symlink("etc", "/etc"), entry("etc/passwd", content=b"x")], "a symbolic link stands where"),
        ([symlink("up", ".."), entry("up/x")], "a symbolic link stands where"),
        ([symlink("l", "."), symlink("l/m", "x")], "a symbolic link stands where"),
        ([symlink("l", "/"), entry("l/.wh.x")], "a symbolic link stands where"),
        ([symlink("l", "/"), link("m", "l/etc/passwd")], "a symbolic link stands where"),
        ([link("p", "../../../etc/passwd")], "leads out of the layer"),
        ([link("p", "/etc/passwd")], "hard link to '/etc/passwd', which is not there"),
        ([directory("d"), link("p", "d")], "a directory"),
        ([link("p", "./")], "a hard link to the root"),
        ([link("p", "")], "an empty name"),
        ([symlink("p", "")], "a symbolic link to nothing"),
        ([symlink("./", "x")], "is no directory"),
        ([entry("file"), entry("file/x")], "a file stands where"),
        ([entry(".wh.a/b")], "whose name is a deletion's"),
        ([entry("a/.wh...")], "it deletes no file"),
        ([entry("a/.wh.")], "it deletes no file"),
        ([entry("n" * 256)], "a name in it is too long"),
        ([entry("x", b"Q")], "its type b'Q' is unknown"),
        ([entry("x", uid=(1 << 32) - 1)], "its owner is 4294967295:0"),
        ([entry("x", tarfile.CHRTYPE, devmajor=1 << 20)], "its device is"),
    ],
)
def test_entries_that_have_no_place_in_a_layer(
    store: Store, tmp_path: Path, entries: list[tuple[tarfile.TarInfo, bytes]], reason: str
) -> None:
    content = archive(*entries, form=tarfile.GNU_FORMAT)
    before = {path for path in tmp_path.rglob("*") if store.root not in path.parents}
    with store.layer_writer(OCI_LAYER) as layer, pytest.raises(LayerInvalidError, match=reason):  # noqa: PT012
        layer.write(content)
        layer.commit(digests.of(content))
    assert {path for path in tmp_path.rglob("*") if store.root not in path.parents} == before
    assert list(store.layers.iterdir()) == []
    assert list(store.temporary.iterdir()) == []


def test_deep_trees(extract: Extract, store: Store) -> None:
    name = "d/" * 1200 + "file"
    top = extract(archive(entry(name)))
    try:
        assert (top / name).is_file()
    finally:
        remove_tree(top)


# Round trips


def test_a_layer_of_ours_comes_back_with_its_digest(upper: Path, extract: Extract, overlay_privilege: None) -> None:
    (upper / "etc").mkdir(mode=0o2750)
    (upper / "etc" / "set-uid").write_bytes(os.urandom(3_000_000))
    (upper / "etc" / "set-uid").chmod(0o4755)
    os.link(upper / "etc" / "set-uid", upper / "second")
    (upper / ("n" * 200)).symlink_to("t" * 200)
    os.mkfifo(upper / "ünï", 0o611)
    os.mknod(upper / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(upper / "gone", stat.S_IFCHR, os.makedev(0, 0))
    os.setxattr(upper / "etc", OPAQUE, b"y")
    os.setxattr(upper / "etc", "trusted.note", b"\xff\n")
    os.chown(upper / "null", 3_000_000, 4_000_000)
    os.utime(upper / "etc", (-3, -3))
    content = io.BytesIO()
    write_layer(upper, content.write)
    # Times of deletions are of no account to overlayfs, and ours are that of the extraction.
    again = io.BytesIO()
    top = extract(content.getvalue())
    os.utime(top / "gone", ns=((upper / "gone").stat().st_mtime_ns,) * 2)
    write_layer(top, again.write)
    assert digests.of(again.getvalue()) == digests.of(content.getvalue())


_names = st.text(st.sampled_from("ab.ü"), min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))
_trees = st.recursive(
    st.binary(max_size=1500) | st.integers(0, 0o7777) | _names.map(Path),
    lambda inner: st.dictionaries(_names, inner, max_size=3),
    max_leaves=12,
)


def _grow(path: Path, tree: Any) -> None:
    match tree:
        case dict():
            path.mkdir(exist_ok=True)
            for name, inner in tree.items():
                _grow(path / name, inner)
        case bytes():
            path.write_bytes(tree)
        case int():
            path.touch()
            path.chmod(tree)
        case Path():
            path.symlink_to(tree)
    os.utime(path, (1, 1), follow_symlinks=False)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.dictionaries(_names, _trees, max_size=4))
def test_any_tree_comes_back_with_its_digest(
    tmp_path_factory: pytest.TempPathFactory, extract: Extract, tree: dict[str, Any]
) -> None:
    upper = tmp_path_factory.mktemp("upper")
    _grow(upper, tree)
    content, again = io.BytesIO(), io.BytesIO()
    write_layer(upper, content.write)
    if tree:
        write_layer(extract(content.getvalue()), again.write)
        assert again.getvalue() == content.getvalue()


# Hostile archives: a canary stands where "../.." from the layer's directory leads

_hostile_names = st.lists(
    st.sampled_from(["a", "b", "..", ".", "", ".wh.a", ".wh..wh..opq", "canary"]), max_size=4
).map("/".join) | st.sampled_from(
    ["/canary", "../../canary", "/", "./", "OUTSIDE", "OUTSIDE/canary", "a/canary", "b/a"]
)
_kinds = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.lists(st.tuples(_hostile_names, _kinds, _hostile_names), max_size=8))
def test_nothing_is_ever_written_outside(tmp_path: Path, hostile: list[tuple[str, bytes, str]]) -> None:
    outside = tmp_path / "outside"
    store = Store(outside / "store")
    for place in (outside, store.root, store.temporary):
        (place / "canary").write_text("alive")
    entries = [
        entry(
            name.replace("OUTSIDE", str(outside)),
            kind,
            b"x" if kind == tarfile.REGTYPE else b"",
            linkname=target.replace("OUTSIDE", str(outside)),
        )
        for name, kind, target in hostile
    ]
    content = archive(*entries, form=tarfile.GNU_FORMAT)
    with suppress(LayerInvalidError), store.layer_writer(OCI_LAYER) as layer:
        layer.write(content)
        layer.commit(digests.of(content))
    assert {path.name for path in outside.iterdir()} == {"canary", "store"}
    assert {path.name for path in store.temporary.iterdir()} == {"canary"}
    assert {path.name for path in store.root.iterdir()} == {
        *("blobs", "layers", "recipes", "cache", "locks", "tmp", "tags", "used", "canary")
    }
    for place in (outside, store.root, store.temporary):
        canary = place / "canary"
        assert (canary.read_text(), canary.stat().st_nlink) == ("alive", 1)
    remove_tree(store.layers)
