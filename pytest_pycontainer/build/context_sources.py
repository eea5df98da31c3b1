"""Where a context and a Dockerfile come from: a directory, an archive, memory, nothing; each becomes a directory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, BinaryIO

from pytest_pycontainer.build.text_file import decode, read_text
from pytest_pycontainer.errors import (
    CompressionUnavailableError,
    ContextInvalidError,
    InvalidSpecError,
    LayerInvalidError,
)
from pytest_pycontainer.store.files import storing, unfinished_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

ContextSource = str | os.PathLike[str] | BinaryIO | Mapping[str, str | bytes] | None
"""A directory; a tar archive's path, or a binary stream of one, plain or compressed; texts and bytes under the names of
files; or nothing."""

DockerfileSource = str | os.PathLike[str] | IO[str] | IO[bytes]
"""A path, relative to the context; the text itself, if it has more than one line; or a file, open for reading."""

_FILE_MODE = 0o644
_DIRECTORY_MODE = 0o755


@dataclass(frozen=True, slots=True)
class DockerfileText:
    """A Dockerfile's text, and how errors call it. ``path`` is its file, beside which its .dockerignore may lie."""

    text: str
    name: str
    path: Path | None


@contextmanager
def open_context(source: ContextSource, temporary: Path) -> Iterator[Path]:
    """The directory that is built in: the caller's own, or one in ``temporary``, which is the store's, until the end.

    A stream is read to its end and left open. Raises ContextInvalidError, InvalidSpecError for what is none of these,
    and StoreError.
    """
    if isinstance(source, str | os.PathLike) and Path(source).is_dir():
        yield Path(source)
        return
    with storing("make a build context in", temporary), unfinished_directory(temporary) as directory:
        # Not what tempfile gives its own: what is copied from it is to be as from any other directory.
        directory.chmod(_DIRECTORY_MODE)
        if source is None:
            pass
        elif isinstance(source, Mapping):
            _write_files(source, directory)
        elif isinstance(source, str | os.PathLike):
            _unpack_path(Path(source), directory)
        elif hasattr(source, "read"):
            _unpack(source, directory, str(getattr(source, "name", "the stream")))
        else:
            raise InvalidSpecError(
                "build context", repr(source), "a directory, an archive, a mapping of files, or None"
            )
        yield directory


def read_dockerfile(source: DockerfileSource, context: Path) -> DockerfileText:
    """Raises DockerfileNotFoundError, DockerfileError where it is not UTF-8, StoreError, and OSError of a stream."""
    if isinstance(source, str) and "\n" in source:
        return DockerfileText(source, "<text>", None)
    if isinstance(source, str | os.PathLike):
        path = context / source
        return DockerfileText(read_text(path), str(path), path)
    if not hasattr(source, "read"):
        raise InvalidSpecError("dockerfile", repr(source), "a path, a text of several lines, or an open file")
    name = str(getattr(source, "name", "<stream>"))
    content = source.read()
    return DockerfileText(content if isinstance(content, str) else decode(content, name), name, None)


def _unpack_path(path: Path, directory: Path) -> None:
    try:
        with path.open("rb") as file:
            _unpack(file, directory, str(path))
    except OSError as problem:
        raise ContextInvalidError(str(path), problem.strerror or str(problem)) from problem


def _unpack(file: BinaryIO, directory: Path, name: str) -> None:
    from pytest_pycontainer.store.unpacking import unpack

    try:
        unpack(directory, file)
    except LayerInvalidError as problem:
        raise ContextInvalidError(name, f"as an archive it can't be unpacked: {problem.detail}") from problem
    except CompressionUnavailableError as problem:
        raise ContextInvalidError(name, str(problem)) from problem


def _write_files(files: Mapping[str, str | bytes], directory: Path) -> None:
    for name, content in files.items():
        path = _inside(name)
        target = directory / path
        try:
            _make_parents(path, directory)
            target.write_bytes(content if isinstance(content, bytes) else content.encode())
        except (FileExistsError, IsADirectoryError, NotADirectoryError):
            raise ContextInvalidError("memory", f"{name!r} is a file, and has files in it") from None
        target.chmod(_FILE_MODE)


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name or name.endswith("/"):
        raise ContextInvalidError("memory", f"{name!r} is no name of a file relative to the context")
    return path


def _make_parents(path: PurePosixPath, directory: Path) -> None:
    for parent in reversed(path.parents[:-1]):
        if not (directory / parent).is_dir():
            (directory / parent).mkdir()
            (directory / parent).chmod(_DIRECTORY_MODE)
