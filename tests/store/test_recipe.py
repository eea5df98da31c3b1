"""Layers' own archives made again, byte for byte."""

from __future__ import annotations

import io
import os
import random
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_pycontainer.errors import LayerInvalidError
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image.manifest import OCI_LAYER
from pytest_pycontainer.store import recipe as recipes
from pytest_pycontainer.store.layer_archive import ways_to_archive
from pytest_pycontainer.store.recipe import rebuild
from pytest_pycontainer.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def stored(store: Store, archive: bytes, piece: int = 1 << 16) -> str:
    with store.layer_writer(OCI_LAYER) as layer:
        for start in range(0, len(archive), piece):
            layer.write(archive[start : start + piece])
        return layer.commit()


def recipe_of(store: Store, diff_id: str) -> Path:
    return store.recipes / diff_id[7:]


def rebuilt(store: Store, diff_id: str) -> bytes | None:
    """The archive made with the layer's recipe; None if that can't be used."""
    archive = io.BytesIO()
    whole = rebuild(recipe_of(store, diff_id), store.layers / diff_id[7:], archive.write)
    return archive.getvalue() if whole else None


def packed(*members: tuple[str, bytes, bytes | str], form: int = tarfile.GNU_FORMAT) -> bytes:
    """An archive of entries, each a name, a type, and a content or a link's target."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if isinstance(content, str):
                info.linkname = content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


FILE, DIRECTORY, LINK, SYMLINK = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What archives differ in: long names, links, holes, owners, attributes, fractions of seconds."""
    tree = tmp_path / "tree"
    long = tree / ("d" * 120) / ("e" * 120)
    long.mkdir(parents=True)
    (long / ("f" * 90)).write_bytes(random.Random(1).randbytes(70_001))
    (tree / "ünï").write_text("x" * 511)
    (tree / "empty").touch()
    (tree / "link").symlink_to("g" * 150)
    (tree / "hard").hardlink_to(tree / "ünï")
    os.mkfifo(tree / "pipe")
    (tree / "set-uid").write_bytes(bytes(513))
    (tree / "set-uid").chmod(0o4711)
    os.utime(tree / "set-uid", ns=(0, 1_234_567_890_123_456_789))
    with (tree / "holes").open("wb") as file:
        for position in range(0, 50 << 20, 1 << 20):
            file.seek(position)
            file.write(b"data")
        file.truncate(60 << 20)
    return tree


def tar(tree: Path, *options: str) -> bytes:
    command = ["tar", "-C", str(tree), "-cf", "-", *options, "."]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=60, stdin=subprocess.DEVNULL).stdout


@pytest.mark.parametrize(
    "options",
    [
        ("--format=gnu",),
        ("--format=gnu", "--sparse"),
        ("--format=oldgnu", "--numeric-owner"),
        ("--format=posix", "--xattrs", "--acls"),
        ("--format=posix", "--sparse", "--sparse-version=0.0"),
        ("--format=posix", "--sparse", "--sparse-version=0.1"),
        ("--format=posix", "--sparse", "--sparse-version=1.0"),
        ("--format=ustar", "--exclude=./d*", "--exclude=./link"),
        ("--format=v7", "--exclude=./d*", "--exclude=./link", "--exclude=pipe"),
        ("--format=gnu", "--label=volume", "-b", "1"),
    ],
    ids=" ".join,
)
def test_archives_of_gnu_tar(store: Store, tree: Path, options: tuple[str, ...]) -> None:
    archive = tar(tree, *options)
    assert rebuilt(store, stored(store, archive)) == archive


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_of_python(store: Store, tree: Path, form: int) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form, pax_headers={"comment": "all"}) as archive:
        for name in ("ünï", "hard", "pipe", "empty", "set-uid"):
            archive.add(tree / name, name)
    assert rebuilt(store, stored(store, file.getvalue(), 100)) == file.getvalue()


@pytest.mark.parametrize(
    "end",
    [b"", bytes(512), bytes(1024), bytes(1 << 20), bytes(1024) + random.Random(2).randbytes(300_000)],
    ids=["nothing", "half an end", "an end", "zeros", "rubbish"],
)
def test_whatever_follows_the_entries(store: Store, end: bytes) -> None:
    archive = packed(("a", FILE, b"x" * 600)).rstrip(b"\0")
    archive += bytes(-len(archive) % 512) + end
    diff_id = stored(store, archive)
    assert rebuilt(store, diff_id) == archive


def test_bytes_that_mean_nothing(store: Store) -> None:
    archive = bytearray(packed(("a", FILE, b"x" * 600), ("b", FILE, b"y")))
    archive[512 + 600 : 512 + 1024] = random.Random(3).randbytes(424)  # padding
    assert rebuilt(store, stored(store, bytes(archive))) == bytes(archive)


def test_contents_that_go_nowhere(store: Store) -> None:
    archive = packed(("a", FILE, b"a"), ("d/.wh.x", FILE, b"why not"), ("d/.wh..wh..opq", FILE, b"?" * 1000))
    assert rebuilt(store, stored(store, archive)) == archive


def test_contents_that_later_entries_take_the_place_of(store: Store) -> None:
    archive = packed(
        ("a", FILE, b"first"),
        ("b", LINK, "a"),
        ("a", FILE, b"second, longer"),
        ("a", FILE, b"3rd"),
        ("d", DIRECTORY, b""),
        ("d/x", FILE, b"x"),
        ("d/e/y", FILE, b"y" * 1000),
        ("d", SYMLINK, "elsewhere"),
        ("c", FILE, b"file"),
        ("c", DIRECTORY, b""),
        ("c/inside", FILE, b"of a directory"),
        ("b", FILE, b"link no more"),
        ("b", LINK, "a"),
    )
    diff_id = stored(store, archive)
    layer = store.layers / diff_id[7:]
    assert {path.name for path in layer.iterdir()} == {"a", "b", "c", "d"}
    assert (layer / "b").read_bytes() == b"3rd"
    assert rebuilt(store, diff_id) == archive


def test_too_much_that_was_replaced_is_not_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "_REPLACED_AT_MOST", 1000)
    archive = packed(("a", FILE, b"x" * 600), ("b", FILE, b"x" * 600), ("a", FILE, b""), ("b", FILE, b""))
    diff_id = stored(store, archive)
    assert not recipe_of(store, diff_id).exists()
    assert rebuilt(store, diff_id) is None
    assert [way(lambda piece: None) for way in ways_to_archive(store, diff_id)] == [True]


def test_a_layer_of_our_own_needs_no_recipe(store: Store, upper: Path) -> None:
    (upper / "file").write_text("x")
    diff_id = store.commit_layer(upper)
    assert list(store.recipes.iterdir()) == []
    (way,) = ways_to_archive(store, diff_id)
    archive = io.BytesIO()
    assert way(archive.write)
    assert digests.of(archive.getvalue()) == diff_id


def test_a_recipe_never_leads_out_of_the_layer(store: Store, tmp_path: Path) -> None:
    (tmp_path / "canary").write_bytes(b"secret")
    archive = packed(("d/canary", FILE, b"public"))
    diff_id = stored(store, archive)
    layer = store.layers / diff_id[7:]
    (layer / "d" / "canary").unlink()
    (layer / "d").rmdir()
    (layer / "d").symlink_to(tmp_path)
    assert rebuilt(store, diff_id) is None


@pytest.mark.parametrize("change", ["shorter", "gone", "a directory"])
def test_a_layer_that_its_recipe_does_not_fit(store: Store, change: str) -> None:
    diff_id = stored(store, packed(("a", FILE, b"x" * 600)))
    file = store.layers / diff_id[7:] / "a"
    if change == "shorter":
        os.truncate(file, 599)
    else:
        file.unlink()
    if change == "a directory":
        file.mkdir()
    assert rebuilt(store, diff_id) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255), st.integers(0, 10_000))
def test_a_damaged_recipe_is_no_recipe(store: Store, place: int, value: int, length: int) -> None:
    archive = packed(("a", FILE, b"first"), ("a", FILE, b"x" * 5000), ("b", FILE, random.Random(4).randbytes(2000)))
    diff_id = stored(store, archive)
    recipe = recipe_of(store, diff_id)
    sound = recipe.read_bytes()
    damaged = bytearray(sound[: max(1, length % (2 * len(sound)))])
    damaged[place % len(damaged)] = value
    recipe.write_bytes(damaged)
    try:
        *_, anew = [way(lambda piece: None) for way in ways_to_archive(store, diff_id)]
        assert anew
    finally:
        recipe.write_bytes(sound)
    assert rebuilt(store, diff_id) == archive


def test_nothing_of_a_recipe_is_left_when_a_layer_fails(store: Store) -> None:
    with pytest.raises(LayerInvalidError):
        stored(store, packed(("a", FILE, b"x"), ("../b", FILE, b"x")))
    assert list(store.recipes.iterdir()) == []
    assert list(store.temporary.iterdir()) == []


_names = st.lists(st.sampled_from(["a", "b", "c", ".wh.a", "ü", "n" * 101]), min_size=1, max_size=3).map("/".join)
_contents = st.one_of(st.binary(max_size=3), st.integers(1, 1 << 17).map(lambda size: b"z" * size))
_members = st.one_of(
    st.tuples(_names, st.just(FILE), _contents),
    st.tuples(_names, st.sampled_from([LINK, SYMLINK]), _names),
    st.tuples(_names, st.sampled_from([DIRECTORY, tarfile.FIFOTYPE]), st.just(b"")),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(
    st.lists(_members, max_size=12),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    st.binary(max_size=2000),
    st.integers(1, 5000),
)
def test_whatever_is_taken_is_given_again(
    store: Store, members: Iterable[tuple[str, bytes, bytes | str]], form: int, end: bytes, piece: int
) -> None:
    archive = packed(*members, form=form) + end
    try:
        diff_id = stored(store, archive, piece)
    except LayerInvalidError:
        return
    assert diff_id == digests.of(archive)
    assert rebuilt(store, diff_id) == archive
