from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer.image.digest import is_digest
from pytest_pycontainer.store.host import host_identity

if TYPE_CHECKING:
    from pathlib import Path


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


@pytest.mark.parametrize(
    "path",
    [
        "etc/os-release",
        "var/lib/dpkg/status",
        "lib/apk/db/installed",
        "var/lib/rpm/rpmdb.sqlite",
        "usr/lib/sysimage/rpm/rpmdb.sqlite",
        "var/lib/pacman/local/redis-7.2-1",
        "var/lib/dpkg/status.d/base",
    ],
)
def test_changes_with_the_release_and_each_package_database(tmp_path: Path, path: str) -> None:
    empty = host_identity(tmp_path)
    write(tmp_path, path, "one")
    one = host_identity(tmp_path)
    write(tmp_path, path, "another")
    another = host_identity(tmp_path)
    assert len({empty, one, another}) == 3
    assert host_identity(tmp_path) == another


def test_reading_a_database_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, "var/lib/rpm/rpmdb.sqlite", "x")
    before = host_identity(tmp_path)
    write(tmp_path, "var/lib/rpm/rpmdb.sqlite-shm", "x")
    write(tmp_path, "var/lib/rpm/.rpm.lock", "x")
    assert host_identity(tmp_path) == before


def test_other_files_do_not_count(tmp_path: Path) -> None:
    write(tmp_path, "var/lib/dpkg/status", "x")
    before = host_identity(tmp_path)
    write(tmp_path, "etc/motd", "x")
    os.utime(tmp_path / "var/lib/dpkg/status", (1, 1))
    assert host_identity(tmp_path) == before


def test_this_machine_has_one() -> None:
    assert is_digest(host_identity())
    assert host_identity() == host_identity()
