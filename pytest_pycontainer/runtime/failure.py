"""Naming the step that failed, so that the engine can say it (design: youki's one named error per step)."""

from __future__ import annotations

from types import TracebackType

from pytest_pycontainer.runtime.messages import Failed


class StepFailed(Exception):  # noqa: N818  (control flow inside the runtime; callers see ContainerStartError)
    """Carries the ``Failed`` message of one step to the process's end of its channel."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed)
        self.failed = failed


class step:  # noqa: N801  (said of what is done inside, as contextlib's suppress)
    """Turns an OSError inside into a StepFailed that names the step."""

    # No generator: an init takes a hundred steps, and has to copy each page of memory that it touches.
    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            raise StepFailed(Failed(self._name, error.errno or 0, str(error.strerror or error))) from error
