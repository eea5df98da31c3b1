"""Forking into a cgroup."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# In an interpreter of its own, with one thread: as the function asks for.
_FORK = """
import os, sys
from pytest_pycontainer.kernel.fork import fork_into_cgroup
directory = os.open(sys.argv[1], os.O_PATH)
pid = fork_into_cgroup(directory)
if pid == 0:
    print(open("/proc/self/cgroup").read(), flush=True)
    os.execv("/bin/sh", ["sh", "-c", "exit 7"])
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.fixture
def cgroup() -> Iterator[Path]:
    tops = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if line.split()[2] == "cgroup2"]
    if not tops:
        pytest.skip("no cgroup2 is mounted on this machine")
    directory = Path(tops[0], "pycontainer-test-fork")
    try:
        directory.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made: {error}")
    try:
        yield directory
    finally:
        directory.rmdir()


def test_the_child_is_in_the_cgroup_from_its_first_moment(cgroup: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _FORK, cgroup], capture_output=True, text=True, check=True, timeout=60)
    assert f"/{cgroup.name}\n" in done.stdout
    assert done.stdout.splitlines()[-1] == "7"


def test_what_is_no_cgroup_is_refused(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _FORK, tmp_path], capture_output=True, text=True, timeout=60)
    assert "clone3: Bad file descriptor" in done.stderr


_SIBLING = """
import os
from pytest_pycontainer.kernel.fork import fork_sibling
told, telling = os.pipe()
between = os.fork()
if between == 0:
    sibling = fork_sibling()
    if sibling == 0:
        os._exit(7)
    os.write(telling, str(sibling).encode())
    os._exit(0)
assert os.waitpid(between, 0)[1] == 0
sibling = int(os.read(told, 100))
print(os.waitstatus_to_exitcode(os.waitpid(sibling, 0)[1]))
"""


def test_a_sibling_is_its_makers_parents_child() -> None:
    said = subprocess.run([sys.executable, "-c", _SIBLING], capture_output=True, text=True, check=True, timeout=60)

    assert said.stdout == "7\n"
