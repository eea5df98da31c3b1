"""Naming the step that failed, so that the engine can say it (design: youki's one named error per step)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pytest_pycontainer.runtime.messages import Failed


class StepFailed(Exception):  # noqa: N818  (control flow inside the runtime; callers see ContainerStartError)
    """Carries the ``Failed`` message of one step to the process's end of its channel."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed)
        self.failed = failed


@contextmanager
def step(name: str) -> Iterator[None]:
    """Turns an OSError inside into a StepFailed that names the step."""
    try:
        yield
    except OSError as error:
        raise StepFailed(Failed(name, error.errno or 0, str(error.strerror or error))) from error
