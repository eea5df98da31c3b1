"""A machine where no container can run: said before anything is made."""

from __future__ import annotations

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
