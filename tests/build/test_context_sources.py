from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_pycontainer.build.context_sources import open_context, read_dockerfile
from pytest_pycontainer.errors import ContextInvalidError, DockerfileError, DockerfileNotFoundError, InvalidSpecError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    directory = tmp_path / "temporary"
    directory.mkdir()
    return directory


def archive(*names: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name)
            tar.addfile(info, io.BytesIO(name.encode()))
    return out.getvalue()


@contextmanager
def opened(source: Any, temporary: Path) -> Iterator[dict[str, str]]:
    """The files of the context, by path."""
    with open_context(source, temporary) as directory:
        yield {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}
    assert list(temporary.iterdir()) == []


def test_a_directory_is_itself(tmp_path: Path, temporary: Path) -> None:
    for source in (tmp_path, str(tmp_path)):
        with open_context(source, temporary) as directory:
            assert directory == tmp_path
    assert tmp_path.is_dir()


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("kind", ["path", "file", "stream"])
def test_an_archive_is_unpacked(tmp_path: Path, temporary: Path, compress: Any, kind: str) -> None:
    data = compress(archive("Dockerfile", "./d/f"))
    path = tmp_path / "context.tar"
    path.write_bytes(data)
    wanted = {"Dockerfile": "Dockerfile", "d/f": "./d/f"}
    if kind == "path":
        with opened(path, temporary) as files:
            assert files == wanted
        return
    with path.open("rb") if kind == "file" else io.BytesIO(data) as stream:
        with opened(stream, temporary) as files:
            assert files == wanted
        assert not stream.closed


def test_memory_becomes_files(temporary: Path) -> None:
    umask = os.umask(0o077)
    try:
        with open_context({"a": "text", "d/e/f": b"\xff"}, temporary) as directory:
            modes = {name: stat.S_IMODE((directory / name).stat().st_mode) for name in (".", "a", "d", "d/e", "d/e/f")}
            assert modes == {".": 0o755, "a": 0o644, "d": 0o755, "d/e": 0o755, "d/e/f": 0o644}
            assert (directory / "d/e/f").read_bytes() == b"\xff"
    finally:
        os.umask(umask)


def test_nothing_is_an_empty_directory(temporary: Path) -> None:
    with opened(None, temporary) as files:
        assert files == {}


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ({"../x": ""}, "'../x' is no name of a file"),
        ({"/x": ""}, "'/x' is no name of a file"),
        ({"a/../../x": ""}, "is no name of a file"),
        ({"": ""}, "'' is no name of a file"),
        ({"x/": ""}, "'x/' is no name of a file"),
        ({"a\0b": ""}, "is no name of a file"),
        ({"a": "", "a/b": ""}, "'a/b' is a file, and has files in it"),
        ({"a/b": "", "a": ""}, "'a' is a file, and has files in it"),
        (io.BytesIO(b"no archive"), "can't be unpacked: it ends too early"),
        (io.BytesIO(archive("f" * 50)[:530]), "can't be unpacked: its entry 'ffff.*the archive ends in the middle"),
        (io.BytesIO(archive("../../x")), r"its entry '\.\./\.\./x': .* leads out"),
        ("/no/such/path", "cannot build in /no/such/path: No such file"),
    ],
)
def test_what_is_no_context(temporary: Path, source: Any, problem: str) -> None:
    with pytest.raises(ContextInvalidError, match=problem), open_context(source, temporary):
        pass
    assert list(temporary.iterdir()) == []
    assert not (temporary.parent / "x").exists()


def test_what_is_nothing_of_the_kind(temporary: Path) -> None:
    with pytest.raises(InvalidSpecError, match="a directory, an archive, a mapping of files, or None"):  # noqa: SIM117
        with open_context(3, temporary):  # type: ignore[arg-type]
            pass
    with pytest.raises(InvalidSpecError, match="a path, a text of several lines, or an open file"):
        read_dockerfile(3, temporary)  # type: ignore[arg-type]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
@given(st.dictionaries(st.text("./ab\0", max_size=6), st.just("x"), max_size=4))
def test_no_name_leads_out(temporary: Path, files: dict[str, str]) -> None:
    before = sorted(path for path in temporary.parent.rglob("*") if path != temporary)
    try:
        with open_context(files, temporary) as directory:
            assert len([path for path in directory.rglob("*") if path.is_file()]) <= len(files)
    except ContextInvalidError:
        pass
    assert sorted(path for path in temporary.parent.rglob("*") if path != temporary) == before


def test_a_dockerfile_by_path_text_or_file(tmp_path: Path) -> None:
    path = tmp_path / "Other"
    path.write_text("FROM host\n")
    for source in ("Other", Path("Other"), str(path), path):
        found = read_dockerfile(source, tmp_path)
        assert (found.text, found.name, found.path) == ("FROM host\n", str(path), path)
    found = read_dockerfile("FROM host\nRUN x", tmp_path)
    assert (found.text, found.name, found.path) == ("FROM host\nRUN x", "<text>", None)
    found = read_dockerfile(io.StringIO("FROM host"), tmp_path)
    assert (found.text, found.name, found.path) == ("FROM host", "<stream>", None)
    with path.open("rb") as file:
        found = read_dockerfile(file, tmp_path)
    assert (found.text, found.name, found.path) == ("FROM host\n", str(path), None)


def test_a_dockerfile_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DockerfileNotFoundError):
        read_dockerfile("Dockerfile", tmp_path)
    with pytest.raises(DockerfileError, match=r"<stream>:2:3: this is not UTF-8"):
        read_dockerfile(io.BytesIO(b"FROM x\nab\xff\n"), tmp_path)
