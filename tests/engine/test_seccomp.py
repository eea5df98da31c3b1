"""The system calls that a container may not make."""

from __future__ import annotations

import errno
import platform
import signal
from collections.abc import Callable

import pytest

from pytest_pycontainer import Engine, Image
from pytest_pycontainer.runtime.seccomp import MACHINES
from pytest_pycontainer.runtime.syscall_numbers import syscall_numbers

pytestmark = pytest.mark.skipif(
    platform.machine() not in MACHINES, reason=f"no table of system calls for {platform.machine()}"
)

PROBE = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for call in sys.argv[1:]:
    number, *arguments = (ctypes.c_ulong(int(word)) for word in call.split(","))
    child = os.fork()
    if not child:
        os._exit(0 if libc.syscall(number, *arguments) >= 0 else ctypes.get_errno())
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
NEW_USER_NAMESPACE = 0x10000000


def probe(*calls: tuple[str | int, ...]) -> list[str]:
    """A command that makes each call, by name, in a child, and prints its errno, 0 for success."""
    numbers = syscall_numbers(platform.machine())
    return ["python3", "-c", PROBE, *(",".join(map(str, (numbers[str(name)], *rest))) for name, *rest in calls)]


@pytest.fixture
def errors(engine: Engine) -> Callable[..., list[int]]:
    def make_calls(*calls: tuple[str | int, ...], **options: object) -> list[int]:
        with engine.run("host", probe(*calls), **options) as c:  # type: ignore[arg-type]
            assert c.wait(timeout=60) == 0, c.logs()
            return [int(number) for number in c.logs().split()]

    return make_calls


# Calls that this machine's kernel would carry out for root with Docker's capabilities, or answer otherwise than EPERM.
FORBIDDEN = [
    ("keyctl", 0, -3 % 2**64, 0),
    ("add_key", 0, 0, 0, 0, 0),
    ("unshare", NEW_USER_NAMESPACE),
    ("clone", NEW_USER_NAMESPACE | signal.SIGCHLD, 0, 0, 0, 0),
    ("bpf", 9999, 0, 0),
    ("io_uring_setup", 1, 0),
    ("userfaultfd", 1 << 20),
    ("personality", 1),
    ("socket", 38, 5, 0),
    ("setns", 1 << 20, 0),
    ("kexec_load", 0, 0, 0, 0),
]


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_what_docker_forbids_is_refused(errors: Callable[..., list[int]], user: str) -> None:
    assert dict(zip(FORBIDDEN, errors(*FORBIDDEN, user=user), strict=True)) == dict.fromkeys(FORBIDDEN, errno.EPERM)


def test_what_programs_need_is_not(errors: Callable[..., list[int]]) -> None:
    allowed = [("personality", 0xFFFFFFFF), ("personality", 8), ("socket", 1, 1, 0), ("getrandom", 0, 0, 0)]
    assert errors(*allowed) == [0, 0, 0, 0]
    assert errors(("clone3", 0, 0)) == [errno.ENOSYS]  # so that a C library falls back on clone


def test_what_is_newer_than_the_profile_is_missing_and_not_forbidden(errors: Callable[..., list[int]]) -> None:
    # A C library that gets EPERM does not fall back on the call that it made before.
    assert errors(("open_tree_attr", 0, 0, 0, 0, 0), ("file_getattr", 0, 0, 0, 0, 0)) == [errno.ENOSYS] * 2


@pytest.mark.parametrize("user", ["root", "nobody"])
@pytest.mark.parametrize("init", [False, True])
def test_the_command_is_filtered_and_what_it_executes_too(engine: Engine, user: str, init: bool) -> None:
    with engine.run("host", ["sh", "-c", "grep -h ^Seccomp: /proc/self/status"], user=user, init=init) as c:
        assert c.wait(timeout=60) == 0
        assert c.logs().split() == ["Seccomp:", "2"]


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_exec_is_filtered(engine: Engine, user: str) -> None:
    with engine.run("host", ["sleep", "1000"]) as c:
        assert c.exec(["grep", "^Seccomp:", "/proc/self/status"], user=user).stdout.split() == ["Seccomp:", "2"]
        assert c.exec(probe(*FORBIDDEN), user=user).stdout.split() == [str(errno.EPERM)] * len(FORBIDDEN)


def test_a_filter_costs_no_right_to_gain_privileges(engine: Engine) -> None:
    with engine.run("host", ["grep", "NoNewPrivs", "/proc/self/status"], user="nobody") as c:
        c.wait(timeout=60)
        assert c.logs().split() == ["NoNewPrivs:", "0"]


def test_a_builds_step_is_filtered(engine: Engine) -> None:
    dockerfile = "FROM host\nRUN grep ^Seccomp: /proc/self/status > /mode\n"
    image: Image = engine.build(dockerfile=dockerfile)
    with engine.run(image, ["cat", "/mode"]) as c:
        assert c.wait(timeout=60) == 0
        assert c.logs().split() == ["Seccomp:", "2"]
