"""What is in an archive as ``docker save`` writes it: the file system that the layers come to, and the config.

Written for the comparison alone, with the standard library, so that it is wrong in no way that the package is.
"""

from __future__ import annotations

import hashlib
import json
import stat
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tests.differential.case import OLD

_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "link",
    tarfile.FIFOTYPE: "fifo",
    tarfile.CHRTYPE: "character device",
    tarfile.BLKTYPE: "block device",
}
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_SETTINGS = (
    "User",
    "Env",
    "Entrypoint",
    "Cmd",
    "WorkingDir",
    "ExposedPorts",
    "Volumes",
    "Labels",
    "StopSignal",
    "Shell",
    "Healthcheck",
    "OnBuild",
)


@dataclass(frozen=True, slots=True)
class Node:
    """One path of a file system. ``old`` tells a time that came from a context from one that the build made."""

    kind: str
    mode: str
    owner: str
    content: str = ""
    target: str = ""
    size: int = 0
    device: tuple[int, int] | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    old: bool = False

    def differences(self, other: Node) -> list[str]:
        """What this one is, and the other is not."""
        named = zip(self.__slots__, zip(_values(self), _values(other), strict=True), strict=True)
        return [f"{name} {mine!r}, not {theirs!r}" for name, (mine, theirs) in named if mine != theirs]


@dataclass(frozen=True, slots=True)
class SavedImage:
    """The one image of an archive."""

    files: dict[str, Node]
    contents: dict[str, bytes]
    config: dict[str, Any]
    layers: int


def read(archive: Path) -> SavedImage:
    """Raises what reading and parsing raise, and KeyError for an archive that lacks something."""
    with tarfile.open(archive) as tar:
        (manifest,) = json.loads(_member(tar, "manifest.json"))
        document = json.loads(_member(tar, manifest["Config"]))
        root = _Root()
        for layer in manifest["Layers"]:
            opened = tar.extractfile(_resolved(tar, layer))
            assert opened is not None
            with tarfile.open(fileobj=opened, mode="r:*") as layer_tar:
                root.apply(layer_tar)
        layers = len(document["rootfs"]["diff_ids"] or ())
        assert layers == len(manifest["Layers"])
    return SavedImage(root.nodes, root.contents, _config(document), layers)


def _config(document: dict[str, Any]) -> dict[str, Any]:
    settings = document.get("config") or {}
    # Empty and absent mean the same; the order of ENV is not compared beyond what a process sees of it.
    config = {name: settings[name] for name in _SETTINGS if settings.get(name)}
    for name in ("author", "architecture", "os", "variant"):
        if document.get(name):
            config[name] = document[name]
    return config


class _Root:
    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.contents: dict[str, bytes] = {}

    def apply(self, layer: tarfile.TarFile) -> None:
        written: set[str] = set()
        for member in layer:
            path = str(PurePosixPath("/", member.name))
            folder, name = str(PurePosixPath(path).parent), PurePosixPath(path).name
            if name == _OPAQUE:
                self._remove_below(folder, keep=written)
            elif name.startswith(_WHITEOUT):
                self._remove(str(PurePosixPath(folder, name.removeprefix(_WHITEOUT))))
            elif path != "/":
                self._put(layer, member, path)
                written.add(path)

    def _put(self, layer: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
        if member.islnk():
            target = str(PurePosixPath("/", member.linkname))
            self._remove(path)
            self.nodes[path] = self.nodes[target]
            self.contents[path] = self.contents[target]
            return
        before = self.nodes.get(path)
        if before and not (before.kind == "directory" and member.isdir()):
            self._remove(path)
        opened = layer.extractfile(member) if member.isreg() else None
        content = opened.read() if opened else b""
        self.contents[path] = content
        prefix = "SCHILY.xattr."
        attributes = tuple(
            sorted((k.removeprefix(prefix), repr(v)) for k, v in member.pax_headers.items() if k.startswith(prefix))
        )
        self.nodes[path] = Node(
            kind=_KINDS[member.type],
            mode="" if member.issym() else oct(stat.S_IMODE(member.mode)),
            owner=f"{member.uid}:{member.gid}",
            content=hashlib.sha256(content).hexdigest()[:12] if member.isreg() else "",
            target=member.linkname if member.issym() else "",
            size=len(content),
            device=(member.devmajor, member.devminor) if member.ischr() or member.isblk() else None,
            attributes=attributes,
            old=int(member.mtime) == OLD and not member.isdir(),
        )

    def _remove(self, path: str) -> None:
        self.nodes.pop(path, None)
        self.contents.pop(path, None)
        self._remove_below(path)

    def _remove_below(self, folder: str, keep: set[str] | None = None) -> None:
        prefix = folder.rstrip("/") + "/"
        for path in [path for path in self.nodes if path.startswith(prefix) and path not in (keep or ())]:
            del self.nodes[path], self.contents[path]


def differences(ours: SavedImage, theirs: SavedImage) -> list[str]:
    """Where our image is another one than theirs, in words."""
    found = []
    for path in sorted(ours.files.keys() | theirs.files.keys()):
        mine, other = ours.files.get(path), theirs.files.get(path)
        if mine is None:
            found.append(f"{path} is missing: {other}")
        elif other is None:
            found.append(f"{path} is too much: {mine}")
        elif mine != other:
            found.append(f"{path} has {'; '.join(mine.differences(other))}")
    for name in sorted(ours.config.keys() | theirs.config.keys()):
        if ours.config.get(name) != theirs.config.get(name):
            found.append(f"config: {name} is {ours.config.get(name)!r}, not {theirs.config.get(name)!r}")
    return found


def _values(node: Node) -> list[object]:
    return [getattr(node, name) for name in node.__slots__]


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    opened = tar.extractfile(_resolved(tar, name))
    assert opened is not None
    return opened.read()


def _resolved(tar: tarfile.TarFile, name: str) -> tarfile.TarInfo:
    # Docker saves a layer that two images share once, and links to it.
    member = tar.getmember(name)
    while member.issym():
        member = tar.getmember(str(_joined(PurePosixPath(member.name).parent, member.linkname)))
    return member


def _joined(folder: PurePosixPath, target: str) -> PurePosixPath:
    parts = list(folder.parts)
    for part in PurePosixPath(target).parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return PurePosixPath(*parts)
