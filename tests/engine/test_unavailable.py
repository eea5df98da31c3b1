"""A machine where no container can run: said before anything is made."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_pycontainer import Engine, Settings
from pytest_pycontainer.engine import resources
from pytest_pycontainer.errors import EngineUnavailableError

MISSING = (("root's privilege", "run pytest as root"), ("the overlay file system", "load it: modprobe overlay"))


def test_everything_missing_is_named_and_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "missing_requirements", lambda: MISSING)
    (tmp_path / "Dockerfile").write_text("FROM host\n")
    with Engine(Settings(root=tmp_path / "store", state=tmp_path / "state")) as engine:
        with pytest.raises(EngineUnavailableError, match=r"root's privilege: run pytest as root\n.*overlay"):
            engine.run("host", ["true"])
        with pytest.raises(EngineUnavailableError):
            engine.build(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["Dockerfile"]


MANY = """
import os, resource, sys
from pathlib import Path
from pytest_pycontainer import Engine, Settings
from pytest_pycontainer.errors import OpenFilesLimitError
with Engine(Settings(root=Path(sys.argv[1]), state=Path(sys.argv[2]))) as engine:
    engine.run("host", ["true"]).remove(force=True)
    engine.settle()
    limit = len(os.listdir("/proc/self/fd")) + int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, 4096))
    made = []
    try:
        while True:
            made.append(engine.run("host", ["sleep", "1000"], ports=[80]))
    except OpenFilesLimitError as error:
        print(error, (error.limit, error.highest) == (limit, 4096))
    made.pop().remove(force=True)
    made.pop().remove(force=True)
    with engine.run("host", ["true"]) as container:
        print(container.wait(60))
"""


@pytest.mark.parametrize("more", range(24, 26))
def test_no_more_files_may_be_open(engine: Engine, tmp_path: Path, more: int) -> None:
    command = [sys.executable, "-c", MANY, str(tmp_path / "store"), str(engine.settings.state), str(more)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert finished.returncode == 0, finished.stderr
    assert re.fullmatch(r"cannot .*: this process may have \d+ files open, .* True\n0\n", finished.stdout)
