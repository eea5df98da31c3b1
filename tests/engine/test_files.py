"""Files of containers, read, written and copied from outside."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from pytest_pycontainer import Container, Engine
from pytest_pycontainer.errors import ContainerFileError, ContainerNotFoundError

STATES = ("created", "running", "exited")
MAKE = "mkdir -p /work/dir; echo content > /work/file; ln -s /etc/passwd /work/out; ln -s file /work/link"


@pytest.fixture(params=STATES)
def container(request: pytest.FixtureRequest, engine: Engine, tmp_path: Path) -> Iterator[Container]:
    """One in each state, with a bind mount, a volume of its own, and a tmpfs."""
    (tmp_path / "bound").mkdir()
    script = (
        f"{MAKE}; echo in the volume > /data/file; echo ready; {'sleep 1000' if request.param == 'running' else ''}"
    )
    with engine.create(
        "host", ["sh", "-c", script], volumes=[f"{tmp_path}/bound:/bound", "/data"], tmpfs=["/scratch"]
    ) as made:
        if request.param != "created":
            made.start()
            next(made.follow(30))
        if request.param == "exited":
            made.wait(30)
        assert made.status == request.param
        yield made


def test_what_is_written_is_read(container: Container) -> None:
    container.write("/etc/made", "text", mode=0o600, owner=(12, 34))
    container.write("relative", b"\0bytes")
    assert container.read("/etc/made") == b"text"
    assert container.read("/relative") == b"\0bytes"
    container.write("/etc/made", "shorter")
    assert container.read("etc/../etc/made") == b"shorter"
    if container.status == "running":
        assert container.exec(["stat", "-c", "%a %u", "/etc/made"]).stdout == "644 0\n"
    if container.status != "created":
        assert container.read("/work/link") == b"content\n"
        assert container.read("/data/file") == b"in the volume\n"


def test_what_is_written_before_the_start_is_there(engine: Engine) -> None:
    with engine.create("host", ["sh", "-c", "cat /etc/greeting; stat -c ' %a %u %g' /etc/greeting"]) as container:
        container.write("/etc/greeting", "hello", mode=0o640, owner=(5, 6))
        container.start()
        assert container.wait(30) == 0
        assert container.logs() == "hello 640 5 6\n"


def test_mounts_are_seen(container: Container, tmp_path: Path) -> None:
    container.write("/bound/file", "out")
    assert (tmp_path / "bound/file").read_text() == "out"
    container.write("/data/new", "volume")
    assert not (container.upper / "data/new").exists()
    container.write("/etc/hostname", "renamed\n")
    assert container.read("/etc/hostname") == b"renamed\n"
    assert (container.upper.parent / "hostname").read_text() == "renamed\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with what a copy has to get right."""
    top = tmp_path / "tree"
    (top / "sub").mkdir(parents=True, mode=0o750)
    (top / "file").write_text("file")
    os.chown(top / "file", 7, 8)
    (top / "file").chmod(0o4755)
    (top / "hard").hardlink_to(top / "file")
    (top / "sub/deep").write_text("deep")
    (top / "sub/out").symlink_to("/etc/passwd")
    (top / "empty").mkdir()
    return top


def listing(top: Path) -> dict[str, object]:
    return {
        str(path.relative_to(top)): str(path.readlink())
        if path.is_symlink()
        else (stat.S_IMODE(path.stat().st_mode), path.is_dir() or path.read_text())
        for path in sorted(top.rglob("*"))
    }


def test_a_directory_goes_in_and_comes_out_the_same(container: Container, tree: Path, tmp_path: Path) -> None:
    container.copy_to(tree, "/srv/new")
    container.copy_from("/srv/new", tmp_path / "back")
    expected = listing(tree)
    for name in ("file", "hard"):
        expected[name] = (0o755, "file")  # no set-uid program comes out of a container
    assert listing(tmp_path / "back") == expected
    back = tmp_path / "back/file"
    assert (back.stat().st_uid, back.stat().st_nlink) == (os.geteuid(), 2)
    assert back.stat().st_mtime_ns == (tree / "file").stat().st_mtime_ns
    with tarfile.open(fileobj=archive_of(container, "/srv/new/file")) as archive:
        (member,) = archive
    assert (member.uid, member.gid, member.mode) == (0, 0, 0o4755)


def archive_of(container: Container, path: str) -> io.BytesIO:
    archive = io.BytesIO()
    container.get_archive(path, archive)
    archive.seek(0)
    return archive


def test_where_a_copy_goes_is_as_docker_cp_has_it(container: Container, tree: Path, tmp_path: Path) -> None:
    container.copy_to(tree, "/srv")
    assert container.read("/srv/tree/sub/deep") == b"deep"
    container.copy_to(f"{tree}/.", "/srv")
    assert container.read("/srv/sub/deep") == b"deep"
    container.copy_to(tree / "file", "/srv/sub")
    assert container.read("/srv/sub/file") == b"file"
    container.copy_to(tree / "file", "/srv/renamed")
    assert container.read("/srv/renamed") == b"file"
    container.copy_to(tree / "sub/deep", "/srv/renamed")
    assert container.read("/srv/renamed") == b"deep"
    with pytest.raises(ContainerFileError, match="no such directory"):
        container.copy_to(tree / "file", "/srv/missing/")
    with pytest.raises(ContainerFileError, match="No such file"):
        container.copy_to(tree / "file", "/srv/missing/file")
    with pytest.raises(ContainerFileError, match="is no directory"):
        container.copy_to(tree, "/srv/renamed")
    with pytest.raises(ContainerFileError, match="No such file"):
        container.copy_to(tmp_path / "nothing", "/srv")
    with pytest.raises(ContainerFileError, match="No such file"):
        container.copy_from("/nothing", tmp_path)
    container.copy_from("/srv/sub/.", tmp_path / "tree")
    assert (tmp_path / "tree/deep").read_text() == "deep"


def test_an_archive_goes_in_and_comes_out(container: Container) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        directory = tarfile.TarInfo("top")
        directory.type, directory.mode, directory.uid = tarfile.DIRTYPE, 0o2710, 3
        tar.addfile(directory)
        file = tarfile.TarInfo("top/unnamed/file")
        file.size, file.mode, file.uid, file.gid = 4, 0o4711, 1, 2
        tar.addfile(file, io.BytesIO(b"data"))
        for kind, name, target in ((tarfile.SYMTYPE, "link", "/etc"), (tarfile.LNKTYPE, "hard", "top/unnamed/file")):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, target
            tar.addfile(link)
        through = tarfile.TarInfo("link/through")
        tar.addfile(through)
    content.seek(0)
    container.put_archive("/srv", content)
    assert container.read("/srv/hard") == b"data"
    assert container.read("/etc/through") == b""
    assert not Path("/etc/through").exists()
    with tarfile.open(fileobj=archive_of(container, "/srv/top")) as tar:
        found = {member.name: (member.mode, member.uid, member.gid) for member in tar}
    assert found["top"] == (0o2710, 3, 0)
    assert found["top/unnamed/file"] == (0o4711, 1, 2)


def test_an_archive_does_not_lead_out(container: Container) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../escaped"))
    content.seek(0)
    with pytest.raises(ContainerFileError, match="leads out"):
        container.put_archive("/srv", content)
    with pytest.raises(ContainerFileError, match="extract into /srv"):
        container.put_archive("/srv", io.BytesIO(b"no archive"))


def test_links_never_lead_out_of_the_container(engine: Engine, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("this machine's")
    script = f"mkdir -p /work; ln -s {secret} /work/file; ln -s {tmp_path} /work/dir; ln -s /proc/1/root /work/magic"
    with engine.run("host", ["sh", "-c", f"{script}; echo ready; exec sleep 1000"]) as container:
        next(container.follow(30))
        for path in ("/work/file", "/work/dir/secret", "/work/magic/etc/passwd", "../../../.." + str(secret)):
            with pytest.raises(ContainerFileError):
                container.read(path)
        with pytest.raises(ContainerFileError):
            container.write("/work/dir/new", "x")
        container.copy_from("/work/file", tmp_path / "copy")
        assert (tmp_path / "copy").is_symlink()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "secret"]


def test_a_container_that_swaps_links_meanwhile_gets_nothing_out(engine: Engine, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("this machine's")
    swapping = (
        f"mkdir -p /w/a /w/real; echo mine > /w/real/file; ln -s {outside} /w/bad; echo ready;"
        "while :; do mv -T /w/a /w/t; mv -T /w/bad /w/a; mv -T /w/a /w/bad; mv -T /w/t /w/a; done"
    )
    with engine.run("host", ["sh", "-c", swapping]) as container:
        next(container.follow(30))

        for number in range(200):
            with suppress(ContainerFileError):
                container.write("/w/a/file", "theirs")
            with suppress(ContainerFileError):
                container.copy_from("/w/a", tmp_path / f"copy{number}")
    assert (outside / "file").read_text() == "this machine's"
    assert [path.name for path in outside.iterdir()] == ["file"]
    copies = [path for path in tmp_path.glob("copy*") if not path.is_symlink()]
    assert all((path / "file").read_text() == "theirs" for path in copies if (path / "file").exists())


def test_a_link_that_was_copied_out_is_not_followed_by_the_next_copy(engine: Engine, tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    with engine.run("host", ["sh", "-c", f"ln -s {outside} /thing; echo ready; exec sleep 1000"]) as container:
        next(container.follow(30))
        container.copy_from("/thing", inside)
        container.exec(["sh", "-c", "rm /thing; mkdir /thing; echo theirs > /thing/file"])
        with pytest.raises(ContainerFileError, match="no directory"):
            container.copy_from("/thing", inside)
    assert not any(outside.iterdir())


def test_what_is_no_file_is_not_waited_for(engine: Engine, tmp_path: Path) -> None:
    with engine.run("host", ["sh", "-c", "mkfifo /fifo; echo ready; exec sleep 1000"]) as container:
        next(container.follow(30))
        for path in ("/fifo", "/dev/zero", "/etc"):
            with pytest.raises(ContainerFileError, match="no regular file"):
                container.read(path)
        container.copy_from("/fifo", tmp_path / "nothing")
        assert not (tmp_path / "nothing").exists()
        assert b"PATH=" in container.read("/proc/1/environ")
        with pytest.raises(ContainerFileError):
            container.write("/proc/new", "x")


@pytest.mark.parametrize("path", ["", "a\0b", "\ud800"])
def test_a_path_that_no_file_can_have(container: Container, tmp_path: Path, path: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: container.read(path),
        lambda: container.write(path, b""),
        lambda: container.copy_to(path, "/srv/copied"),
        lambda: container.copy_to("/etc/hostname", path),
        lambda: container.copy_from(path, tmp_path),
        lambda: container.copy_from("/etc/hostname", path),
        lambda: container.get_archive(path, io.BytesIO()),
        lambda: container.put_archive(path, io.BytesIO()),
    ]
    for call in calls:
        with pytest.raises(ContainerFileError, match="no file can have the name"):
            call()


def test_a_removed_container_has_no_files(engine: Engine) -> None:
    with engine.create("host", ["true"]) as container:
        pass
    with pytest.raises(ContainerNotFoundError):
        container.read("/etc/passwd")


def test_what_is_left_is_read_and_written_by_several_engines_at_once(engine: Engine) -> None:
    with engine.run("host", ["true"]) as c, Engine(engine.settings) as another:
        assert c.wait(timeout=30) == 0
        handles = [c, another.find(c.id)] * 2

        def use(number: int) -> bytes:
            for _ in range(15):
                handles[number].write(f"/srv/{number}", str(number))
            return handles[number].read(f"/srv/{number}")

        with ThreadPoolExecutor(len(handles)) as threads:
            assert list(threads.map(use, range(len(handles)))) == [b"0", b"1", b"2", b"3"]
        c.start()
        assert c.wait(timeout=30) == 0


def test_several_threads_copy_at_once(container: Container) -> None:
    def write(number: int) -> None:
        container.write(f"/srv/{number}", str(number))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [container.read(f"/srv/{number}") for number in range(8)] == [str(number).encode() for number in range(8)]
