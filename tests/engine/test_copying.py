"""COPY and ADD carried out for real: what lands where, whose it is, and what is refused."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
import os
import random
import socket
import stat
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer.build.context import BuildContext
from pytest_pycontainer.build.copying import CopyPlan, plan_copy
from pytest_pycontainer.build.dockerfile import parse
from pytest_pycontainer.build.instructions import Add, Copy
from pytest_pycontainer.build.patterns import IgnoreRules
from pytest_pycontainer.build.stages import expand_heredoc, expand_word
from pytest_pycontainer.build.steps import Base, SourceMissing
from pytest_pycontainer.engine.remote_sources import NetworkSources
from pytest_pycontainer.engine.steps import RuntimeSteps
from pytest_pycontainer.errors import (
    CopyFailedError,
    CopySourceInvalidError,
    CopySourceNotFoundError,
    DockerfileError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_pycontainer import Engine

EPOCH = 1_000_000_000


@dataclass
class Copies:
    """Carries out one COPY or ADD on a base of the test's own; ``tree`` is what it wrote."""

    engine: Engine
    context: Path
    layer: Path
    ignore: str = ""

    def plan(self, instruction: str, *, source: Base | None = None, **variables: str) -> CopyPlan:
        parsed = parse(f"FROM scratch\n{instruction}\n", "Dockerfile")[1]
        assert isinstance(parsed, Copy | Add)
        return plan_copy(
            parsed,
            source or BuildContext(self.context, IgnoreRules.parse(self.ignore, ".dockerignore")),
            lambda word: expand_word(parsed.line, word, variables),
            lambda heredoc: expand_heredoc(heredoc, variables),
            "/work",
            temporary=self.engine._resources.store.temporary,
            remote=NetworkSources(self.engine._resources),
        )

    def run(self, instruction: str, *, source: Base | None = None, **variables: str) -> dict[str, str]:
        """The paths that are written, each with its mode, owner, and content or target."""
        plan = self.plan(instruction, source=source, **variables)
        base = Base((), host=False) if plan.link else Base((self.layer,), host=False)
        with plan.open() as step, RuntimeSteps(self.engine._resources).copy(base, step) as result:
            written = {str(path.relative_to(result.upper)): path for path in sorted(result.upper.rglob("*"))}
            self.times = {name: int(path.lstat().st_mtime) for name, path in written.items()}
            self.links = {name: path.lstat().st_nlink for name, path in written.items() if not path.is_dir()}
            return {name: describe(path) for name, path in written.items()}


def describe(path: Path) -> str:
    status = path.lstat()
    mode = f"{stat.S_IMODE(status.st_mode):o} {status.st_uid}:{status.st_gid}"
    if path.is_symlink():
        return f"-> {path.readlink()}"
    if path.is_dir():
        return f"{mode}/"
    return (
        f"{mode} {path.read_text(errors='replace')}" if path.is_file() else f"{mode} {stat.filemode(status.st_mode)[0]}"
    )


def make(directory: Path, *names: str) -> None:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_text(path.name)
            os.utime(path, (EPOCH, EPOCH))


@pytest.fixture
def copies(engine: Engine, tmp_path: Path) -> Copies:
    layer, context = tmp_path / "layer", tmp_path / "context"
    make(layer, "etc/passwd", "etc/group", "old/kept", "old/file", "place/file/", "work/")
    (layer / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\napp:x:7:8::/:/bin/sh\n")
    (layer / "etc/group").write_text("root:x:0:\nstaff:x:50:app\n")
    (layer / "alias").symlink_to("old")
    (layer / "to-file").symlink_to("/old/file")
    (layer / "outside").symlink_to("../../../../../tmp")
    make(context, "a.txt", "b.txt", "c.md", "src/main.py", "src/lib/x.py", "src/lib/x.pyc", "src/empty/")
    return Copies(engine, context, layer)


def test_a_file_goes_where_the_destination_says(copies: Copies) -> None:
    assert copies.run("COPY a.txt /new/name") == {"new": "755 0:0/", "new/name": "644 0:0 a.txt"}
    assert copies.run("COPY a.txt /new/dir/")["new/dir/a.txt"] == "644 0:0 a.txt"
    assert copies.run("COPY a.txt name")["work/name"] == "644 0:0 a.txt"
    assert copies.run("COPY a.txt .")["work/a.txt"] == "644 0:0 a.txt"
    assert copies.run("COPY a.txt /old")["old/a.txt"] == "644 0:0 a.txt"
    assert copies.run("COPY a.txt b.txt ./")["work/b.txt"] == "644 0:0 b.txt"
    assert copies.run("COPY a.txt /old/file")["old/file"] == "644 0:0 a.txt"


def test_of_a_directory_the_content_is_copied(copies: Copies) -> None:
    (copies.context / "src/lib").chmod(0o2750)
    os.utime(copies.context / "src/lib", (EPOCH, EPOCH))
    assert copies.run("COPY src /x") == {
        "x": "755 0:0/",
        "x/empty": "755 0:0/",
        "x/lib": "2750 0:0/",
        "x/lib/x.py": "644 0:0 x.py",
        "x/lib/x.pyc": "644 0:0 x.pyc",
        "x/main.py": "644 0:0 main.py",
    }
    # What is put into a directory afterwards does not change its time.
    assert (copies.times["x/lib"], copies.times["x/lib/x.py"]) == (EPOCH, EPOCH)
    assert set(copies.run("COPY src /old")) >= {"old", "old/main.py", "old/lib/x.py"}


def test_links_in_the_destination_are_followed_inside_the_root(copies: Copies) -> None:
    assert copies.run("COPY a.txt /alias/")["old/a.txt"] == "644 0:0 a.txt"
    assert copies.run("COPY a.txt /to-file")["old/file"] == "644 0:0 a.txt"
    assert copies.run("COPY a.txt /outside/pycontainer-escape")["tmp/pycontainer-escape"] == "644 0:0 a.txt"
    assert not Path("/tmp/pycontainer-escape").exists()


def test_below_the_destination_a_link_is_no_directory(copies: Copies) -> None:
    make(copies.context, "tree/alias/x")
    with pytest.raises(CopyFailedError, match="/alias is there and is no directory"):
        copies.run("COPY tree /")
    make(copies.context, "files/to-file")
    assert copies.run("COPY files /") == {"to-file": "644 0:0 to-file"}


def test_files_and_directories_do_not_take_each_others_place(copies: Copies) -> None:
    make(copies.context, "tree/file/x", "other/place")
    with pytest.raises(CopyFailedError, match="/old/file is there and is no directory"):
        copies.run("COPY tree /old")
    with pytest.raises(CopyFailedError, match="/old/file is there and is no directory"):
        copies.run("COPY src /old/file")
    with pytest.raises(CopyFailedError, match="/place is a directory, and stays one"):
        copies.run("COPY other /")
    with pytest.raises(CopyFailedError, match="/old/file is there and is no directory"):
        copies.run("COPY a.txt /old/file/")


def test_a_link_is_followed_where_it_is_named_and_copied_where_it_is_not(copies: Copies) -> None:
    (copies.context / "src/link").symlink_to("main.py")
    (copies.context / "dir").symlink_to("src/lib")
    assert copies.run("COPY src/link /x/")["x/link"] == "644 0:0 main.py"
    assert copies.run("COPY src /x")["x/link"] == "-> main.py"
    assert set(copies.run("COPY dir /x")) == {"x", "x/x.py", "x/x.pyc"}


def test_links_between_files_are_kept(copies: Copies) -> None:
    os.link(copies.context / "src/main.py", copies.context / "src/lib/same.py")
    copies.run("COPY src /x")
    assert (copies.links["x/main.py"], copies.links["x/lib/same.py"], copies.links["x/lib/x.py"]) == (2, 2, 1)


@pytest.mark.parametrize(
    ("owner", "wanted"),
    [("app", "7:8"), ("app:staff", "7:50"), ("7", "7:7"), ("1234", "1234:1234"), ("5:6", "5:6"), ("$who", "7:8")],
)
def test_chown(copies: Copies, owner: str, wanted: str) -> None:
    written = copies.run(f"COPY --chown={owner} src /new/", who="app")
    assert {line.split()[1].rstrip("/") for line in written.values()} == {wanted}


def test_chown_of_nobody_in_the_image(copies: Copies) -> None:
    with pytest.raises(CopyFailedError, match="cannot find user 'nobody': no such user in the image's /etc/passwd"):
        copies.run("COPY --chown=nobody a.txt /")


def test_chmod(copies: Copies) -> None:
    (copies.context / "src/main.py").chmod(0o700)
    assert copies.run("COPY --chmod=4711 a.txt /")["a.txt"] == "4711 0:0 a.txt"
    written = copies.run("COPY --chmod=u=rwX,go=rX src /x")
    assert (written["x/lib"], written["x/main.py"][:3], written["x/lib/x.py"][:3]) == ("755 0:0/", "755", "644")
    with pytest.raises(DockerfileError, match=r"Dockerfile:2:14: u\+y is no mode"):
        copies.plan("COPY --chmod=u+y a.txt /")


def test_patterns(copies: Copies) -> None:
    assert set(copies.run("COPY *.txt /x/")) == {"x", "x/a.txt", "x/b.txt"}
    assert set(copies.run("COPY a.txt none* /x/")) == {"x", "x/a.txt"}
    assert set(copies.run("COPY s*/m[a-z]in.?y /x/")) == {"x", "x/main.py"}
    assert copies.run("COPY none* *.none /x/") == {}
    assert copies.run("ADD none* /x") == {}
    with pytest.raises(DockerfileError, match="must end with /"):
        copies.run("COPY *.txt /x")


def test_excludes(copies: Copies) -> None:
    assert set(copies.run("COPY --exclude=**/*.pyc --exclude=empty src /x")) == {
        *("x", "x/lib", "x/lib/x.py", "x/main.py"),
    }
    assert set(copies.run("COPY --exclude=b.* *.txt /x/")) == {"x", "x/a.txt"}
    assert set(copies.run("COPY --exclude=lib --exclude=!lib/x.py src /x")) == {
        *("x", "x/empty", "x/lib", "x/lib/x.py", "x/main.py"),
    }
    assert copies.run("COPY --exclude=a.txt a.txt /x/") == {"x": "755 0:0/"}
    assert copies.run("COPY --exclude=a.txt a.txt /x") == {}
    with pytest.raises(DockerfileError, match=r"2:16: \[: this \[ has no \]"):
        copies.plan("COPY --exclude=[ . /x")


def test_parents(copies: Copies) -> None:
    assert set(copies.run("COPY --parents src/lib/x.py a.txt /x/")) == {
        *("x", "x/a.txt", "x/src", "x/src/lib", "x/src/lib/x.py"),
    }
    assert set(copies.run("COPY --parents src/./lib/*.py /x/")) == {"x", "x/lib", "x/lib/x.py"}
    assert set(copies.run("COPY --parents **/*.py /x/")) == {
        *("x", "x/src", "x/src/lib", "x/src/lib/x.py", "x/src/main.py"),
    }
    assert set(copies.run("COPY --parents --exclude=**/*.pyc src/lib /x/")) == {
        "x",
        "x/src",
        "x/src/lib",
        "x/src/lib/x.py",
    }
    with pytest.raises(CopySourceNotFoundError, match="src/none does not exist"):
        copies.run("COPY --parents src/none /x/")


@pytest.mark.parametrize("flags", ["", "--parents", "--exclude=**/*.pyc", "--parents --exclude=*.txt"])
@pytest.mark.parametrize("source", ["src", "src/lib/x.py", "*.txt", "src/*", "s*/lib", "src/./lib", "."])
def test_a_stage_is_read_as_the_context_is(copies: Copies, flags: str, source: str) -> None:
    stage = Base((copies.context,), host=False)
    assert copies.run(f"COPY {flags} --from=x {source} /x/", source=stage) == copies.run(f"COPY {flags} {source} /x/")


def test_what_a_stage_does_not_have(copies: Copies) -> None:
    stage = Base((copies.context,), host=False)
    for flags in ("", "--parents"):
        with pytest.raises(SourceMissing, match="/src/none is not in that stage"):
            copies.run(f"COPY {flags} --from=x /src/none /x/", source=stage)
    assert copies.run("COPY --from=x none* /x/", source=stage) == {}


def test_a_stages_files_keep_owners_and_attributes(copies: Copies, tmp_path: Path) -> None:
    stage = tmp_path / "stage"
    make(stage, "d/owned", "d/sub/")
    os.chown(stage / "d/owned", 3, 4)
    (stage / "d/owned").chmod(0o6755)
    (stage / "link").symlink_to("/d/owned")
    (stage / "out").symlink_to("/etc/hostname")
    base = Base((stage,), host=False)
    written = copies.run("COPY --from=x d /x", source=base)
    assert written["x/owned"] == "6755 3:4 owned"
    assert copies.run("COPY --from=x --chown=5 d /x", source=base)["x/owned"] == "6755 5:5 owned"
    assert copies.run("COPY --from=x link /x/", source=base)["x/link"] == "6755 3:4 owned"
    with pytest.raises(SourceMissing):
        copies.run("COPY --from=x out /x/", source=base)


def test_link_lies_on_nothing(copies: Copies) -> None:
    plan = copies.plan("COPY --link a.txt /alias/x")
    assert plan.link
    assert copies.run("COPY --link a.txt /alias/x") == {"alias": "755 0:0/", "alias/x": "644 0:0 a.txt"}
    assert copies.run("COPY --link --chown=7:8 a.txt /y")["y"] == "644 7:8 a.txt"
    with pytest.raises(CopyFailedError, match="no such user"):
        copies.run("COPY --link --chown=app a.txt /y")


def test_here_documents(copies: Copies) -> None:
    assert copies.run("COPY <<EOF /x\nhello $who\nEOF", who="you")["x"] == "644 0:0 hello you\n"
    assert copies.run("COPY <<'EOF' /x\nhello $who\nEOF", who="you")["x"] == "644 0:0 hello $who\n"
    written = copies.run("COPY --chmod=755 --chown=7:8 <<one <<two a.txt /x/\n1\none\n2\ntwo")
    assert (written["x/one"], written["x/two"], written["x/a.txt"]) == ("755 7:8 1\n", "755 7:8 2\n", "755 7:8 a.txt")
    with pytest.raises(DockerfileError, match=r"Dockerfile:3:12: "):
        copies.plan("COPY <<EOF /x\nhello ${who\nEOF")


def test_sockets_are_left_out_and_pipes_are_not(copies: Copies) -> None:
    directory = copies.context / "special"
    directory.mkdir()
    os.mkfifo(directory / "pipe", 0o640)
    listening = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    try:
        os.chdir(directory)  # a socket's path is limited to 108 bytes
        listening.bind("socket")
    finally:
        os.chdir(here)
        listening.close()
    assert copies.run("COPY special /x") == {"x": "755 0:0/", "x/pipe": "640 0:0 p"}
    with pytest.raises(CopySourceNotFoundError, match="special/socket is a socket"):
        copies.run("COPY special/socket /x")
    stage = Base((copies.context,), host=False)
    assert copies.run("COPY --from=x special /x", source=stage) == {"x": "755 0:0/", "x/pipe": "640 0:0 p"}
    with pytest.raises(CopyFailedError, match="it is a socket"):
        copies.run("COPY --from=x special/socket /x", source=stage)


def test_attributes_of_files_are_kept(copies: Copies) -> None:
    os.setxattr(copies.context / "a.txt", "user.note", b"kept")
    plan = copies.plan("COPY a.txt /x")
    with plan.open() as step, RuntimeSteps(copies.engine._resources).copy(Base((), host=False), step) as result:
        assert os.getxattr(result.upper / "x", "user.note") == b"kept"


def test_large_files_arrive_whole(copies: Copies) -> None:
    content = os.urandom(1 << 20) * 3 + b"end"
    (copies.context / "large").write_bytes(content)
    plan = copies.plan("COPY large /x")
    with plan.open() as step, RuntimeSteps(copies.engine._resources).copy(Base((), host=False), step) as result:
        assert (result.upper / "x").read_bytes() == content


# Archives


def archive(*entries: tuple[str, str | None], uid: int = 3, mode: int = 0o640) -> bytes:
    """A tar archive of files (name, content) and directories (content None)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.uid, info.gid, info.mtime, info.mode = uid, 4, EPOCH, mode
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o750
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO((content or "").encode()))
    return out.getvalue()


def zstd(data: bytes) -> bytes:
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    compressed: bytes = importlib.import_module(name).compress(data)
    return compressed


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress, zstd])
def test_add_unpacks_archives(copies: Copies, compress: Callable[[bytes], bytes]) -> None:
    (copies.context / "a.tar").write_bytes(compress(archive(("d", None), ("d/f", "in it"))))
    assert copies.run("ADD a.tar /x/") == {"x": "755 0:0/", "x/d": "750 3:4/", "x/d/f": "640 3:4 in it"}
    assert (copies.times["x/d"], copies.times["x/d/f"]) == (EPOCH, EPOCH)
    assert copies.run("ADD --chown=7:8 --chmod=777 a.tar /x")["x/d/f"] == "640 7:8 in it"
    assert set(copies.run("COPY a.tar b.txt /x/")) == {"x", "x/a.tar", "x/b.txt"}
    assert set(copies.run("ADD --unpack=false a.tar /x/")) == {"x", "x/a.tar"}
    assert set(copies.run("ADD a.tar b.txt src /x/")) >= {"x", "x/d", "x/b.txt", "x/main.py"}
    assert set(copies.run("ADD --exclude=d/f a.tar /x/")) == {"x", "x/d"}


def test_an_archives_entries_take_the_place_of_what_is_there(copies: Copies) -> None:
    (copies.context / "a.tar").write_bytes(archive(("alias", None), ("alias/f", "1"), ("place/file", "2")))
    written = copies.run("ADD a.tar /")
    assert (written["alias"], written["alias/f"], written["place/file"]) == ("750 3:4/", "640 3:4 1", "640 3:4 2")


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x1f\x8b no gzip", gzip.compress(b"no archive", mtime=0), bytes(10240)]
)
def test_what_is_no_archive_is_copied(copies: Copies, content: bytes) -> None:
    (copies.context / "a.tar").write_bytes(content)
    plan = copies.plan("ADD a.tar /x")
    with plan.open() as step, RuntimeSteps(copies.engine._resources).copy(Base((), host=False), step) as result:
        assert (result.upper / "x").read_bytes() == content


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (archive(("../../etc/x", "x")), "leads out"),
        (archive(("f", "x" * 2000))[:1024], "ends in the middle of it"),
        (archive((".wh.f", "")), "its name is that of a deletion"),
        (
            gzip.compress(archive(("f", random.Random(1).randbytes(20_000).hex())), mtime=0)[:9_000],
            "gzip data ends too early",
        ),
    ],
)
def test_a_hostile_or_damaged_archive(copies: Copies, data: bytes, problem: str) -> None:
    (copies.context / "a.tar").write_bytes(data)
    with pytest.raises(CopySourceInvalidError, match=rf"Dockerfile:2:5: this archive can't be unpacked: .*{problem}"):
        copies.run("ADD a.tar /x")


# Keys


def test_the_key_covers_whatever_changes_the_layer(copies: Copies) -> None:
    (copies.context / "a.tar").write_bytes(archive(("f", "x")))
    instructions = [
        *("COPY a.txt /x", "COPY b.txt /x", "COPY a.txt /y", "COPY a.txt /x/", "COPY --chmod=600 a.txt /x"),
        *("COPY --chown=7 a.txt /x", "COPY a.txt b.txt /x/", "COPY src /x", "COPY --exclude=lib src /x"),
        *("COPY --parents src /x", "ADD a.txt /x", "ADD a.tar /x", "ADD --unpack=false a.tar /x"),
        *("COPY <<a.txt /x\na.txt", "COPY <<a.txt /x\nb\na.txt"),
    ]
    keys = [copies.plan(instruction).key for instruction in instructions]
    assert len(set(keys)) == len(keys)
    assert keys == [copies.plan(instruction).key for instruction in instructions]
    stage = Base((copies.layer,), host=False)
    staged = [
        copies.plan(f"COPY {flags} --from=x {source} /x/", source=stage).key
        for flags in ("", "--parents", "--exclude=*.x")
        for source in ("/etc", "/etc/*", "/etc/passw?", "/./etc")
    ]
    assert len(set(staged)) == len(staged) - 3  # /./etc is /etc


def test_how_docker_shows_what_is_read(copies: Copies) -> None:
    kinds = {
        "a.txt /": "file",
        "src /": "dir",
        "a.txt b.txt /": "multi",
        "*.txt /": "multi",
    }
    for arguments, kind in kinds.items():
        assert copies.plan(f"COPY {arguments}").digest.startswith(f"{kind}:")


# The content of stages


@pytest.mark.parametrize("change", ["content", "mode", "owner", "name", "target", "attribute", "new", "kind"])
def test_a_stages_digest_changes_with_what_is_copied(copies: Copies, tmp_path: Path, change: str) -> None:
    stage = tmp_path / "stage"
    make(stage, "d/f", "d/sub/g")
    link = stage / "d/link"
    link.symlink_to("f")
    steps = RuntimeSteps(copies.engine._resources)

    def digest() -> str:
        plan = copies.plan("COPY --from=x d /x", source=Base((stage,), host=False))
        return plan.key_by_content(steps.digest)[-1]

    before = digest()
    os.utime(stage / "d/f", (1, 1))
    assert digest() == before
    match change:
        case "content":
            (stage / "d/f").write_text("F")
        case "mode":
            (stage / "d/f").chmod(0o600)
        case "owner":
            os.chown(stage / "d/sub/g", 5, 5)
        case "name":
            (stage / "d/f").rename(stage / "d/h")
        case "target":
            link.unlink()
            link.symlink_to("sub")
        case "attribute":
            os.setxattr(stage / "d/f", "user.note", b"x")
        case "new":
            (stage / "d/new").mkdir()
        case "kind":
            link.unlink()
            link.write_text("f")
    assert digest() != before


def test_a_stages_digest_covers_what_is_copied_alone(copies: Copies, tmp_path: Path) -> None:
    stage = tmp_path / "stage"
    make(stage, "d/f", "d/x.pyc", "other/file", "p/q/r")
    steps = RuntimeSteps(copies.engine._resources)

    def digests() -> list[str]:
        instructions = ("--exclude=*.pyc --from=x d", "--from=x d/f", "--from=x d/[f]", "--parents --from=x p/q")
        plans = [copies.plan(f"COPY {i} /x/", source=Base((stage,), host=False)) for i in instructions]
        return [plan.key_by_content(steps.digest)[-1] for plan in plans]

    before = digests()
    (stage / "other/file").write_text("changed")
    (stage / "d/x.pyc").write_text("changed")
    (stage / "p/new").write_text("new")
    assert digests() == before
    with pytest.raises(CopySourceNotFoundError, match=r"Dockerfile:2:15: /none is not in that stage"):
        copies.plan("COPY --from=x /none /x", source=Base((stage,), host=False)).key_by_content(steps.digest)
