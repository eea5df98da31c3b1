"""What init made in an upper directory is told from what the container made, by what is on disk alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_pycontainer.runtime.mount_points import record_mount_points, remove_mount_points

LONG_AGO = (1_000_000_000_000_000_000, 1_000_000_000_000_000_000)


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    """As init leaves it: places for mounts, in a directory of the image's that overlayfs has copied."""
    upper = tmp_path / "container/upper"
    for directory in ("proc", "etc", "run/secrets"):
        (upper / directory).mkdir(parents=True)
    for file in ("etc/hosts", "run/secrets/token"):
        (upper / file).touch()
    (upper / "etc/mtab").symlink_to("/proc/mounts")
    os.utime(upper / "etc", ns=LONG_AGO)
    return upper


def left(upper: Path) -> list[str]:
    return sorted(str(path.relative_to(upper)) for path in upper.rglob("*"))


def test_what_nobody_touched_goes(upper: Path) -> None:
    record_mount_points(str(upper))
    remove_mount_points(upper)
    assert left(upper) == []
    assert left(upper.parent) == ["upper"]


def test_nothing_is_noted_of_an_empty_directory(tmp_path: Path) -> None:
    (tmp_path / "upper").mkdir()
    record_mount_points(str(tmp_path / "upper"))
    assert left(tmp_path) == ["upper"]
    remove_mount_points(tmp_path / "upper")


def test_what_came_later_stays_and_so_does_its_directory(upper: Path) -> None:
    record_mount_points(str(upper))
    (upper / "etc/made").touch()
    os.utime(upper / "etc", ns=LONG_AGO)
    (upper / "run/secrets").chmod(0o700)
    (upper / "proc").rmdir()
    (upper / "proc").mkdir()
    remove_mount_points(upper)
    assert left(upper) == ["etc", "etc/made", "proc", "run", "run/secrets"]
    assert (upper / "etc").stat().st_mtime_ns == LONG_AGO[1]


def test_a_link_in_the_way_is_not_followed(upper: Path, tmp_path: Path) -> None:
    record_mount_points(str(upper))
    (upper / "run").rename(tmp_path / "run")
    (upper / "run").symlink_to(tmp_path / "run")
    (upper / "proc").rmdir()
    (upper / "proc").symlink_to("etc")
    remove_mount_points(upper)
    assert left(upper) == ["proc", "run"]
    assert (tmp_path / "run/secrets/token").exists()


def test_a_file_in_a_directorys_place(upper: Path) -> None:
    record_mount_points(str(upper))
    (upper / "run/secrets/token").unlink()
    (upper / "run/secrets").rmdir()
    (upper / "run/secrets").touch()
    remove_mount_points(upper)
    assert left(upper) == ["run", "run/secrets"]
