from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_pycontainer.errors import StoreError
from pytest_pycontainer.image.digest import EMPTY_LAYER
from pytest_pycontainer.kernel.removal import remove_tree
from pytest_pycontainer.store.diff import diff_id, write_layer

if TYPE_CHECKING:
    from pathlib import Path


def archive(upper: Path) -> bytes:
    pieces = io.BytesIO()
    write_layer(upper, pieces.write)
    return pieces.getvalue()


def members(upper: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive(upper)), errors="surrogateescape") as tar:
        names = tar.getnames()
        assert len(names) == len(set(names))
        return {member.name: member for member in tar}


def content(upper: Path, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive(upper))) as tar:
        file = tar.extractfile(name)
        assert file is not None
        return file.read()


def test_an_empty_directory_is_the_empty_layer(upper: Path) -> None:
    assert diff_id(upper) == EMPTY_LAYER


def test_the_diff_id_is_the_archives_digest(upper: Path) -> None:
    (upper / "a").write_text("x")
    assert diff_id(upper) == "sha256:" + hashlib.sha256(archive(upper)).hexdigest()


def test_files_directories_and_links(upper: Path) -> None:
    (upper / "etc").mkdir(mode=0o750)
    (upper / "etc" / "motd").write_text("hello")
    (upper / "etc" / "motd").chmod(0o4755)
    os.utime(upper / "etc" / "motd", ns=(0, 1_700_000_000_999_999_999))
    (upper / "etc" / "link").symlink_to("/etc/motd")
    os.mkfifo(upper / "pipe", 0o600)

    found = members(upper)

    assert list(found) == ["etc", "etc/link", "etc/motd", "pipe"]
    assert found["etc"].isdir()
    assert found["etc"].mode == 0o750
    assert found["etc/link"].linkname == "/etc/motd"
    motd = found["etc/motd"]
    assert (motd.size, motd.mode, motd.mtime, motd.uname) == (5, 0o4755, 1_700_000_000, "")
    assert content(upper, "etc/motd") == b"hello"
    assert found["pipe"].isfifo()


def test_entries_come_sorted_with_directories_before_their_content(upper: Path) -> None:
    for name in ("b", "a.x", "a", "c"):
        (upper / name).mkdir()
        (upper / name / "file").touch()
    assert list(members(upper)) == ["a", "a/file", "a.x", "a.x/file", "b", "b/file", "c", "c/file"]


def test_equal_content_is_equal_bytes_whatever_the_order_it_was_made_in(tmp_path: Path) -> None:
    for number, names in enumerate((("a", "b"), ("b", "a"))):
        for name in names:
            path = tmp_path / str(number) / name
            path.mkdir(parents=True)
            (path / "file").write_text(name)
            os.utime(path / "file", (1, 1))
            os.utime(path, (1, 1))
    assert diff_id(tmp_path / "0") == diff_id(tmp_path / "1")


@pytest.mark.parametrize("change", ["content", "name", "mode", "time", "target"])
def test_each_difference_shows(upper: Path, change: str) -> None:
    file, link = upper / "file", upper / "link"
    file.write_text("x")
    link.symlink_to("file")
    os.utime(link, (1, 1), follow_symlinks=False)
    os.utime(file, (1, 1))
    before = diff_id(upper)
    match change:
        case "content":
            file.write_text("y")
            os.utime(file, (1, 1))
        case "name":
            file.rename(upper / "other")
        case "mode":
            file.chmod(0o600)
        case "time":
            os.utime(file, (2, 2))
        case "target":
            link.unlink()
            link.symlink_to("elsewhere")
            os.utime(link, (1, 1), follow_symlinks=False)
    assert diff_id(upper) != before


def test_a_second_name_is_a_hard_link_to_the_first(upper: Path) -> None:
    (upper / "a").mkdir()
    (upper / "a" / "first").write_text("shared")
    os.link(upper / "a" / "first", upper / "second")
    found = members(upper)
    assert found["a/first"].isreg()
    assert found["second"].islnk()
    assert found["second"].linkname == "a/first"
    assert content(upper, "second") == b"shared"


def test_a_hard_link_to_a_file_outside_is_a_file(upper: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("shared")
    os.link(tmp_path / "outside", upper / "only")
    assert members(upper)["only"].isreg()
    assert content(upper, "only") == b"shared"


@pytest.mark.usefixtures("overlay_privilege")
def test_overlayfs_marks_become_whiteouts(upper: Path) -> None:
    (upper / "etc").mkdir()
    os.mknod(upper / "etc" / "motd", stat.S_IFCHR, os.makedev(0, 0))
    os.mknod(upper / "tmp", stat.S_IFCHR, os.makedev(0, 0))
    (upper / "opt").mkdir()
    os.setxattr(upper / "opt", "trusted.overlay.opaque", b"y")
    os.setxattr(upper / "opt", "trusted.overlay.origin", b"whatever")
    (upper / "opt" / "new").touch()

    found = members(upper)

    assert list(found) == ["etc", "etc/.wh.motd", "opt", "opt/.wh..wh..opq", "opt/new", ".wh.tmp"]
    assert all(found[name].isreg() and not found[name].size for name in found if ".wh." in name)
    assert not found["opt"].pax_headers


@pytest.mark.usefixtures("overlay_privilege")
def test_a_directory_that_is_not_opaque_has_no_mark(upper: Path) -> None:
    (upper / "opt").mkdir()
    os.setxattr(upper / "opt", "trusted.overlay.opaque", b"x")  # "holds whiteouts kept in attributes", not opaque
    assert list(members(upper)) == ["opt"]


@pytest.mark.usefixtures("overlay_privilege")
def test_devices_and_owners(upper: Path) -> None:
    os.mknod(upper / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(upper / "disk", stat.S_IFBLK | 0o600, os.makedev(259, 300))
    os.chown(upper / "null", 1000, 3_000_000)
    found = members(upper)
    assert found["null"].ischr()
    assert (found["null"].devmajor, found["null"].devminor) == (1, 3)
    assert (found["null"].uid, found["null"].gid) == (1000, 3_000_000)
    assert found["disk"].isblk()
    assert (found["disk"].devmajor, found["disk"].devminor) == (259, 300)


def test_extended_attributes_are_pax_records(upper: Path) -> None:
    (upper / "file").write_text("x")
    try:
        os.setxattr(upper / "file", "user.note", b"two\nlines\xff")
    except OSError as problem:
        pytest.skip(f"no extended attributes here: {problem.strerror}")
    header = members(upper)["file"].pax_headers
    assert os.fsencode(header["SCHILY.xattr.user.note"]) == b"two\nlines\xff"


def test_what_does_not_fit_into_a_header_is_in_pax_records(upper: Path) -> None:
    long = upper / ("d" * 90) / ("f" * 90)
    long.parent.mkdir()
    long.write_text("x")
    (upper / "link").symlink_to("t" * 200)
    (upper / "ünï").touch()
    (upper / "old").touch()
    os.utime(upper / "old", (-5, -5))
    with (upper / "large").open("wb") as file:
        file.truncate(3)
    found = members(upper)
    assert found[str(long.relative_to(upper))].size == 1
    assert found["link"].linkname == "t" * 200
    assert "ünï" in found
    assert found["old"].mtime == -5


def test_a_size_beyond_octal_digits(upper: Path) -> None:
    with (upper / "big").open("wb") as file:
        file.truncate(9 << 30)

    class EnoughError(Exception):
        pass

    def first_piece(piece: bytes | memoryview) -> None:
        raise EnoughError(bytes(piece))

    with pytest.raises(EnoughError) as caught:
        write_layer(upper, first_piece)
    with tarfile.open(fileobj=io.BytesIO(caught.value.args[0])) as tar:
        member = tar.next()
    assert member is not None
    assert (member.name, member.size) == ("big", 9 << 30)


def test_a_name_that_is_no_utf8(upper: Path) -> None:
    (upper / os.fsdecode(b"caf\xe9")).write_text("x")
    assert [os.fsencode(name) for name in members(upper)] == [b"caf\xe9"]


def test_sockets_are_left_out(upper: Path) -> None:
    os.mknod(upper / "socket", stat.S_IFSOCK | 0o600)
    assert diff_id(upper) == EMPTY_LAYER


def test_a_name_that_would_be_a_deletion_is_refused(upper: Path) -> None:
    (upper / ".wh.file").touch()
    with pytest.raises(StoreError, match=r"\.wh\. means a deletion"):
        diff_id(upper)


def test_a_deep_tree(upper: Path) -> None:
    deepest = upper
    for _ in range(1200):
        deepest = deepest / "d"
        deepest.mkdir()
    try:
        assert len(members(upper)) == 1200
    finally:
        remove_tree(upper)  # pytest's own clean-up recurses, and would end in RecursionError
    assert not upper.exists()


_names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60).filter(
    lambda name: name not in (".", "..") and not name.startswith(".wh.") and len(os.fsencode(name)) <= 255
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.dictionaries(_names, st.binary(max_size=1500), max_size=4))
def test_names_and_content_read_back(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    upper = tmp_path_factory.mktemp("upper")
    for name, data in files.items():
        (upper / name).write_bytes(data)
    assert {name: content(upper, name) for name in members(upper)} == files
