"""Removing trees without following links."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_pycontainer.kernel import mount
from pytest_pycontainer.kernel.removal import remove_tree


def test_removes_all_and_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    tree = tmp_path / "tree"
    (tree / "a/b/c").mkdir(parents=True)
    (tree / "a/link").symlink_to(outside)
    (tree / "a/b/file").write_text("x")
    (tree / "a/b/closed").mkdir(mode=0)
    remove_tree(tree)
    assert not tree.exists()
    assert (outside / "kept").read_text() == "x"


def test_the_tree_itself_may_not_be_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    link = tmp_path / "link"
    link.symlink_to(outside)
    with pytest.raises(NotADirectoryError):
        remove_tree(link)
    assert (outside / "kept").exists()


def test_what_is_gone_is_no_error(tmp_path: Path) -> None:
    remove_tree(tmp_path / "never")


def test_any_depth_is_reached(tmp_path: Path) -> None:
    """Deeper than a path, the stack, or the number of open files allows."""
    tree = tmp_path / "tree"
    tree.mkdir()
    here = os.open(tree, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d" * 200, dir_fd=here)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=below))
        os.close(here)
        here = below
    os.close(here)
    remove_tree(tree)
    assert not tree.exists()


def test_names_that_it_uses_itself_may_be_taken(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(3):
        (tree / f"removed-{number}/a/b").mkdir(parents=True)
        (tree / f"x/y{number}/removed-1/z").mkdir(parents=True)
    remove_tree(tree)
    assert not tree.exists()


def test_what_is_mounted_stays_until_it_is_not(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "busy").mkdir(parents=True)
    try:
        mount.mount("pycontainer-test", str(tree / "busy"), "tmpfs")
    except PermissionError as problem:
        pytest.skip(f"cannot mount: {problem.strerror}")
    try:
        with pytest.raises(OSError, match="busy"):
            remove_tree(tree)
    finally:
        mount.detach(str(tree / "busy"))
    remove_tree(tree)
    assert not tree.exists()
    remove_tree(tree)
