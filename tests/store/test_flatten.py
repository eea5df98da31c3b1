"""Layers as one plain archive; the kernel's overlayfs has the last word."""

from __future__ import annotations

import io
import os
import socket
import stat
import tarfile
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_pycontainer.kernel import mount
from pytest_pycontainer.kernel.removal import remove_tree
from pytest_pycontainer.store.flatten import write_directory, write_flat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("overlay_privilege")


def flat(*layers: Path) -> bytes:
    file = io.BytesIO()
    write_flat(layers, file.write)
    return file.getvalue()


def members(archive: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive), errors="surrogateescape") as tar:
        assert len(tar.getnames()) == len(set(tar.getnames()))
        return {member.name: member for member in tar}


def contents(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive), errors="surrogateescape") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]


def whiteout(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))


@pytest.fixture
def layers(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Three empty layers, topmost first."""
    found = tuple(tmp_path / name for name in ("top", "middle", "bottom"))
    for layer in found:
        layer.mkdir()
    top, middle, bottom = found
    return top, middle, bottom


def test_the_topmost_layer_wins_and_marks_hide(layers: tuple[Path, Path, Path]) -> None:
    top, middle, bottom = layers
    for layer in layers:
        (layer / "d").mkdir()
        (layer / "d" / layer.name).write_text(layer.name)
        (layer / "same").write_text(layer.name)
    (top / "d").chmod(0o700)
    (bottom / "gone").write_text("x")
    whiteout(middle / "gone")
    for name in ("o", "was-directory", "was-file"):
        (bottom / name).mkdir()
        (bottom / name / "below").write_text("x")
    (middle / "o").mkdir()
    os.setxattr(middle / "o", "trusted.overlay.opaque", b"y")
    (middle / "o" / "in").write_text("in")
    (top / "was-directory").write_text("file now")
    whiteout(middle / "was-file")
    (top / "was-file").mkdir()

    archive = flat(*layers)

    assert list(members(archive)) == [
        *("same", "was-directory", "d", "d/bottom", "d/middle", "d/top", "o", "o/in", "was-file")
    ]
    assert members(archive)["d"].mode == 0o700
    assert contents(archive)["same"] == b"top"
    assert members(archive)["o"].pax_headers == {}
    assert archive == flat(*layers)


def test_every_kind_of_file(layers: tuple[Path, Path, Path]) -> None:
    top = layers[0]
    (top / "z-file").write_bytes(b"x" * 3000)
    os.chown(top / "z-file", 3_000_000, 7)
    (top / "z-file").chmod(0o4755)
    os.setxattr(top / "z-file", "user.colour", b"blue")
    (top / "z-hard").hardlink_to(top / "z-file")
    (top / "link").symlink_to("nowhere/" + "x" * 120)
    os.mkfifo(top / "pipe")
    os.mknod(top / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (top / os.fsdecode(b"odd\xff\n")).touch()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(top / "socket"))

    found = members(flat(*layers))

    assert list(found) == ["link", "null", os.fsdecode(b"odd\xff\n"), "pipe", "z-file", "z-hard"]
    assert (found["z-file"].uid, found["z-file"].mode) == (3_000_000, 0o4755)
    assert found["z-file"].pax_headers["SCHILY.xattr.user.colour"] == "blue"
    assert found["z-hard"].linkname == "z-file"
    assert found["link"].linkname == "nowhere/" + "x" * 120
    assert (found["null"].devmajor, found["null"].devminor) == (1, 3)


def test_a_directory_is_taken_as_it_is(layers: tuple[Path, Path, Path], tmp_path: Path) -> None:
    top = layers[0]
    whiteout(top / "device")
    (top / "o").mkdir()
    os.setxattr(top / "o", "trusted.overlay.opaque", b"y")
    file = io.BytesIO()
    write_directory(top, file.write)
    assert members(file.getvalue())["device"].ischr()


def test_a_directory_ends_at_its_file_system(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "proc").mkdir(parents=True)
    (tree / "file").touch()
    mount.mount("inner", str(tree / "proc"), "tmpfs")
    try:
        (tree / "proc" / "inner").touch()
        file = io.BytesIO()
        write_directory(tree, file.write)
    finally:
        mount.detach(str(tree / "proc"))
    assert list(members(file.getvalue())) == ["file", "proc"]


class Interfering:
    """An archive's file that does something as soon as ``sign`` has been written to it."""

    def __init__(self, sign: bytes, act: Callable[[], object]) -> None:
        self.file = io.BytesIO()
        self._sign = sign
        self._act: Callable[[], object] | None = act

    def write(self, piece: bytes | memoryview) -> None:
        self.file.write(piece)
        if self._act is not None and self._sign in bytes(piece):
            act, self._act = self._act, None
            act()


def test_a_file_that_becomes_shorter_is_filled_up(layers: tuple[Path, Path, Path]) -> None:
    file = layers[0] / "file"
    file.write_bytes(b"x" * 3_000_000)
    archive = Interfering(b"file", lambda: os.truncate(file, 2_000_000))
    write_flat(layers, archive.write)
    assert contents(archive.file.getvalue())["file"] == b"x" * 2_000_000 + bytes(1_000_000)


def test_a_file_that_grows_is_cut(layers: tuple[Path, Path, Path]) -> None:
    file = layers[0] / "file"
    file.write_bytes(b"x" * 700)
    archive = Interfering(b"file", lambda: file.write_bytes(b"x" * 700 + b"y" * 5000))
    write_flat(layers, archive.write)
    assert contents(archive.file.getvalue())["file"] == b"x" * 700


def test_what_goes_meanwhile_is_left_out(layers: tuple[Path, Path, Path]) -> None:
    top = layers[0]
    for name in ("a", "b"):
        (top / name).touch()
    (top / "d").mkdir()
    (top / "d" / "in").touch()

    def remove() -> None:
        (top / "b").unlink()
        remove_tree(top / "d")

    archive = Interfering(b"a", remove)
    write_flat(layers, archive.write)
    assert list(members(archive.file.getvalue())) == ["a"]


def test_a_link_in_a_directorys_place_leads_nowhere(layers: tuple[Path, Path, Path], tmp_path: Path) -> None:
    top = layers[0]
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "secret").write_text("secret")
    (top / "z").touch()
    for name in ("d", "e"):
        (top / name / "deep").mkdir(parents=True)

    def swap() -> None:
        for name in ("d", "e/deep"):
            remove_tree(top / name)
            (top / name).symlink_to(tmp_path / "secrets")

    archive = Interfering(b"z", swap)
    write_flat(layers, archive.write)
    assert list(members(archive.file.getvalue())) == ["z", "e", "e/deep"]
    assert b"secret" not in contents(archive.file.getvalue()).values()


def test_layers_that_are_written_to_all_the_time(layers: tuple[Path, Path, Path]) -> None:
    top = layers[0]
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            directory = top / f"d{number % 7}"
            if directory.exists():
                remove_tree(directory)
            directory.mkdir()
            for name in "abc":
                (directory / name).write_bytes(os.urandom(number % 5000))

    writing = threading.Thread(target=write)
    writing.start()
    try:
        for _ in range(100):
            contents(flat(*layers))
    finally:
        stop.set()
        writing.join()


# Overlayfs says what is right


@pytest.fixture
def overlay(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    merged = tmp_path / "merged"
    merged.mkdir()
    mounted = []

    def overlay(*layers: Path) -> Path:
        options = "redirect_dir=off,metacopy=off,index=off,lowerdir=" + ":".join(map(str, layers))
        mount.mount("overlay", str(merged), "overlay", 0, options)
        mounted.append(merged)
        return merged

    def unmount() -> None:
        while mounted:
            mount.detach(str(mounted.pop()))

    overlay.unmount = unmount  # type: ignore[attr-defined]
    yield overlay
    unmount()


_names = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
_things = st.dictionaries(_names, st.sampled_from(["file", "directory", "whiteout", "opaque", "link"]), max_size=8)


def _grow(layer: Path, things: dict[str, str]) -> None:
    for name, kind in sorted(things.items()):
        path = layer / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            match kind:
                case "file":
                    path.write_text(f"{layer.name} {name}")
                case "whiteout":
                    whiteout(path)
                case "link":
                    path.symlink_to("a")
                case _:
                    path.mkdir()
                    if kind == "opaque":
                        os.setxattr(path, "trusted.overlay.opaque", b"y")
        except OSError:
            continue  # something else is there


def _shown(merged: Path) -> Iterator[tuple[str, object]]:
    for path in merged.rglob("*"):
        name = str(path.relative_to(merged))
        if path.is_symlink():
            yield name, str(path.readlink())
        elif path.is_file():
            yield name, path.read_bytes()
        elif path.is_dir():  # the kernel lists whiteouts of a directory that only one layer has
            yield name, None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.lists(_things, min_size=2, max_size=4))
def test_overlayfs_shows_the_same(
    overlay: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory, trees: list[dict[str, str]]
) -> None:
    base = tmp_path_factory.mktemp("layers")
    layers = [base / str(number) for number in range(len(trees))]
    for layer, things in zip(layers, trees, strict=True):
        layer.mkdir()
        _grow(layer, things)
    merged = overlay(*layers)
    try:
        wanted = dict(_shown(merged))
    finally:
        overlay.unmount()  # type: ignore[attr-defined]
    archive = flat(*layers)
    found: dict[str, object] = dict.fromkeys(members(archive))
    found |= contents(archive)
    found |= {name: member.linkname for name, member in members(archive).items() if member.issym()}
    assert found == wanted
    remove_tree(base)
