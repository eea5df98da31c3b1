"""What a thread may do, and as whom."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pytest_pycontainer.kernel.credentials import files_made_as

_RENAMED = """
import sys
from pytest_pycontainer.kernel.process_name import rename_process
rename_process("renamed", sys.argv[1:])
print(open("/proc/self/comm").read(), open("/proc/self/cmdline").read(), sep="", end="")
"""


def rights() -> list[str]:
    lines = Path("/proc/thread-self/status").read_text().splitlines()
    return [line for line in lines if line.startswith(("Uid", "Gid", "Cap"))]


def test_files_are_made_as_another_by_this_thread_alone(tmp_path: Path) -> None:
    before = rights()
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0)

    with files_made_as(123, 456):
        (tmp_path / "made").touch()
        assert secret.read_text() == "x"  # it may still do what it may
        thread = threading.Thread(target=(tmp_path / "other").touch)
        thread.start()
        thread.join()

    assert rights() == before
    assert ((tmp_path / "made").stat().st_uid, (tmp_path / "made").stat().st_gid) == (123, 456)
    assert (tmp_path / "other").stat().st_uid == 123  # a thread begins as who starts it
    (tmp_path / "own").touch()
    assert (tmp_path / "own").stat().st_uid == secret.stat().st_uid


def test_it_ends_with_an_error_too() -> None:
    before = rights()

    with pytest.raises(ZeroDivisionError), files_made_as(123, 456):
        raise ZeroDivisionError

    assert rights() == before


@pytest.mark.parametrize("command", [("/sbin/init", "a b"), ("x" * 100_000,), ("",)])
def test_a_process_shows_another_command(command: tuple[str, ...]) -> None:
    run = [sys.executable, "-c", _RENAMED, *command]
    length = sum(len(word) + 1 for word in run)

    said = subprocess.run(run, capture_output=True, text=True, check=True, timeout=60).stdout

    name, _, shown = said.partition("\n")
    assert name == "renamed"
    assert shown == "\0".join(command).ljust(length, "\0")
