"""Real pytest runs inside the tests, with the plugin as its users have it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

# Hypothesis and anyio are plugins of this suite's own environment: to import them would be half of each run's time.
OPTIONS = ("-p no:cacheprovider", "-p no:hypothesispytest", "-p no:anyio", "--import-mode=importlib")


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.Pytester:
    """An empty project with a store of its own, and the context of an image that is built without running a thing."""
    monkeypatch.setenv("PYCONTAINER_ROOT", str(tmp_path / "store"))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeini(f"[pytest]\naddopts = {' '.join(OPTIONS)}\nfilterwarnings = error")
    pytester.mkdir("sleeper").joinpath("Dockerfile").write_text('FROM host\nCMD ["sleep", "1000"]\n')
    return pytester


@pytest.fixture
def run_pytest(project: pytest.Pytester) -> Callable[..., pytest.RunResult]:
    """Runs pytest in the project, in a process of its own."""

    def run(*arguments: str) -> pytest.RunResult:
        return project.runpytest_subprocess(*arguments, timeout=120)

    return run
