"""``Container.file``: what a path is, for tests that assert it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pytest_pycontainer import Container, Engine, FileStatus
from pytest_pycontainer.engine.file_status import FileMode
from pytest_pycontainer.errors import ContainerFileError, ContainerNotFoundError

PATIENCE = 60.0
STATES = ("running", "exited")
MAKE = """
mkdir -p /work/dir; printf 'naïve\\n' > /work/file; mkfifo /work/fifo
ln -s file /work/link; ln -s /work /work/dir/abs; ln -s no /work/no-link; ln -s loop /work/loop
chown nobody:mail /work/file; chmod 4750 /work/file; chown 1234:5678 /work/fifo
printf '\\377' > /work/bytes; touch -d '2001-02-03 04:05:06 UTC' /work/bytes; echo ready
"""


@pytest.fixture(params=STATES, scope="module")
def container(request: pytest.FixtureRequest, engine: Engine) -> Iterator[Container]:
    rest = "exec sleep 1000" if request.param == "running" else ""
    with engine.run("host", ["sh", "-c", MAKE + rest]) as made:
        next(made.follow(PATIENCE))
        if request.param == "exited":
            made.wait(PATIENCE)
        yield made


def test_a_file(container: Container) -> None:
    file = container.file("/work/file")
    assert (file.exists, file.is_file, file.is_dir, file.is_link) == (True, True, False, False)
    assert (file.kind, file.mode, file.size) == ("file", 0o4750, 7)
    assert (file.owner, file.group, file.uid, file.gid) == ("nobody", "mail", 65534, 8)
    assert (file.text, file.bytes) == ("naïve\n", "naïve\n".encode())
    assert container.file("work/../work/file").text == "naïve\n"
    old = container.file("/work/bytes")
    assert (old.modified, old.bytes, old.text) == (datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC), b"\xff", "�")


def test_other_kinds(container: Container) -> None:
    assert container.file("/").is_dir
    assert container.file("/work/dir").kind == "directory"
    fifo = container.file("/work/fifo")
    assert (fifo.kind, fifo.owner, fifo.group) == ("fifo", "1234", "5678")
    if container.status == "running":
        assert container.file("/dev/null").kind == "character device"
    for path in ("/work/dir", "/work/fifo"):
        with pytest.raises(ContainerFileError, match="no regular file"):
            _ = container.file(path).bytes


def test_links_are_followed_and_told(container: Container) -> None:
    link = container.file("/work/link")
    assert (link.link_target, link.is_link, link.kind, link.size) == ("file", True, "file", 7)
    assert container.file("/work/dir/abs").link_target == "/work"
    assert container.file("/work/dir/abs/link").link_target == "file"
    assert container.file("/work/dir/abs/link").text == "naïve\n"


def test_nothing_is_no_error(container: Container) -> None:
    for path in ("/missing", "/missing/below", "/work/file/below"):
        assert container.file(path) == FileStatus(path, False)
        assert not container.file(path)
    assert container.file("/work/no-link") == FileStatus("/work/no-link", False, link_target="no")
    assert container.file("/work/loop") == FileStatus("/work/loop", False, link_target="loop")
    with pytest.raises(ContainerFileError, match="/missing"):
        _ = container.file("/missing").text


def test_no_link_leads_out(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of this machine")
    made = f"mkdir -p /x; ln -s {tmp_path}/secret /x/out; ln -s ../../../../../..{tmp_path}/secret /x/up; echo ready; "
    with engine.run("host", ["sh", "-c", made + "exec sleep 1000"]) as c:
        next(c.follow(PATIENCE))
        for path in ("/x/out", "/x/up", f"{tmp_path}/secret"):
            assert not c.file(path).exists


def test_it_is_a_value(container: Container) -> None:
    one = container.file("/work/file")
    assert one == container.file("/work/file")
    assert one != container.file("/work/bytes")
    assert "mode=0o4750, owner='nobody'" in repr(one)
    assert f"{FileMode(0o644)} {FileMode(0)!r}" == "0o644 0o000"


def test_what_is_no_path(container: Container) -> None:
    for wrong in ("", "a\0b"):
        with pytest.raises(ContainerFileError, match="no file can have the name"):
            container.file(wrong)


def test_one_that_waits_for_its_start(engine: Engine) -> None:
    with engine.create("host", "true") as c:
        c.write("/etc/made", "text", mode=0o600, owner=(0, 8))
        file = c.file("/etc/made")
        assert (file.text, file.mode, file.owner, file.group) == ("text", 0o600, "root", "mail")
    with pytest.raises(ContainerNotFoundError):
        c.file("/etc/made")


def test_with_users_of_its_own(engine: Engine) -> None:
    with engine.run("host", ["sh", "-c", "touch /a; chown nobody /a; echo; exec sleep 1000"], userns="auto") as c:
        next(c.follow(PATIENCE))
        assert (c.file("/a").owner, c.file("/a").uid, c.file("/a").group) == ("nobody", 65534, "root")
        c.kill()
        c.wait(PATIENCE)
        assert (c.file("/a").owner, c.file("/a").uid, c.file("/a").group) == ("nobody", 65534, "root")


def test_an_image_without_users(engine: Engine) -> None:
    with engine.create(engine.build({"Dockerfile": "FROM scratch\nCOPY f /f\n", "f": "x"}), "x") as c:
        assert (c.file("/f").owner, c.file("/f").group) == ("0", "0")
        assert re.search("owner='0'", repr(c.file("/f")))
