"""Calling ``pycontainer`` as a user does."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from pytest_pycontainer import Engine
from pytest_pycontainer.cli.main import main


class Ended(NamedTuple):
    """What came of a call."""

    code: int
    out: str
    err: str


Call = Callable[..., Ended]


@pytest.fixture
def call(engine: Engine, capfd: pytest.CaptureFixture[str]) -> Call:
    """Calls the command on the suite's store."""
    places = ["--root", str(engine.settings.root), "--state", str(engine.settings.state)]

    def call(*words: str) -> Ended:
        capfd.readouterr()
        code = main([*places, *words])
        return Ended(code, *capfd.readouterr())

    return call
