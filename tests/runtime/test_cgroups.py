"""What is done with a cgroup that a real process is in."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pytest_pycontainer.runtime import cgroups
from pytest_pycontainer.runtime.cgroup_hierarchies import Cgroups

PATIENCE = 10.0
Directories = tuple[str, ...]


def version_1(directories: Directories) -> Directories:
    return tuple(path for path in directories if not Path(path).parent.joinpath("cgroup.controllers").exists())


def version_2(directories: Directories) -> Directories:
    return tuple(path for path in directories if Path(path).parent.joinpath("cgroup.controllers").exists())


@pytest.fixture(params=[tuple, version_1, version_2], ids=["all", "version_1", "version_2"])
def directories(request: pytest.FixtureRequest) -> Iterator[Directories]:
    found = request.param(Cgroups.discover().directories(f"test-{os.getpid()}"))
    if not found:
        pytest.skip("no cgroups of that version are mounted here")
    cgroups.make(found)
    yield found
    cgroups.remove(found)


@pytest.fixture
def answerer(directories: Directories) -> Iterator[Callable[[float], bytes]]:
    """A process in the cgroup that answers each byte; calling it asks, and returns what came within so many seconds."""
    reader, answers = os.pipe()
    questions, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            os.close(writer)
            cgroups.join(directories)
            os.write(answers, b"in")
            while question := os.read(questions, 1):
                os.write(answers, question)
        os._exit(0)
    os.close(answers)
    os.close(questions)
    assert os.read(reader, 2) == b"in"

    def ask(seconds: float) -> bytes:
        os.write(writer, b"?")
        ready, _, _ = select.select([reader], [], [], seconds)
        return os.read(reader, 100) if ready else b""

    yield ask
    os.close(writer)
    os.close(reader)
    os.waitpid(child, 0)


def freezable(directories: Directories) -> Directories:
    if not any(Path(path, name).exists() for path in directories for name in ("cgroup.freeze", "freezer.state")):
        pytest.skip("no freezer here")
    return directories


def test_a_frozen_process_stands_still_until_it_is_thawed(
    directories: Directories, answerer: Callable[[float], bytes]
) -> None:
    freezable(directories)
    assert answerer(PATIENCE) == b"?"
    assert not cgroups.is_frozen(directories)
    cgroups.freeze(directories)
    assert cgroups.is_frozen(directories)
    assert answerer(0.1) == b""
    cgroups.thaw(directories)
    assert not cgroups.is_frozen(directories)
    assert answerer(PATIENCE) in (b"?", b"??")


def test_freezing_twice_and_thawing_twice_is_no_error(directories: Directories) -> None:
    freezable(directories)
    for _ in range(2):
        cgroups.freeze(directories)
    for _ in range(2):
        cgroups.thaw(directories)
    assert not cgroups.is_frozen(directories)


def test_a_process_that_cannot_be_frozen_in_time_runs_on(
    directories: Directories, answerer: Callable[[float], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    freezable(directories)
    real = cgroups._read
    monkeypatch.setattr(cgroups, "_read", lambda path: "FREEZING" if path.endswith("freezer.state") else real(path))
    monkeypatch.setattr(cgroups, "_await_event", lambda *_: False)
    with pytest.raises(TimeoutError, match=r"within 0\.01 s"):
        cgroups.freeze(directories, 0.01)
    monkeypatch.undo()
    assert not cgroups.is_frozen(directories)
    assert answerer(PATIENCE) == b"?"


def test_removal_ends_what_runs_frozen_or_not_and_takes_what_lies_below(directories: Directories) -> None:
    children = []
    for frozen in (False, True):
        child = os.fork()
        if child == 0:
            cgroups.join(directories)
            os.kill(os.getpid(), signal.SIGSTOP)
            os._exit(0)
        children.append(child)
        assert os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1])
        if frozen and any(
            Path(path, name).exists() for path in directories for name in ("cgroup.freeze", "freezer.state")
        ):
            cgroups.freeze(directories)
    for path in directories:
        Path(path, "below/deeper").mkdir(parents=True)
    cgroups.remove(directories)
    assert not [path for path in directories if Path(path).exists()]
    assert [os.WTERMSIG(os.waitpid(child, 0)[1]) for child in children] == [signal.SIGKILL] * 2


def test_removing_what_is_not_there_is_no_error(directories: Directories) -> None:
    cgroups.remove(directories)
    cgroups.remove(directories)


# In an interpreter of its own, with one thread: as the functions ask for. The child says what it is in.
_FORK = """
import os, sys
from pytest_pycontainer.runtime import cgroups
directories = tuple(sys.argv[1:])
pid, left = cgroups.fork_into(directories)
if pid == 0:
    cgroups.join(left)
    print(open("/proc/self/cgroup").read())
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), *left)
"""


def _fork_into(directories: Directories) -> list[str]:
    done = subprocess.run([sys.executable, "-c", _FORK, *directories], capture_output=True, text=True, timeout=60)
    assert not done.stderr
    return done.stdout.splitlines()


def test_a_fork_is_in_all_of_it(directories: Directories) -> None:
    *entries, last = _fork_into(directories)
    name = Path(directories[0]).name
    assert sum(entry.endswith(f"/{name}") for entry in entries) == len(directories)
    # Where version 2 takes it in from the start, it has to join the others alone.
    code, *left = last.split()
    assert code == "7"
    assert tuple(left) in (version_1(directories), directories)


def test_a_fork_where_version_2_takes_nobody_in_is_a_plain_one(tmp_path: Path) -> None:
    # As where a sandbox hides clone3: the directory looks like a cgroup, and is none.
    directory = tmp_path / "cgroup"
    directory.mkdir()
    (directory / "cgroup.events").touch()
    (directory / "cgroup.procs").touch()
    assert _fork_into((str(directory),))[-1] == f"7 {directory}"
    assert (directory / "cgroup.procs").read_text() == "0"


def test_they_are_reached_through_a_descriptor(directories: Directories) -> None:
    descriptor, reached = cgroups.reach_through_descriptor(directories)
    try:
        assert len(reached) == len(directories)
        assert all(map(os.path.samefile, reached, directories))
        cgroups.remove(reached)
        cgroups.make(reached)
    finally:
        os.close(descriptor)
    assert not any(map(os.path.exists, reached))
    assert all(map(os.path.exists, directories))


def test_where_there_are_none_none_are_reached() -> None:
    descriptor, reached = cgroups.reach_through_descriptor(())
    os.close(descriptor)
    assert reached == ()
