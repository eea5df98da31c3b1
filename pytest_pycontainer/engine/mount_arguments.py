"""From docker's words for volumes, bind mounts and tmpfs to the mounts of a container."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias, cast

from pytest_pycontainer.engine.arguments import BOOLEANS, parse_bytes
from pytest_pycontainer.engine.container_mounts import VolumeUse, WantedMount
from pytest_pycontainer.engine.volumes import Volume
from pytest_pycontainer.errors import InvalidSpecError
from pytest_pycontainer.kernel import mount
from pytest_pycontainer.runtime.spec import BindMount, TmpfsMount

VolumeSource: TypeAlias = str | os.PathLike[str] | Volume


class VolumeTargets(Protocol):
    """A mapping of sources to targets, whatever kinds of sources it has: a Mapping's keys are invariant."""

    def items(self) -> Iterable[tuple[VolumeSource, str]]:
        """Each source with its target."""
        ...


# With an Iterable in place of the Sequence, a dict's literal could be either, and type checkers would not look.
VolumeArguments: TypeAlias = Mapping[VolumeSource, str] | VolumeTargets | Sequence[str]
"""Sources with their targets in the container, or docker's texts for ``-v``: ``[SOURCE:]TARGET[:OPTION,…]``."""

TmpfsArguments: TypeAlias = Mapping[str, str] | Iterable[str]
"""Targets with docker's options (``size=64m,mode=1777``), or its texts for ``--tmpfs``: ``TARGET[:OPTION,…]``."""

_VOLUME_WANTED = "[SOURCE:]TARGET[:OPTION,…], TARGET absolute"
_TMPFS_FLAGS = {"exec": mount.NOEXEC, "suid": mount.NOSUID, "dev": mount.NODEV}
_WITHOUT_MEANING = {"rw", "z", "Z", "private", "rprivate", "consistent", "cached", "delegated"}


def parse_mounts(
    volumes: VolumeArguments | None,
    tmpfs: TmpfsArguments | None,
    mounts: Iterable[str] | None,
    image_volumes: Iterable[str],
) -> tuple[WantedMount, ...]:
    """The mounts of a container.

    An image's volumes are those of the container unless something else is mounted there. Raises InvalidSpecError for
    text that is no mount, a source that is not there, a target that is not absolute, and two mounts on one target.
    """
    wanted = [*_parse_volumes(volumes), *_parse_all_tmpfs(tmpfs), *map(_parse_mount, _texts("mounts", mounts))]
    at: dict[str, WantedMount] = {}
    for one in wanted:
        if one.target in at:
            both = f"{_describe(at[one.target])} and {_describe(one)}"
            raise InvalidSpecError("volumes", both, f"one mount at {one.target}")
        at[one.target] = one
    for path in image_volumes:
        target = posixpath.normpath(posixpath.join("/", path))
        if target != "/":
            at.setdefault(target, VolumeUse(target))
    return tuple(at.values())


def _describe(one: WantedMount) -> str:
    match one:
        case BindMount():
            return one.source
        case VolumeUse():
            return f"volume {one.name}" if one.name else "a new volume"
        case TmpfsMount():
            return "a tmpfs"


def _texts(field: str, given: Iterable[str] | None) -> Iterable[str]:
    texts = (given,) if isinstance(given, str) else () if given is None else given
    if not isinstance(texts, Iterable):
        raise InvalidSpecError(field, repr(given), "a sequence of texts")
    for text in texts:
        if not isinstance(text, str) or "\0" in text:
            raise InvalidSpecError(field, repr(text), "a text without NUL characters")
        yield text


def _parse_volumes(volumes: VolumeArguments | None) -> Iterable[WantedMount]:
    if isinstance(volumes, Mapping):
        for source, text in volumes.items():
            (target,) = _texts("volumes", "" if text is None else text)
            path, _, options = target.partition(":")
            yield _parse_volume(source, path, options, f"{source}:{target}")
        return
    for text in _texts("volumes", cast("Sequence[str] | None", volumes)):
        parts = text.split(":")
        if len(parts) == 1:
            yield VolumeUse(_target("volumes", text, text))
        elif len(parts) <= len(("source", "target", "options")) and parts[0]:
            yield _parse_volume(parts[0], parts[1], ",".join(parts[2:]), text)
        else:
            raise InvalidSpecError("volumes", text, _VOLUME_WANTED)


def _parse_volume(source: VolumeSource, path: str, options: str, text: str) -> WantedMount:
    read_only = receives = False
    copies = True
    for option in filter(None, options.split(",")):
        if option == "ro":
            read_only = True
        elif option in ("slave", "rslave"):
            receives = True
        elif option == "nocopy":
            copies = False
        elif option in ("shared", "rshared"):
            raise InvalidSpecError(
                "volumes", text, "rprivate or rslave: what a container mounts is never this machine's"
            )
        elif option not in _WITHOUT_MEANING:
            raise InvalidSpecError("volumes", text, "the options ro, rw, nocopy, rprivate, rslave, z, Z")
    target = _target("volumes", path, text)
    if isinstance(source, Volume):
        return VolumeUse(target, source.name, read_only, copies, may_make=False)
    if isinstance(source, os.PathLike) or source.startswith(("/", ".")):
        return BindMount(_bind_source("volumes", source, text), target, read_only, receives)
    if receives:
        raise InvalidSpecError("volumes", text, "rslave with a path only, not with a volume")
    return VolumeUse(target, source, read_only, copies)


def _bind_source(field: str, source: str | os.PathLike[str], text: str) -> str:
    path = Path(source).absolute()
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        # Docker's -v makes a directory, which hides what a test has misspelt; its --mount refuses too.
        raise InvalidSpecError(field, text, f"a source that is there; nothing is at {path}, make it first") from None
    except OSError as error:
        raise InvalidSpecError(field, text, f"a source that can be reached ({error.strerror})") from None
    return str(path)


def _target(field: str, path: str, text: str) -> str:
    target = "/" + posixpath.normpath(path).lstrip("/") if path.startswith("/") else ""
    if not target or target == "/":
        raise InvalidSpecError(field, text, "an absolute path in the container, other than /, as the target")
    return target


def _parse_all_tmpfs(tmpfs: TmpfsArguments | None) -> Iterable[TmpfsMount]:
    if isinstance(tmpfs, Mapping):
        given = list(tmpfs.items())
    else:
        given = [(path, options) for path, _, options in (text.partition(":") for text in _texts("tmpfs", tmpfs))]
    for path, options in given:
        text = f"{path}:{options}"
        if not (isinstance(path, str) and isinstance(options, str)) or "\0" in text:
            raise InvalidSpecError("tmpfs", text, "a path, and texts for the options")
        yield _parse_tmpfs("tmpfs", path, options, text)


def _parse_tmpfs(field: str, path: str, options: str, text: str) -> TmpfsMount:
    size, mode, read_only = None, 0o1777, False
    flags = mount.NOSUID | mount.NODEV | mount.NOEXEC
    further: list[str] = []
    for option in filter(None, options.split(",")):
        name, equals, value = option.partition("=")
        if name == "size":
            size = parse_bytes(f"{field} size", value)
        elif name == "mode" and value and not value.strip("01234567"):
            mode = int(value, 8) & 0o7777
        elif name in ("uid", "gid", "nr_inodes") and value.isdecimal():
            further.append(option)
        elif option in ("ro", "rw"):
            read_only = option == "ro"
        elif not equals and name.removeprefix("no") in _TMPFS_FLAGS:
            flag = _TMPFS_FLAGS[name.removeprefix("no")]
            flags = flags | flag if name.startswith("no") else flags & ~flag
        else:
            raise InvalidSpecError(field, text, "size=, mode= (octal), uid=, gid=, nr_inodes=, ro, exec, suid, dev")
    return TmpfsMount(_target(field, path, text), size, mode, read_only, flags, tuple(further))


_SAME = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_KNOWN = {
    "bind": {"bind-propagation", "bind-recursive", "consistency"},
    "volume": {"volume-nocopy"},
    "tmpfs": {"tmpfs-size", "tmpfs-mode"},
}


def _parse_mount(text: str) -> WantedMount:
    """Docker's ``--mount``: ``type=bind,source=/here,target=/there,readonly``."""
    fields: dict[str, str] = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        name = _SAME.get(name.lower(), name.lower())
        if name in fields:
            raise InvalidSpecError("mounts", text, f"{name} once")
        fields[name] = value
    kind = fields.pop("type", "volume")
    if kind not in _KNOWN:
        raise InvalidSpecError("mounts", text, "type=bind, type=volume or type=tmpfs")
    if unknown := fields.keys() - _KNOWN[kind] - {"source", "target", "readonly"}:
        wanted = ", ".join(sorted({"source", "target", "readonly"} | _KNOWN[kind]))
        raise InvalidSpecError("mounts", text, f"of a {kind} only {wanted}; not {', '.join(sorted(unknown))}")
    source, target = fields.get("source", ""), fields.get("target", "")
    read_only = _flag(fields, "readonly", text)
    if kind == "tmpfs":
        size = f"size={fields['tmpfs-size']}," if "tmpfs-size" in fields else ""
        mode = f"mode={fields['tmpfs-mode']}," if "tmpfs-mode" in fields else ""
        if source:
            raise InvalidSpecError("mounts", text, "no source for a tmpfs")
        return _parse_tmpfs("mounts", target, f"{size}{mode}{'ro' if read_only else 'rw'}", text)
    if kind == "bind":
        if not source:
            raise InvalidSpecError("mounts", text, "source=, a path of this machine")
        options = fields.get("bind-propagation", "rprivate")
        bound = _parse_volume(Path(source), target, options, text)
        assert isinstance(bound, BindMount)
        return BindMount(bound.source, bound.target, read_only, bound.receives)
    if source.startswith(("/", ".")):
        raise InvalidSpecError("mounts", text, "type=bind for a path, or the name of a volume")
    return VolumeUse(_target("mounts", target, text), source, read_only, not _flag(fields, "volume-nocopy", text))


def _flag(fields: Mapping[str, str], name: str, text: str) -> bool:
    value = fields[name].lower() if name in fields else "false"
    if value not in BOOLEANS:
        raise InvalidSpecError("mounts", text, f"{name}, or {name}=true or false")
    return BOOLEANS[value]
