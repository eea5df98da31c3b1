"""Users read as text from a container's own files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.runtime.failure import StepFailed
from pytest_pycontainer.runtime.users import User, look_up

PASSWD = """root:x:0:0:root:/root:/bin/sh
# a comment, then lines that are no records
short:x:1
redis:x:101:102::/var/lib/redis:/usr/sbin/nologin
bad:x:one:two::/:/bin/sh
huge:x:99999999999999999999:1::/:/bin/sh
homeless:x:103:103:::/bin/sh
"""
GROUP = """root:x:0:
redis:x:102:
tls:x:110:other,redis
video:x:44:redis
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "passwd").write_text(PASSWD)
    (tmp_path / "group").write_text(GROUP)
    return str(tmp_path / "passwd"), str(tmp_path / "group")


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("", User(0, 0, (), "/root")),
        ("root", User(0, 0, (), "/root")),
        ("redis", User(101, 102, (110, 44), "/var/lib/redis")),
        ("101", User(101, 102, (110, 44), "/var/lib/redis")),
        ("redis:tls", User(101, 110, (), "/var/lib/redis")),
        ("redis:7", User(101, 7, (), "/var/lib/redis")),
        ("4000", User(4000, 0, (), "/")),
        ("4000:4001", User(4000, 4001, (), "/")),
        ("homeless", User(103, 103, (), "/")),
    ],
)
def test_reads_as_dockers_user_does(files: tuple[str, str], text: str, user: User) -> None:
    assert look_up(text, *files) == user


@pytest.mark.parametrize("text", ["nobody-here", "redis:nobody-here", "bad", "huge", "99999999999999999999", "٣"])
def test_what_is_not_there_is_named(files: tuple[str, str], text: str) -> None:
    with pytest.raises(StepFailed) as raised:
        look_up(text, *files)
    assert repr(text.rpartition(":")[2]) in raised.value.failed.step


def test_an_image_without_the_files_has_numbers_only(tmp_path: Path) -> None:
    missing = str(tmp_path / "none")
    assert look_up("", missing, missing) == User(0, 0, (), "/")
    assert look_up("5:6", missing, missing) == User(5, 6, (), "/")
    with pytest.raises(StepFailed):
        look_up("redis", missing, missing)


def test_a_directory_or_an_endless_file_in_their_place_does_no_harm(tmp_path: Path) -> None:
    endless = tmp_path / "passwd"
    endless.symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "fifo")
    for path in (endless, tmp_path, tmp_path / "fifo"):
        assert look_up("7", str(path), str(path)) == User(7, 0, (), "/")


@given(st.binary(max_size=400))
def test_any_content_is_survived(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.mktemp("users") / "passwd"
    file.write_bytes(content)
    user = look_up("12345", str(file), str(file))
    assert user.uid == 12345 or content
