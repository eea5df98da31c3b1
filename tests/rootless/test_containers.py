"""An ordinary user runs ``user_containers.py``: with users in /etc/subuid, without, and with a cgroup of their own."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

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


STORE_ELSEWHERE = """
import sys
from pathlib import Path
from pytest_pycontainer import Engine, Settings
place = Path(sys.argv[1])
with Engine(Settings(root=place / "store", state=place / "state")) as engine:
    image = engine.build({"Dockerfile": f"FROM host\\nRUN test ! -e {place}/store && echo made > {place}/made\\n"})
    with engine.run(image, ["sh", "-c", f"cat {place}/made; ls {place}"], network="none") as container:
        assert (container.wait(60), container.logs()) == (0, "made\\nbeside\\nmade\\n"), container.logs()
"""


@pytest.mark.parametrize("beside", ["", "many"])
def test_a_store_in_what_the_host_image_shows(home: Path, beside: str) -> None:
    """As one in /home: its layers may lie in no layer that they are stacked on, and no container sees it."""
    with TemporaryDirectory(dir="/var/tmp") as directory:
        place = Path(directory)
        place.chmod(0o755)
        (place / "beside").mkdir()
        for number in range(100 if beside else 1):  # what has few files is copied
            (place / "beside" / str(number)).touch()
        os.chown(place, UID, UID)
        run_as_user(home, ids=False, command=[sys.executable, "-c", STORE_ELSEWHERE, str(place)])


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
