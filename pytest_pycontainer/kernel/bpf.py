"""Device rules of a version 2 cgroup: a BPF program (``man 2 bpf``, BPF_PROG_TYPE_CGROUP_DEVICE, Linux 4.15)."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence
from typing import NamedTuple

from pytest_pycontainer.kernel import libc

_PROG_LOAD = 5
_PROG_ATTACH = 8
_PROG_DETACH = 9
_PROG_GET_FD_BY_ID = 13
_PROG_QUERY = 16
_PROG_TYPE_CGROUP_DEVICE = 15
_ATTACH_TYPE_CGROUP_DEVICE = 6
_ALLOW_MULTI = 2  # a container in the container may add rules of its own
_PROGRAMS_AT_MOST = 64  # as many as the kernel takes for one cgroup

_ACCESS_BITS = {"m": 1, "r": 2, "w": 4}
_ANY_ACCESS = 7
_KINDS = {"b": 1, "c": 2}

# Instructions: operation, registers (target | source << 4), jump offset, constant (linux/bpf.h).
_INSTRUCTION = struct.Struct("=BBhi")
_LOAD_WORD = 0x61
_AND = 0x54
_SHIFT_RIGHT = 0x74
_SET = 0xB7
_EXIT = 0x95
_JUMP_IF_NOT_EQUAL = 0x55
_MOVE = 0xBC

_CONTEXT, _TYPE, _ACCESS, _MAJOR, _MINOR, _RESULT, _REFUSED = 1, 2, 3, 4, 5, 0, 6


class DeviceRule(NamedTuple):
    """Devices that may be used: ``kind`` is ``c``, ``b`` or ``a`` for both; without a number, all that have any.

    ``access`` holds ``r``, ``w`` and ``m``: read, write, make a node.
    """

    kind: str
    major: int | None = None
    minor: int | None = None
    access: str = "rwm"


def allow_only(cgroup: str, rules: Sequence[DeviceRule]) -> None:
    """Lets processes in the version 2 cgroup directory use devices as ``rules`` say, and no others.

    They take the place of those that it had; until that is so, both hold. They go when the directory does. Raises
    OSError.
    """
    program = _load(_program(rules))
    try:
        directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            earlier = _attached(directory)
            attributes = struct.pack("=IIII", directory, program, _ATTACH_TYPE_CGROUP_DEVICE, _ALLOW_MULTI)
            _bpf(_PROG_ATTACH, attributes)
            for identifier in earlier:
                _detach(directory, identifier)
        finally:
            os.close(directory)
    finally:
        os.close(program)


def _attached(directory: int) -> list[int]:
    """The identifiers of the programs that the cgroup itself has."""
    found = (ctypes.c_uint32 * _PROGRAMS_AT_MOST)()
    place = ctypes.addressof(found)
    query = struct.pack("=IIIIQII", directory, _ATTACH_TYPE_CGROUP_DEVICE, 0, 0, place, len(found), 0)
    attributes = ctypes.create_string_buffer(query, len(query))
    libc.syscall("bpf", _PROG_QUERY, attributes, len(query))
    (count,) = struct.unpack_from("=I", attributes, 24)
    return list(found[:count])


def _detach(directory: int, identifier: int) -> None:
    program = _bpf(_PROG_GET_FD_BY_ID, struct.pack("=III", identifier, 0, 0))
    try:
        _bpf(_PROG_DETACH, struct.pack("=III", directory, program, _ATTACH_TYPE_CGROUP_DEVICE))
    finally:
        os.close(program)


def _program(rules: Sequence[DeviceRule]) -> bytes:
    """The kernel hands over (access << 16 | type, major, minor) and takes 1 for yes, 0 for no."""
    code = [
        _load_word(_TYPE, 0),
        _load_word(_ACCESS, 0),
        _INSTRUCTION.pack(_AND, _TYPE, 0, 0xFFFF),
        _INSTRUCTION.pack(_SHIFT_RIGHT, _ACCESS, 0, 16),
        _load_word(_MAJOR, 4),
        _load_word(_MINOR, 8),
    ]
    for rule in rules:
        code += _answer_if(rule)
    return b"".join([*code, *_answer(0)])


def _answer_if(rule: DeviceRule) -> list[bytes]:
    """Yes, if all that the rule names is as it says; else on to what follows."""
    allowed = sum(_ACCESS_BITS[letter] for letter in set(rule.access))
    kind = _KINDS.get(rule.kind)
    wanted = [(_TYPE, kind), (_MAJOR, rule.major), (_MINOR, rule.minor), (_REFUSED, 0)]
    conditions = [(register, value) for register, value in wanted if value is not None]
    yes = _answer(1)
    jumps = [
        _INSTRUCTION.pack(_JUMP_IF_NOT_EQUAL, register, len(conditions) - 1 - number + len(yes), value)
        for number, (register, value) in enumerate(conditions)
    ]
    refused = [
        _INSTRUCTION.pack(_MOVE, _REFUSED | _ACCESS << 4, 0, 0),
        _INSTRUCTION.pack(_AND, _REFUSED, 0, _ANY_ACCESS & ~allowed),
    ]
    return refused + jumps + yes


def _load_word(register: int, offset: int) -> bytes:
    return _INSTRUCTION.pack(_LOAD_WORD, register | _CONTEXT << 4, offset, 0)


def _answer(value: int) -> list[bytes]:
    return [_INSTRUCTION.pack(_SET, _RESULT, 0, value), _INSTRUCTION.pack(_EXIT, 0, 0, 0)]


def _load(program: bytes) -> int:
    code = ctypes.create_string_buffer(program, len(program))
    licence = ctypes.create_string_buffer(b"MIT")
    count = len(program) // _INSTRUCTION.size
    pointers = (ctypes.addressof(code), ctypes.addressof(licence))
    return _bpf(_PROG_LOAD, struct.pack("=IIQQ", _PROG_TYPE_CGROUP_DEVICE, count, *pointers))


def _bpf(command: int, attributes: bytes) -> int:
    return libc.syscall("bpf", command, ctypes.create_string_buffer(attributes, len(attributes)), len(attributes))
