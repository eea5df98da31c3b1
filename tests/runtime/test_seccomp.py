"""Seccomp profiles and the programs made of them, run by an interpreter of classic BPF."""

from __future__ import annotations

import errno
import operator
import os
import platform
import signal
import struct
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pytest_pycontainer.engine.defaults import CAPABILITIES
from pytest_pycontainer.kernel import credentials, libc
from pytest_pycontainer.kernel.seccomp import install_filter
from pytest_pycontainer.runtime.seccomp import MACHINES, Action, Condition, Machine, Outcome, Profile, Rule
from pytest_pycontainer.runtime.seccomp_default import DEFAULT_PROFILE
from pytest_pycontainer.runtime.seccomp_program import INSTRUCTION, compile_profile
from pytest_pycontainer.runtime.syscall_numbers import syscall_numbers

AUDIT = {"x86_64": 0xC000003E, "x86": 0x40000003, "x32": 0xC000003E, "aarch64": 0xC00000B7, "arm": 0x40000028}
X32 = 0x40000000
KERNEL = (6, 18)
ALLOW, KILL = Outcome(Action.ALLOW), Outcome(Action.KILL_THREAD)
DENY, MISSING = Outcome(Action.ERRNO, errno.EPERM), Outcome(Action.ERRNO, errno.ENOSYS)
COMPARE: dict[str, Callable[[int, int], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
CONDITIONAL = {"clone", "personality", "socket"}
# Where a comparison changes its mind, in either word.
EDGES = [
    0,
    1,
    8,
    38,
    39,
    40,
    41,
    0x10000000,
    0x20000,
    0x20008,
    0x7E020000,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    (1 << 64) - 1,
]


@cache
def instructions(program: bytes) -> tuple[tuple[int, int, int, int], ...]:
    return tuple(INSTRUCTION.iter_unpack(program))


def interpret(program: bytes, interface: int, number: int, arguments: Sequence[int] = ()) -> tuple[int, int]:
    """What the program returns, and after how many instructions."""
    data = struct.pack("<IIQ6Q", number, interface, 0, *arguments, *[0] * (6 - len(arguments)))
    code = instructions(program)
    accumulator, place, steps = 0, 0, 0
    while True:
        operation, true, false, constant = code[place]
        place, steps = place + 1, steps + 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, constant)
            case 0x54:
                accumulator &= constant
            case 0x05:
                place += constant
            case 0x15:
                place += true if accumulator == constant else false
            case 0x25:
                place += true if accumulator > constant else false
            case 0x35:
                place += true if accumulator >= constant else false
            case 0x06:
                return constant, steps
            case _:
                pytest.fail(f"unknown operation {operation:#x}")


def holds(condition: Condition, arguments: Sequence[int]) -> bool:
    argument = arguments[condition.argument]
    if condition.comparison == "masked":
        return argument & condition.mask == condition.value
    return COMPARE[condition.comparison](argument, condition.value)


def applies(rule: Rule, machine: Machine, capabilities: Iterable[str], kernel: tuple[int, int]) -> bool:
    return (
        rule.with_capabilities.issubset(capabilities)
        and rule.without_capabilities.isdisjoint(capabilities)
        and (not rule.machines or machine.docker_name in rule.machines)
        and rule.kernel <= kernel
    )


def evaluate(profile: Profile, rules: Sequence[Rule], names: Iterable[str], arguments: Sequence[int]) -> Outcome:
    """What the profile itself says of a call that has these names."""
    own = [rule for rule in rules if set(rule.names) & set(names)]
    for rule in sorted(own, key=lambda rule: bool(rule.conditions)):
        if all(holds(condition, arguments) for condition in rule.conditions):
            return rule.outcome
    return profile.default


def program(profile: Profile, machine: str, capabilities: Iterable[str] = CAPABILITIES) -> bytes:
    compiled = compile_profile(profile, MACHINES[machine], capabilities, KERNEL)
    assert compiled is not None
    return compiled


def allow(*names: str, conditions: tuple[Condition, ...] = ()) -> Profile:
    return Profile(DENY, (Rule(names, ALLOW, conditions),))


@pytest.mark.parametrize("capabilities", [CAPABILITIES, (), credentials.CAPABILITIES, ("BPF", "SYS_TIME")], ids=len)
@pytest.mark.parametrize(
    ("machine", "interface"), [(machine, each) for machine, one in MACHINES.items() for each in one.interfaces]
)
def test_each_call_gets_what_the_default_profile_says(
    machine: str, interface: str, capabilities: tuple[str, ...]
) -> None:
    compiled = program(DEFAULT_PROFILE, machine, capabilities)
    rules = [rule for rule in DEFAULT_PROFILE.rules if applies(rule, MACHINES[machine], capabilities, KERNEL)]
    first = X32 if interface == "x32" else 0
    names: dict[int, list[str]] = {}
    for name, number in syscall_numbers(interface).items():
        names.setdefault(number, []).append(name)
    newest = syscall_numbers(interface)["removexattrat" if interface != "x32" else "pwritev2"]
    for number in [*range(1024), *names, 0xFFFF, 0x3FFFFFFF]:
        for argument in EDGES if CONDITIONAL & set(names.get(number, ())) else EDGES[:1]:
            arguments = [argument] * 6
            wanted = evaluate(DEFAULT_PROFILE, rules, names.get(number, ()), arguments)
            if wanted == DENY and number > newest:
                wanted = MISSING
            got, _ = interpret(compiled, AUDIT[interface], first + number, arguments)
            assert got == wanted.value, (number, names.get(number), argument)


def test_some_calls_by_name_so_that_the_check_above_is_checked() -> None:
    compiled = program(DEFAULT_PROFILE, "x86_64")

    def call(name: str, *arguments: int, interface: str = "x86_64") -> Outcome:
        got, _ = interpret(compiled, AUDIT[interface], syscall_numbers(interface)[name], arguments)
        return next(outcome for outcome in (ALLOW, DENY, MISSING, KILL) if outcome.value == got)

    for name in ("read", "execve", "ptrace", "chroot", "socketpair", "removexattrat"):
        assert call(name) == ALLOW
    for name in (
        "keyctl",
        "mount",
        "bpf",
        "unshare",
        "perf_event_open",
        "io_uring_setup",
        "open_tree_attr",
        "kexec_load",
    ):
        assert call(name) in (DENY, MISSING)
    assert call("clone3") == MISSING
    assert call("clone", signal.SIGCHLD) == ALLOW
    assert call("clone", 0x10000000 | signal.SIGCHLD) == DENY
    assert [call("socket", family) for family in (1, 37, 38, 39, 40, 41)] == [ALLOW, ALLOW, DENY, ALLOW, DENY, ALLOW]
    assert [call("personality", value) for value in (0, 8, 1, 0x40000)] == [ALLOW, ALLOW, DENY, DENY]
    assert call("socketcall", interface="x86") == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_another_interface_is_the_end_of_the_thread(machine: str) -> None:
    foreign = 0x80000016  # s390x
    assert interpret(program(DEFAULT_PROFILE, machine), foreign, 0)[0] == KILL.value


def test_of_a_machines_interfaces_a_profile_may_name_some() -> None:
    only = Profile(DENY, (Rule(("read",), ALLOW),), interfaces=("x86_64",))
    compiled = program(only, "x86_64")
    assert interpret(compiled, AUDIT["x86_64"], 0)[0] == ALLOW.value
    assert interpret(compiled, AUDIT["x86_64"], X32)[0] == KILL.value
    assert interpret(compiled, AUDIT["x86"], 3)[0] == KILL.value
    compiled = program(Profile(DENY, (Rule(("read",), ALLOW),), interfaces=("x32",)), "x86_64")
    assert interpret(compiled, AUDIT["x86_64"], 0)[0] == KILL.value
    assert interpret(compiled, AUDIT["x86_64"], X32)[0] == ALLOW.value


def test_a_call_is_found_in_a_dozen_steps() -> None:
    compiled = program(DEFAULT_PROFILE, "x86_64")
    assert max(interpret(compiled, AUDIT["x86_64"], number)[1] for number in range(1024)) < 25


def test_a_rule_without_conditions_counts_before_those_with() -> None:
    never, other = (Condition(0, "==", 1),), Outcome(Action.ERRNO, errno.EBUSY)
    compiled = program(Profile(DENY, (Rule(("read",), other, never), Rule(("read",), ALLOW))), "x86_64")
    assert interpret(compiled, AUDIT["x86_64"], 0, [1])[0] == ALLOW.value


def test_rules_for_newer_kernels_are_left_out() -> None:
    rule = Rule(("ptrace",), ALLOW, kernel=(4, 8))
    old = compile_profile(Profile(DENY, (rule,)), MACHINES["x86_64"], (), (4, 7))
    assert old is not None
    assert interpret(old, AUDIT["x86_64"], syscall_numbers("x86_64")["ptrace"])[0] != ALLOW.value


def test_what_the_profile_permits_by_default_it_permits_of_new_calls_too() -> None:
    compiled = program(Profile(ALLOW, (Rule(("chmod",), DENY),)), "x86_64")
    assert interpret(compiled, AUDIT["x86_64"], 1000)[0] == ALLOW.value
    assert interpret(compiled, AUDIT["x86_64"], syscall_numbers("x86_64")["chmod"])[0] == DENY.value


def test_a_program_that_no_kernel_takes_is_none() -> None:
    conditions = tuple(Condition(0, "==", value) for value in range(2000))
    profile = Profile(DENY, tuple(Rule(("read",), ALLOW, (condition,)) for condition in conditions))
    assert compile_profile(profile, MACHINES["x86_64"], (), KERNEL) is None


_WORDS = some.sampled_from(EDGES) | some.integers(0, 2**64 - 1)
_CONDITIONS = some.builds(
    Condition, some.integers(0, 5), some.sampled_from(sorted(COMPARE)), _WORDS
) | some.builds(lambda argument, value, mask: Condition(argument, "masked", value & mask, mask),
                some.integers(0, 5), _WORDS, _WORDS)  # fmt: skip


@given(some.lists(some.lists(_CONDITIONS, max_size=3).map(tuple), min_size=1, max_size=4), some.data())
def test_conditions_are_compared_as_64_bits(rules: list[tuple[Condition, ...]], data: some.DataObject) -> None:
    outcomes = [Outcome(Action.ERRNO, number) for number in range(10, 14)]
    profile = Profile(ALLOW, tuple(Rule(("read",), *each) for each in zip(outcomes, rules, strict=False)))
    values = [condition.value for conditions in rules for condition in conditions]
    near = _WORDS | some.sampled_from([0, *values]) | some.sampled_from([1, *values]).map(lambda value: value ^ 1)
    arguments = data.draw(some.lists(near, min_size=6, max_size=6))
    got, _ = interpret(program(profile, "x86_64"), AUDIT["x86_64"], 0, arguments)
    assert got == evaluate(profile, profile.rules, ["read"], arguments).value


def in_a_child(call: Callable[[], int | None]) -> int:
    """A child's exit code: what the call returns (None: 0), 100 and the errno if it raises OSError."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(call() or 0)
        except OSError as error:
            os._exit(100 + (error.errno or 0))
        finally:
            os._exit(255)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(platform.machine() not in MACHINES, reason=f"no table of calls for {platform.machine()}")
def test_the_kernel_takes_the_program_and_obeys() -> None:
    refuse = program(
        Profile(ALLOW, (Rule(("mkdir", "mkdirat"), Outcome(Action.ERRNO, errno.EXDEV)),)), platform.machine()
    )

    def make_directory() -> None:
        install_filter(refuse)
        Path("/").mkdir()

    assert in_a_child(make_directory) == 100 + errno.EXDEV
    assert in_a_child(lambda: install_filter(program(DEFAULT_PROFILE, platform.machine()))) == 0
    assert in_a_child(lambda: install_filter(INSTRUCTION.pack(0xFF, 0, 0, 0))) == 100 + errno.EINVAL


@pytest.mark.skipif(platform.machine() not in MACHINES, reason=f"no table of calls for {platform.machine()}")
def test_the_numbers_are_this_machines() -> None:
    numbers = syscall_numbers(platform.machine())

    def process_number() -> int:
        return libc.call("syscall", numbers["getpid"]) != os.getpid()

    assert in_a_child(process_number) == 0
    assert len(set(numbers.values())) >= len(numbers) - 1
