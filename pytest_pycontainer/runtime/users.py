"""Users and groups read as text from the container's own files.

Never through NSS: a library loaded from a container's root would run with our privileges (CVE-2019-14271). The files
are the container's to write, so that reading stops at a size limit (CVE-2024-9676).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from pytest_pycontainer.runtime.failure import StepFailed
from pytest_pycontainer.runtime.messages import Failed
from pytest_pycontainer.runtime.values import dataclass

_FILE_BYTES_AT_MOST = 4 * 1024 * 1024
_USERS = "/etc/passwd"
_GROUPS = "/etc/group"
_HIGHEST_ID = 2**31 - 1
_DIGITS_AT_MOST = 11


@dataclass(frozen=True, slots=True)
class User:
    """Whom a process runs as: ids, supplementary groups, and the home directory."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def look_up(text: str, users: str = _USERS, groups: str = _GROUPS) -> User:
    """The user that Dockerfile's USER text stands for: ``name``, ``uid``, ``name:group`` or ``uid:gid``; "" is root.

    A number need not be in the files: it then has group 0, no other groups and the home ``/``. Raises StepFailed for a
    name that they do not hold.
    """
    user_text, _, group_text = text.partition(":")
    uid, gid, home, name = 0, 0, "/", ""
    for fields in _records(users, 7, ids=(2, 3)):
        if fields[0] == user_text or fields[2] == (user_text or "0"):
            name, uid, gid, home = fields[0], int(fields[2]), int(fields[3]), fields[5] or "/"
            break
    else:
        if user_text:
            uid = _number(user_text, "user", users)
    if group_text:
        return User(uid, _group_id(group_text, groups), (), home)
    if not name:
        return User(uid, gid, (), home)
    of_name = (fields for fields in _records(groups, 4, ids=(2,), having=name) if name in fields[3].split(","))
    return User(uid, gid, tuple(int(fields[2]) for fields in of_name), home)


def look_up_groups(texts: Iterable[str], groups: str = _GROUPS) -> tuple[int, ...]:
    """The groups of these names or numbers; numbers need not be in the file. Raises StepFailed for an unknown name."""
    return tuple(_group_id(text, groups) for text in texts)


def user_names(users: str = _USERS) -> dict[int, str]:
    """The names in the file, by number; the first of several for one."""
    return {int(fields[2]): fields[0] for fields in reversed(list(_records(users, 7, ids=(2, 3))))}


def group_names(groups: str = _GROUPS) -> dict[int, str]:
    """The names in the file, by number; the first of several for one."""
    return {int(fields[2]): fields[0] for fields in reversed(list(_records(groups, 4, ids=(2,))))}


def _group_id(text: str, groups: str) -> int:
    for fields in _records(groups, 4, ids=(2,)):
        if text in (fields[0], fields[2]):
            return int(fields[2])
    return _number(text, "group", groups)


def _number(text: str, what: str, path: str) -> int:
    if not _is_id(text):
        raise StepFailed(Failed(f"find {what} {text!r}", 0, f"no such {what} in the image's {path}"))
    return int(text)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and int(text[:_DIGITS_AT_MOST]) <= _HIGHEST_ID


def _records(path: str, width: int, ids: tuple[int, ...], having: str = "") -> Iterator[list[str]]:
    """The lines of ``width`` colon-separated fields, of which those at ``ids`` are numbers; others are passed over.

    So are those without the text ``having``.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return  # an image without the file has no names, only numbers
    try:
        content = os.read(descriptor, _FILE_BYTES_AT_MOST)
    except OSError:
        content = b""  # nor has one in which it is no file
    finally:
        os.close(descriptor)
    for line in content.decode(errors="replace").splitlines():
        fields = line.split(":") if having in line else []
        if len(fields) == width and all(_is_id(fields[position]) for position in ids):
            yield fields
