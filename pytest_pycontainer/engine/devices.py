"""Devices of this machine that a container may use: docker's ``--device`` and ``--device-cgroup-rule``."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_pycontainer.engine.privileges import parse_names
from pytest_pycontainer.errors import InvalidSpecError
from pytest_pycontainer.kernel.bpf import DeviceRule
from pytest_pycontainer.runtime.spec import BindMount, DeviceNode

if TYPE_CHECKING:
    from pytest_pycontainer.engine.limit_options import Texts

_RULE = re.compile(r"(?P<kind>[acb]) (?P<major>\d+|\*):(?P<minor>\d+|\*) (?P<access>[rwm]{1,3})", re.ASCII)
_KINDS = {stat.S_IFBLK: "b", stat.S_IFCHR: "c"}
_DEV = "/dev/"


@dataclass(frozen=True, slots=True)
class Devices:
    """Nodes to be made in a container's /dev, those that it shows elsewhere, and what its cgroup may use besides what
    every container may.
    """

    nodes: tuple[DeviceNode, ...] = ()
    mounts: tuple[BindMount, ...] = ()
    rules: tuple[DeviceRule, ...] = ()


def parse_devices(devices: Texts | None, rules: Texts | None) -> Devices:
    """What docker's options for devices stand for. Raises InvalidSpecError."""
    nodes: dict[str, DeviceNode] = {}
    mounts: dict[str, BindMount] = {}
    allowed: dict[DeviceRule, None] = {}
    for text in parse_names("devices", devices):
        for source, target, status, access in _found(text):
            if target.startswith(_DEV):
                nodes[target] = DeviceNode(target, status.st_mode, status.st_rdev, status.st_uid, status.st_gid)
            else:
                mounts[target] = BindMount(str(source), target)
            kind = _KINDS[stat.S_IFMT(status.st_mode)]
            allowed[DeviceRule(kind, os.major(status.st_rdev), os.minor(status.st_rdev), access)] = None
    for text in parse_names("device_cgroup_rules", rules):
        allowed[_rule(text)] = None
    return Devices(tuple(nodes.values()), tuple(mounts.values()), tuple(allowed))


def _found(text: str) -> Iterator[tuple[Path, str, os.stat_result, str]]:
    """The devices that one text stands for: each with its place in the container and the access to it."""
    source, target, access = _split(text)
    try:
        place = Path(source).resolve(strict=True)
        if place.is_dir():
            found = False
            for path in sorted(place.rglob("*")):
                status = path.lstat()
                if stat.S_IFMT(status.st_mode) in _KINDS:
                    found = True
                    yield path, f"{target}/{path.relative_to(place)}", status, access
            if found:
                return
            raise InvalidSpecError("devices", text, "a device of this machine: there is none in this directory")
        status = place.stat()
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidSpecError(
            "devices", text, f"a device of this machine, or a directory of them ({reason})"
        ) from error
    if stat.S_IFMT(status.st_mode) not in _KINDS:
        raise InvalidSpecError("devices", text, "a device of this machine, and this is none")
    yield place, target, status, access


def _split(text: str) -> tuple[str, str, str]:
    """``SOURCE[:TARGET][:ACCESS]``."""
    wanted = "SOURCE[:TARGET][:ACCESS], absolute paths, and of r, w and m each once at most"
    parts = text.split(":")
    source = target = parts[0]
    access = "rwm"
    if len(parts) == 2 and _is_access(parts[1]):
        access = parts[1]
    elif len(parts) in (2, 3):
        target, access = parts[1], parts[2] if len(parts) > 2 else access
    elif len(parts) > 3:
        raise InvalidSpecError("devices", text, wanted)
    target = os.path.normpath(target)
    if not source.startswith("/") or not target.startswith("/") or not _is_access(access) or "\0" in text:
        raise InvalidSpecError("devices", text, wanted)
    return source, target, access


def _is_access(text: str) -> bool:
    return bool(text) and len(set(text)) == len(text) and set(text) <= set("rwm")


def _rule(text: str) -> DeviceRule:
    match = _RULE.fullmatch(text)
    if match is None:
        raise InvalidSpecError("device_cgroup_rules", text, "such as 'c 10:229 rwm': a, b or c; numbers or *; r, w, m")
    if match["kind"] == "a" and (match["major"], match["minor"]) != ("*", "*"):
        raise InvalidSpecError("device_cgroup_rules", text, "'a *:* rwm' for all devices, or the letter of one kind")
    major, minor = (None if number == "*" else int(number) for number in (match["major"], match["minor"]))
    return DeviceRule(match["kind"], major, minor, match["access"])
