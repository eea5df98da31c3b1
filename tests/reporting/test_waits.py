from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_pycontainer import wait
from pytest_pycontainer.reporting.display import open_display

if TYPE_CHECKING:
    from pytest_pycontainer import Engine
    from tests.conftest import Terminal


def test_the_seconds_before_a_wait_is_shown_count(engine: Engine, terminal: Terminal) -> None:
    with engine.create("host", "true") as container, open_display(terminal.file).waiting(container, wait.exit()):
        terminal.await_text(r"\([1-9]\d* s\)")
    assert "(0 s)" not in terminal.written
