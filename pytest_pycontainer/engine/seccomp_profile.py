"""Seccomp profiles in docker's JSON: what ``security_opt=["seccomp=…"]`` names."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from pytest_pycontainer.engine.system_call_filter import this_machine
from pytest_pycontainer.errors import InvalidSpecError
from pytest_pycontainer.runtime.seccomp import (
    PERMITTED_ARGUMENTS,
    Action,
    Comparison,
    Condition,
    Outcome,
    Profile,
    Rule,
)

_ACTIONS = {
    "SCMP_ACT_ALLOW": Action.ALLOW,
    "SCMP_ACT_ERRNO": Action.ERRNO,
    "SCMP_ACT_KILL": Action.KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": Action.KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": Action.KILL_PROCESS,
    "SCMP_ACT_LOG": Action.LOG,
    "SCMP_ACT_TRACE": Action.TRACE,
    "SCMP_ACT_TRAP": Action.TRAP,
}
_WITH_DATA = {Action.ERRNO, Action.TRACE}
_COMPARISONS: Mapping[str, Comparison] = {
    "SCMP_CMP_EQ": "==",
    "SCMP_CMP_NE": "!=",
    "SCMP_CMP_LT": "<",
    "SCMP_CMP_LE": "<=",
    "SCMP_CMP_GT": ">",
    "SCMP_CMP_GE": ">=",
    "SCMP_CMP_MASKED_EQ": "masked",
}
_INTERFACES = {
    "SCMP_ARCH_X86_64": "x86_64",
    "SCMP_ARCH_X86": "x86",
    "SCMP_ARCH_X32": "x32",
    "SCMP_ARCH_AARCH64": "aarch64",
    "SCMP_ARCH_ARM": "arm",
}
_KERNEL = re.compile(r"(\d+)\.(\d+)", re.ASCII)
_WORD = 2**64 - 1
_ERRNO_AT_MOST = 4095

_Known = TypeVar("_Known")


def read_profile(source: str) -> Profile:
    """The profile in a file, or in ``source`` itself if that begins with ``{``.

    As in docker, system calls that are unknown here are left out: a profile speaks for many kernels and machines.
    Raises InvalidSpecError, naming the place in the profile.
    """
    text, where = source, "seccomp={…}"
    if not source.lstrip().startswith("{"):
        where = f"seccomp={source}"
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            wanted = f"the path of a profile, JSON, unconfined or builtin ({getattr(error, 'strerror', None) or error})"
            raise InvalidSpecError("security_opt", where, wanted) from error
    try:
        return _profile(_Value(json.loads(text), ""))
    except json.JSONDecodeError as error:
        raise InvalidSpecError("security_opt", where, f"a profile in JSON ({error})") from error
    except _WrongError as wrong:
        raise InvalidSpecError("security_opt", where, str(wrong)) from None


class _WrongError(Exception):
    """What is wanted, and where."""


class _Value:
    """A value of the profile, and its place in it."""

    def __init__(self, value: object, place: str) -> None:
        self.value = value
        self.place = place

    def wrong(self, wanted: str) -> _WrongError:
        return _WrongError(f"{wanted} at {self.place or 'the top'}, not {json.dumps(self.value)[:60]}")

    def get(self, name: str) -> _Value:
        """A member of an object; None is what is not there."""
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        return _Value(self.value.get(name), f"{self.place}.{name}".lstrip("."))

    def __iter__(self) -> Iterator[_Value]:
        if not isinstance(self.value, list | type(None)):
            raise self.wrong("a list")
        return (_Value(value, f"{self.place}[{place}]") for place, value in enumerate(self.value or ()))

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.wrong("a text")
        return self.value

    def number(self, highest: int, default: int | None = None) -> int:
        if self.value is None and default is not None:
            return default
        if not isinstance(self.value, int) or isinstance(self.value, bool) or not 0 <= self.value <= highest:
            raise self.wrong(f"a number from 0 to {highest}")
        return self.value

    def one_of(self, known: Mapping[str, _Known]) -> _Known:
        if self.text() not in known:
            raise self.wrong(f"one of {', '.join(known)}")
        return known[self.text()]


def _profile(top: _Value) -> Profile:
    default_errno = top.get("defaultErrnoRet").number(_ERRNO_AT_MOST, errno.EPERM)
    rules = [rule for entry in top.get("syscalls") for rule in _rules(entry)]
    return Profile(
        _outcome(top.get("defaultAction"), default_errno), tuple(rules), tuple(dict.fromkeys(_interfaces(top)))
    )


def _interfaces(top: _Value) -> Iterator[str]:
    """The machine's own, and those that the profile names besides and the machine has."""
    machine = this_machine()
    own = machine.interfaces[0]
    yield own
    named = [architecture.text() for architecture in top.get("architectures")]
    for entry in top.get("archMap"):
        if _INTERFACES.get(entry.get("architecture").text()) == own:
            named += [architecture.text() for architecture in entry.get("subArchitectures")]
    for name in named:
        if _INTERFACES.get(name) in machine.interfaces:
            yield _INTERFACES[name]


def _outcome(action: _Value, data: int) -> Outcome:
    kind = action.one_of(_ACTIONS)
    return Outcome(kind, data if kind in _WITH_DATA else 0)


def _rules(entry: _Value) -> Iterator[Rule]:
    names = tuple(name.text() for name in entry.get("names"))
    if entry.get("name").value is not None:
        names = (*names, entry.get("name").text())
    outcome = _outcome(entry.get("action"), entry.get("errnoRet").number(_ERRNO_AT_MOST, errno.EPERM))
    conditions = tuple(_condition(argument) for argument in entry.get("args"))
    includes, excludes = (_Value(entry.get(name).value or {}, name) for name in ("includes", "excludes"))
    compared = [condition.argument for condition in conditions]
    # As runc has it: conditions on different arguments have to hold together, several on one are alternatives.
    alternatives = [conditions] if len(set(compared)) == len(compared) else [(each,) for each in conditions]
    for alternative in alternatives:
        yield Rule(
            names,
            outcome,
            alternative,
            _capabilities(includes),
            _capabilities(excludes),
            frozenset(name.text() for name in includes.get("arches")),
            frozenset(name.text() for name in excludes.get("arches")),
            _kernel(includes.get("minKernel")),
        )


def _capabilities(when: _Value) -> frozenset[str]:
    return frozenset(name.text().removeprefix("CAP_") for name in when.get("caps"))


def _kernel(version: _Value) -> tuple[int, int]:
    if version.value is None:
        return (0, 0)
    match = _KERNEL.fullmatch(version.text())
    if match is None:
        raise version.wrong("a kernel's version such as 4.8")
    return int(match[1]), int(match[2])


def _condition(argument: _Value) -> Condition:
    index = argument.get("index").number(PERMITTED_ARGUMENTS - 1)
    comparison = argument.get("op").one_of(_COMPARISONS)
    value, second = (argument.get(name).number(_WORD, 0) for name in ("value", "valueTwo"))
    if comparison == "masked":
        return Condition(index, comparison, second, mask=value)
    return Condition(index, comparison, value)
