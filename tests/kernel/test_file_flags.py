"""What file systems are told of directories."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pytest_pycontainer.kernel.file_flags import keep_subdirectories_apart


def test_ext4_is_told_once_and_others_are_left_alone(tmp_path: Path) -> None:
    for _ in range(2):
        keep_subdirectories_apart(tmp_path)
    if _print("stat", "-f", "-c", "%T", tmp_path) == "ext2/ext3":  # as stat calls ext4 too
        assert "T" in _print("lsattr", "-d", tmp_path).split()[0]
    keep_subdirectories_apart("/proc")


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        keep_subdirectories_apart(tmp_path / "file")


def _print(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
