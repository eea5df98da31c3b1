"""From a seccomp profile to the program that the kernel runs at each system call (classic BPF, ``man 2 seccomp``).

The program tells the binary interface, then finds the call by binary search: a dozen steps at most, where a chain of
comparisons has hundreds. Nothing but jumps, loads and returns is used, so that the kernel (5.11 and newer) sees which
calls are always allowed and does not run the program for them at all.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from pytest_pycontainer.runtime.seccomp import Action, Condition, Machine, Outcome, Profile, Rule, rules_for
from pytest_pycontainer.runtime.syscall_numbers import syscall_numbers

INSTRUCTION: Final = struct.Struct("=HBBI")
"""struct sock_filter: operation, jump if true, jump if false, constant."""

INSTRUCTIONS_AT_MOST: Final = 4096
"""The kernel takes no longer programs (linux/bpf_common.h, BPF_MAXINSNS)."""

_LOAD = 0x20
_AND = 0x54
_JUMP = 0x05
_IF_EQUAL = 0x15
_IF_ABOVE = 0x25
_IF_AT_LEAST = 0x35
_RETURN = 0x06

# struct seccomp_data: the call's number, the interface, the instruction pointer, six arguments of 64 bits. Both
# machines are little-endian: an argument's low word comes first.
_NUMBER_OFFSET = 0
_INTERFACE_OFFSET = 4
_ARGUMENTS_OFFSET = 16
_WORD = 0xFFFFFFFF

# AUDIT_ARCH_* (linux/audit.h). x32 has x86_64's, and bit 30 in the number.
_INTERFACES = {"x86_64": 0xC000003E, "x86": 0x40000003, "aarch64": 0xC00000B7, "arm": 0x40000028}
_X32_BIT = 0x40000000
_FARTHEST_JUMP = 255
# arm's own calls lie far above the numbers that new calls get.
_HIGHEST_COMMON_NUMBER = 0xFFFF

_MISSING = Outcome(Action.ERRNO, errno.ENOSYS)
_PERMISSIVE = {Action.ALLOW, Action.LOG}

_Code = tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class _Decision:
    """What happens at a call: the first rule whose conditions all hold decides, and ``otherwise`` if none does."""

    rules: tuple[tuple[tuple[Condition, ...], Outcome], ...]
    otherwise: Outcome


def compile_profile(
    profile: Profile, machine: Machine, capabilities: Iterable[str], kernel: tuple[int, int]
) -> bytes | None:
    """The program for a container with these capabilities; None if the kernel would not take one so long.

    A call through another binary interface than the profile's kills the thread. A call newer than any that the profile
    speaks of fails with ENOSYS, not with the profile's default errno: programs then fall back on an older one.
    """
    rules = rules_for(profile, machine, capabilities, kernel)
    interfaces = machine.interfaces if profile.interfaces is None else profile.interfaces
    decisions: dict[str, dict[int, _Decision]] = {}
    for interface in interfaces:
        searched = decisions.setdefault("x86_64" if interface == "x32" else interface, {})
        searched.update(_decisions(profile.default, rules, interface))
    if "x32" in interfaces and "x86_64" not in interfaces:
        decisions["x86_64"] = {0: _Decision((), Outcome(Action.KILL_THREAD))} | decisions["x86_64"]
    elif "x86_64" in interfaces and "x32" not in interfaces:
        decisions["x86_64"][_X32_BIT] = _Decision((), Outcome(Action.KILL_THREAD))
    code = list(_load(_INTERFACE_OFFSET))
    for interface, starts in decisions.items():
        ranges = _merge(sorted(starts.items()))
        search = (*_load(_NUMBER_OFFSET), *_search(ranges))
        code += _skip_unless(_IF_EQUAL, _INTERFACES[interface], search)
    code += _return(Outcome(Action.KILL_THREAD))
    if len(code) > INSTRUCTIONS_AT_MOST:
        return None
    return b"".join(INSTRUCTION.pack(*instruction) for instruction in code)


def _decisions(default: Outcome, rules: Sequence[Rule], interface: str) -> dict[int, _Decision]:
    """Each number from which on, up to the next, the same is decided."""
    numbers = syscall_numbers(interface)
    first = _X32_BIT if interface == "x32" else 0
    named = {numbers[name]: _decide(default, rules, name) for rule in rules for name in rule.names if name in numbers}
    unnamed = _Decision((), default)
    newest = max((number for number in named if number <= _HIGHEST_COMMON_NUMBER), default=-1)
    beyond = unnamed if default.action in _PERMISSIVE else _Decision((), _MISSING)
    starts = {first: unnamed, first + newest + 1: beyond}
    for number in named:
        starts.setdefault(first + number + 1, unnamed if number < newest else beyond)
    return starts | {first + number: decision for number, decision in named.items()}


def _decide(default: Outcome, rules: Iterable[Rule], name: str) -> _Decision:
    """As libseccomp joins rules: one without conditions counts before all that have some, and otherwise the first."""
    own = [rule for rule in rules if name in rule.names]
    for rule in own:
        if not rule.conditions:
            return _Decision((), rule.outcome)
    return _Decision(tuple((rule.conditions, rule.outcome) for rule in own), default)


def _merge(starts: Iterable[tuple[int, _Decision]]) -> list[tuple[int, _Decision]]:
    """Ranges of numbers, each by its first, without those that go on as the one before."""
    return [next(group) for _, group in groupby(starts, key=lambda start: start[1])]


def _search(ranges: Sequence[tuple[int, _Decision]]) -> _Code:
    """Code that finds the range of the loaded number, and decides."""
    if len(ranges) == 1:
        return _decision(ranges[0][1])
    middle = len(ranges) // 2
    below, above = _search(ranges[:middle]), _search(ranges[middle:])
    return (*_skip_if(_IF_AT_LEAST, ranges[middle][0], len(below)), *below, *above)


def _skip_if(operation: int, constant: int, distance: int) -> _Code:
    """Jumps over so many instructions if the comparison holds; a conditional jump's reach is a byte."""
    if distance <= _FARTHEST_JUMP:
        return ((operation, distance, 0, constant),)
    return (operation, 0, 1, constant), (_JUMP, 0, 0, distance)


def _skip_unless(operation: int, constant: int, code: _Code) -> _Code:
    return (operation, 1, 0, constant), (_JUMP, 0, 0, len(code)), *code


def _decision(decision: _Decision) -> _Code:
    parts = [_rule(conditions, outcome) for conditions, outcome in decision.rules]
    return (*(instruction for part in parts for instruction in part), *_return(decision.otherwise))


def _rule(conditions: Sequence[Condition], outcome: Outcome) -> _Code:
    """Returns the outcome if all conditions hold, and goes on behind itself if one does not."""
    code = _return(outcome)
    for condition in reversed(conditions):
        code = (*_condition(condition, len(code)), *code)
    return code


_TRUE, _FALSE = "true", "false"


def _condition(condition: Condition, rest: int) -> _Code:
    """Goes on behind itself if the condition holds, and otherwise jumps over the ``rest`` of its rule."""
    steps = tuple(_comparison(condition))
    code = []
    for place, (operation, if_true, if_false, constant) in enumerate(steps):
        ends: Mapping[str, int] = {_TRUE: len(steps) - place - 1, _FALSE: len(steps) - place - 1 + rest}
        true = ends[if_true] if isinstance(if_true, str) else if_true
        false = ends[if_false] if isinstance(if_false, str) else if_false
        code.append((operation, true, false, constant))
    return tuple(code)


def _comparison(condition: Condition) -> Iterator[tuple[int, int | str, int | str, int]]:
    """The comparison of 64 bits, in two words, with jumps to its two ends."""
    low_offset = _ARGUMENTS_OFFSET + 8 * condition.argument
    low, high = condition.value & _WORD, condition.value >> 32
    hold, fail = (_FALSE, _TRUE) if condition.comparison in ("!=", "<", "<=") else (_TRUE, _FALSE)
    yield from _load(low_offset + 4)
    if condition.comparison in ("==", "!=", "masked"):
        if condition.comparison == "masked":
            yield _AND, 0, 0, condition.mask >> 32
        yield _IF_EQUAL, 0, fail, high
        yield from _load(low_offset)
        if condition.comparison == "masked":
            yield _AND, 0, 0, condition.mask & _WORD
        yield _IF_EQUAL, hold, fail, low
    else:
        # "<" is what ">=" is not, "<=" what ">" is not.
        yield _IF_ABOVE, hold, 0, high
        yield _IF_EQUAL, 0, fail, high
        yield from _load(low_offset)
        yield _IF_ABOVE if condition.comparison in (">", "<=") else _IF_AT_LEAST, hold, fail, low


def _load(offset: int) -> _Code:
    return ((_LOAD, 0, 0, offset),)


def _return(outcome: Outcome) -> _Code:
    return ((_RETURN, 0, 0, outcome.value),)
