"""Real pytest runs inside the tests, with the plugin as its users have it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.Pytester:
    """An empty project with a store of its own, and the context of an image that is built without running a thing."""
    monkeypatch.setenv("PYCONTAINER_ROOT", str(tmp_path / "store"))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider --import-mode=importlib\nfilterwarnings = error")
    pytester.mkdir("sleeper").joinpath("Dockerfile").write_text('FROM host\nCMD ["sleep", "1000"]\n')
    return pytester


@pytest.fixture
def run_pytest(project: pytest.Pytester) -> Callable[..., pytest.RunResult]:
    """Runs pytest in the project, in a process of its own."""

    def run(*arguments: str) -> pytest.RunResult:
        return project.runpytest_subprocess(*arguments, timeout=120)

    return run
