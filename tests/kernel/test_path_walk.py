"""Paths resolved inside a root: our way, and the kernel's in one go, which is the oracle."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pytest_pycontainer.kernel.mount import open_in_root
from pytest_pycontainer.kernel.path_walk import walk_in_root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    top = tmp_path_factory.mktemp("root")
    (top / "a/b/c").mkdir(parents=True)
    (top / "a/file").write_text("inside")
    (top.parent / "outside").write_text("outside")
    for name, target in {
        "absolute": "/a/b", "relative": "a/b", "up": "../../../../a", "a/back": "..", "a/b/far": "/absolute/../file",
        "out": "../outside", "loop": "/loop", "dangling": "/none", "a/b/file": "../file", "top": "/",
    }.items():  # fmt: skip
        (top / name).symlink_to(target)
    descriptor = os.open(top, os.O_PATH)
    yield descriptor
    os.close(descriptor)


NAMES = (
    "a",
    "b",
    "c",
    "file",
    "absolute",
    "relative",
    "up",
    "back",
    "far",
    "out",
    "loop",
    "dangling",
    "top",
    "..",
    ".",
    "",
)
FLAGS = (os.O_PATH, os.O_RDONLY, os.O_PATH | os.O_DIRECTORY, os.O_PATH | os.O_NOFOLLOW, os.O_RDONLY | os.O_DIRECTORY)


def opened(how: object, root: int, path: str, flags: int, follow: bool) -> object:
    try:
        descriptor = how(root, path, flags, follow=follow)  # type: ignore[operator]
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    try:
        status = os.fstat(descriptor)
        assert not os.get_inheritable(descriptor)
        return status.st_dev, status.st_ino
    finally:
        os.close(descriptor)


@given(some.lists(some.sampled_from(NAMES), min_size=1, max_size=6), some.sampled_from(FLAGS), some.booleans())
def test_it_comes_to_the_same_as_the_kernel(root: int, names: list[str], flags: int, follow: bool) -> None:
    path = "/".join(names).rstrip("/") or "/"
    assert opened(walk_in_root, root, path, flags, follow) == opened(open_in_root, root, path, flags, follow), path


def test_magic_links_lead_nowhere_outside() -> None:
    root = os.open("/proc", os.O_PATH)
    try:
        for path in ("self/root/etc/passwd", "self/cwd", "self/exe"):
            with pytest.raises(FileNotFoundError):
                walk_in_root(root, path, os.O_PATH)
    finally:
        os.close(root)


def test_what_is_read_is_read(root: int) -> None:
    with os.fdopen(walk_in_root(root, "absolute/far", os.O_RDONLY)) as file:
        assert file.read() == "inside"
    assert Path("/proc/self/fd", str(root)).exists()
