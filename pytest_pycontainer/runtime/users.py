"""Users and groups read as text from the container's own files.

Never through NSS: a library loaded from a container's root would run with our privileges (CVE-2019-14271). The files are
the container's to write, so that reading stops at a size limit (CVE-2024-9676).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from pytest_pycontainer.runtime.failure import StepFailed
from pytest_pycontainer.runtime.messages import Failed

_FILE_BYTES_AT_MOST = 4 * 1024 * 1024
_HIGHEST_ID = 2**31 - 1


@dataclass(frozen=True, slots=True)
class User:
    """Whom a process runs as: ids, supplementary groups, and the home directory."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def look_up(text: str, passwd: str = "/etc/passwd", group: str = "/etc/group") -> User:
    """The user that Dockerfile's USER text stands for: ``name``, ``uid``, ``name:group`` or ``uid:gid``; "" is root.

    A number need not be in the files: it then has group 0, no other groups and the home ``/``. Raises StepFailed for a
    name that they do not hold.
    """
    user_text, _, group_text = text.partition(":")
    uid, gid, home, name = 0, 0, "/", ""
    for fields in _records(passwd, 7):
        if fields[0] == user_text or fields[2] == (user_text or "0"):
            name, uid, gid, home = fields[0], int(fields[2]), int(fields[3]), fields[5] or "/"
            break
    else:
        if user_text:
            uid = _number(user_text, "user", passwd)
    if group_text:
        return User(uid, _group_id(group_text, group), (), home)
    groups = tuple(int(fields[2]) for fields in _records(group, 4) if name and name in fields[3].split(","))
    return User(uid, gid, groups, home)


def _group_id(text: str, group: str) -> int:
    for fields in _records(group, 4):
        if text in (fields[0], fields[2]):
            return int(fields[2])
    return _number(text, "group", group)


def _number(text: str, what: str, path: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= _HIGHEST_ID):
        raise StepFailed(Failed(f"find {what} {text!r}", 0, f"no such {what} in the image's {path}"))
    return int(text)


def _records(path: str, fields: int) -> Iterator[list[str]]:
    """The well-formed lines of a file of colon-separated fields, of which the third is an id."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return  # an image without the file has no names, only numbers
    with os.fdopen(descriptor, "rb") as file:
        for line in file.read(_FILE_BYTES_AT_MOST).decode(errors="replace").splitlines():
            parts = line.split(":")
            ids = parts[2:4] if fields == 7 else parts[2:3]  # noqa: PLR2004  (passwd has seven, group four)
            if len(parts) == fields and all(part.isascii() and part.isdecimal() for part in ids):
                yield parts
