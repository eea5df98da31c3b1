"""Mount targets inside a root that is not to be trusted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_pycontainer.kernel import mount
from pytest_pycontainer.runtime.rootfs import open_mount_target


@pytest.fixture
def root(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    directory = tmp_path / "root"
    directory.mkdir()
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    yield directory, descriptor
    os.close(descriptor)


def opened(descriptor: int, path: str, *, directory: bool = False) -> str:
    target = open_mount_target(descriptor, path, directory=directory)
    try:
        return str(Path(f"/proc/self/fd/{target}").readlink())
    finally:
        os.close(target)


def test_makes_what_is_missing(root: tuple[Path, int]) -> None:
    directory, descriptor = root
    assert opened(descriptor, "/etc/hosts") == f"{directory}/etc/hosts"
    assert (directory / "etc/hosts").is_file()
    assert opened(descriptor, "/data/deep", directory=True) == f"{directory}/data/deep"
    assert (directory / "data/deep").is_dir()


def test_absolute_and_climbing_links_stay_inside(root: tuple[Path, int], tmp_path: Path) -> None:
    directory, descriptor = root
    (tmp_path / "victim").write_text("untouched")
    (directory / "absolute").symlink_to(tmp_path / "victim")
    (directory / "climbing").symlink_to("../../../../victim")
    (directory / "up").symlink_to("..")
    for name in ("absolute", "climbing", "up/up/made"):
        assert opened(descriptor, name).startswith(f"{directory}/")
    assert (tmp_path / "victim").read_text() == "untouched"
    assert not (tmp_path / "made").exists()


def test_a_dangling_link_gets_its_target(root: tuple[Path, int]) -> None:
    directory, descriptor = root
    (directory / "etc").mkdir()
    (directory / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    assert opened(descriptor, "/etc/resolv.conf") == f"{directory}/run/systemd/resolve/stub-resolv.conf"


def test_a_loop_ends(root: tuple[Path, int]) -> None:
    directory, descriptor = root
    (directory / "a").symlink_to("b")
    (directory / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        open_mount_target(descriptor, "a", directory=False)


def test_magic_links_are_refused() -> None:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError, match="symbolic links"):
            mount.open_in_root(root, "/proc/self/root/etc/passwd", os.O_PATH)
    finally:
        os.close(root)


_names = st.sampled_from(["a", "b", "..", ".", "/", "c/d", "/a", "../.."])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.lists(_names, min_size=1, max_size=4))), st.data())
def test_no_arrangement_of_links_leads_out(tmp_path_factory, links, data) -> None:  # type: ignore[no-untyped-def]
    top = tmp_path_factory.mktemp("any")
    directory = top / "root"
    directory.mkdir()
    for name, parts in links:
        if not os.path.lexists(directory / name):
            (directory / name).symlink_to("/".join(parts))
    path = "/".join(data.draw(st.lists(_names, min_size=1, max_size=4)))
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        place = opened(descriptor, path, directory=True)
    except OSError:
        place = str(directory)
    finally:
        os.close(descriptor)
    assert place == str(directory) or place.startswith(f"{directory}/")
    assert sorted(entry.name for entry in top.iterdir()) == ["root"]
