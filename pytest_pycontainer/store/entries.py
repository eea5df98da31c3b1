"""What an archive's entry may say of itself to have a place in a layer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import LayerInvalidError

if TYPE_CHECKING:
    from pytest_pycontainer.store.tar import Entry

WHITEOUT = b".wh."
"""What the name of a deletion begins with (OCI image-spec, "Whiteouts")."""

_OWNER_AT_MOST = (1 << 32) - 2
_DEVICE_AT_MOST = ((1 << 12) - 1, (1 << 20) - 1)
_SECONDS_AT_MOST = 1 << 61
_SECOND = 1_000_000_000


def parts_of(name: bytes, entry: bytes) -> list[bytes]:
    """The parts of a name in an archive, none for the root; slashes around it mean nothing, as to GNU tar."""
    if not name:
        raise invalid(entry, "it has an empty name or target")
    parts = [part for part in name.strip(b"/").split(b"/") if part != b"."]
    if parts == [b""]:
        return []
    if b"" in parts:
        raise invalid(entry, "a part of its name or target is empty")
    if b".." in parts:
        raise invalid(entry, "its name or target leads out of the layer")
    if WHITEOUT in name and any(part.startswith(WHITEOUT) for part in parts[:-1]):
        raise invalid(entry, "it lies in a directory whose name is a deletion's")
    return parts


def check_numbers(entry: Entry) -> None:
    """Refuses numbers that the kernel would refuse, or take for something else: an owner of -1 means no change."""
    if not (0 <= entry.uid <= _OWNER_AT_MOST and 0 <= entry.gid <= _OWNER_AT_MOST):
        raise invalid(entry.name, f"its owner is {entry.uid}:{entry.gid}")
    if not all(0 <= number <= most for number, most in zip(entry.device, _DEVICE_AT_MOST, strict=True)):
        raise invalid(entry.name, f"its device is {entry.device}")
    if abs(entry.mtime) > _SECONDS_AT_MOST * _SECOND:
        raise invalid(entry.name, "its time is out of all bounds")


def shown(name: bytes) -> str:
    """A name as errors have it."""
    return f"{os.fsdecode(name)!r:.200}"


def invalid(name: bytes, reason: str) -> LayerInvalidError:
    """The error of the entry called ``name``."""
    return LayerInvalidError(name.decode(errors="backslashreplace"), reason)
