"""What a comparison is made of: small Dockerfiles with their contexts, as values."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

OLD = 1_000_000_000
"""When every file of a context was last changed: whatever has this time in an image got it from there."""

Builder = Literal["legacy", "buildkit"]


@dataclass(frozen=True, slots=True)
class File:
    """A regular file; content is text, or bytes."""

    content: str | bytes = ""
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Directory:
    mode: int = 0o755
    owner: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Link:
    target: str


@dataclass(frozen=True, slots=True)
class HardLink:
    """Another name of a file of the context that comes before it."""

    target: str


@dataclass(frozen=True, slots=True)
class Fifo:
    mode: int = 0o644


Entry = str | File | Directory | Link | HardLink | Fifo
Tree = Mapping[str, Entry]
Expected = Mapping[str, str | Literal[False] | None]


@dataclass(frozen=True, slots=True)
class Case:
    """A Dockerfile, in which BASE is the base image's name, and what is known of what comes out.

    ``before`` are Dockerfiles of images, under the names by which this one knows them, built in order. ``builders`` are
    those of Docker that know all that is used. ``differs`` says why the result is meant to be another one than that of
    such a builder. ``expected``, for what Debian's Docker does not know yet, are files with their contents, directories
    (None), and paths that are absent (False). With ``fails`` no builder may get through.
    """

    name: str
    dockerfile: str
    context: Tree = field(default_factory=dict)
    before: Mapping[str, str] = field(default_factory=dict)
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    file: str = "Dockerfile"
    builders: Sequence[Builder] = ("legacy", "buildkit")
    differs: Mapping[Builder, str] = field(default_factory=dict)
    expected: Expected = field(default_factory=dict)
    fails: bool = False


def write(tree: Tree, root: Path) -> None:
    """Makes the files of ``tree`` below ``root``, all of one old time."""
    root.mkdir(parents=True, exist_ok=True)
    for name, entry in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        match entry:
            case str():
                path.write_text(entry)
                path.chmod(0o644)
            case File():
                path.write_bytes(_bytes(entry.content))
                os.chown(path, *entry.owner)
                path.chmod(entry.mode)
            case Directory():
                path.mkdir(exist_ok=True)
                os.chown(path, *entry.owner)
                path.chmod(entry.mode)
            case Link():
                path.symlink_to(entry.target)
            case HardLink():
                path.hardlink_to(root / entry.target)
            case Fifo():
                os.mkfifo(path)
                path.chmod(entry.mode)
    for directory, names, files in os.walk(root):
        for name in [*names, *files]:
            os.utime(Path(directory, name), (OLD, OLD), follow_symlinks=False)
    os.utime(root, (OLD, OLD))


def archive(tree: Tree, compression: Literal["", "gz", "bz2", "xz"] = "") -> File:
    """A tar archive of ``tree``, as a file of a context."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=f"w:{compression}", format=tarfile.GNU_FORMAT) as tar:  # type: ignore[call-overload]
        for name, entry in tree.items():
            member = tarfile.TarInfo(name)
            member.mtime = OLD
            source = tree[entry.target] if isinstance(entry, HardLink) else entry
            if isinstance(source, File | Directory):
                member.mode, (member.uid, member.gid) = source.mode, source.owner
            content = b""
            match entry:
                case str():
                    content = entry.encode()
                case File():
                    content = _bytes(entry.content)
                case Directory():
                    member.type = tarfile.DIRTYPE
                case Link():
                    member.type, member.linkname, member.mode = tarfile.SYMTYPE, entry.target, 0o777
                case HardLink():
                    member.type, member.linkname = tarfile.LNKTYPE, entry.target
                case Fifo():
                    member.type, member.mode = tarfile.FIFOTYPE, entry.mode
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return File(stream.getvalue())


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content
