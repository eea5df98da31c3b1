"""An ordinary user runs ``user_containers.py``: with users in /etc/subuid, without, and with a cgroup of their own."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rootless.ordinary_user import UID

HERE = Path(__file__).parent
PATIENCE = 600.0


def run_as_user(home: Path, *, ids: bool, command: list[str], enter: str = "") -> None:
    if ids and not (shutil.which("newuidmap") and shutil.which("newgidmap")):
        pytest.skip("no newuidmap here")
    begin = [sys.executable, str(HERE / "ordinary_user.py"), *(["--ids"] if ids else []), str(home)]
    done = subprocess.run(
        ["sh", "-c", f"{enter} exec {shlex.join([*begin, *command])}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout


def pytest_of(home: Path, *selection: str, **variables: str) -> list[str]:
    variables |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment = [f"{name}={value}" for name, value in variables.items()]
    plugins = ["-p", "pytest_pycontainer.plugin", "-p", "no:cacheprovider"]
    places = ["-c", "/dev/null", "--rootdir", str(home), "--basetemp", str(home / "tmp"), "--import-mode=importlib"]
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", *plugins, *places, *selection]
    return ["env", *environment, *command, str(HERE / "user_containers.py")]


@pytest.mark.parametrize("ids", [True, False])
def test_an_ordinary_users_containers(home: Path, ids: bool) -> None:
    run_as_user(home, ids=ids, command=pytest_of(home, HAS_IDS="yes" if ids else "no"))
    assert not list((home / "tmp/store/containers").iterdir())


@pytest.fixture
def delegated_cgroup() -> Iterator[Path]:
    """One of version 2 that is the user's, as systemd gives it to a scope."""
    mounts = [line.split(" - ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    tops = [Path(before.split()[4]) for before, after in mounts if after.startswith("cgroup2 ")]
    if not tops:
        pytest.skip("no cgroups of version 2 here")
    directory = tops[0] / f"users-{os.getpid()}"
    directory.mkdir()
    for path in (directory, directory / "cgroup.procs"):
        os.chown(path, UID, UID)
    yield directory
    directory.rmdir()


def test_a_delegated_cgroup_is_used(home: Path, delegated_cgroup: Path) -> None:
    command = pytest_of(home, "-k", "where_no_cgroup_is_the_users", HAS_IDS="no", HAS_CGROUP="yes")
    run_as_user(home, ids=False, command=command, enter=f"echo $$ > {delegated_cgroup}/cgroup.procs;")
