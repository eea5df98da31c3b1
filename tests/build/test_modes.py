from __future__ import annotations

import os
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_pycontainer.build.modes import ModeProblem, parse_mode
from pytest_pycontainer.runtime.copying import changed_mode
from pytest_pycontainer.runtime.spec import ModeClause

if TYPE_CHECKING:
    from pathlib import Path


def changed(mode: int, text: str, *, is_directory: bool = False) -> int:
    clauses = [
        ModeClause(clause.who, clause.operator, clause.bits, clause.execute, clause.copied)
        for clause in parse_mode(text)
    ]
    return changed_mode(mode, clauses, is_directory)


@pytest.mark.parametrize(
    ("text", "mode", "wanted"),
    [
        ("755", 0o600, 0o755),
        ("0", 0o777, 0),
        ("4711", 0o644, 0o4711),
        ("u=rwX,go=rX", 0o640, 0o644),
        ("u=rwX,go=rX", 0o710, 0o755),
        ("a+x", 0o644, 0o755),
        ("+w", 0o444, 0o644),
        ("=", 0o755, 0),
        ("g=u", 0o640, 0o660),
        ("u+s,g-w,o=", 0o775, 0o4750),
        ("go-rwx", 0o755, 0o700),
        ("u=rw+x", 0o000, 0o700),
    ],
)
def test_what_a_mode_makes_of_another(text: str, mode: int, wanted: int) -> None:
    assert oct(changed(mode, text)) == oct(wanted)


def test_x_is_for_directories_too() -> None:
    assert changed(0o600, "a=rX", is_directory=True) == 0o555
    assert changed(0o600, "a=rX") == 0o444


@pytest.mark.parametrize("text", ["", "8", "77777", "u", "u+y", "rwx", "u=rw,", "u=rw,,g=r", "o=ux", "x=r", " 755"])
def test_what_is_no_mode(text: str) -> None:
    with pytest.raises(ModeProblem, match="is no mode; wanted"):
        parse_mode(text)


actions = st.builds(str.__add__, st.sampled_from("+-="), st.text("rwx", max_size=3) | st.sampled_from("ugo"))
clauses = st.builds(str.__add__, st.text("ugo", min_size=1, max_size=2), actions)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.lists(clauses, min_size=1, max_size=3).map(",".join), st.integers(0, 0o777))
def test_as_the_program_chmod(tmp_path: Path, text: str, mode: int) -> None:
    file = tmp_path / "file"
    file.touch()
    file.chmod(mode)
    subprocess.run(["chmod", text, os.fspath(file)], check=True)
    assert oct(changed(mode, text)) == oct(stat.S_IMODE(file.stat().st_mode))
