"""Reading the files that say how to build: Dockerfiles and .dockerignores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_pycontainer.errors import DockerfileError, DockerfileNotFoundError, StoreError
from pytest_pycontainer.store.files import storing

if TYPE_CHECKING:
    from pathlib import Path


def read_text(path: Path) -> str:
    """The file's text. Raises DockerfileNotFoundError, DockerfileError where it is not UTF-8, and StoreError."""
    try:
        with storing("read", path):
            content = path.read_bytes()
    except StoreError:
        if path.is_file():
            raise
        raise DockerfileNotFoundError(str(path)) from None
    return decode(content, str(path))


def decode(content: bytes, name: str) -> str:
    """The text of a file that errors call ``name``. Raises DockerfileError where it is not UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError as problem:
        number = content.count(b"\n", 0, problem.start)
        column = problem.start - content.rfind(b"\n", 0, problem.start)
        text = content.split(b"\n")[number].decode(errors="replace")
        raise DockerfileError(name, number + 1, column, text, "this is not UTF-8") from None
