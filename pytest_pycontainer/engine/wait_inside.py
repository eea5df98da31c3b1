"""Waits for what is found inside a container, and for whatever a function finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pytest_pycontainer.engine.readiness import Condition
from pytest_pycontainer.engine.text_match import TextMatch, beginning, in_words, unlike
from pytest_pycontainer.errors import ContainerFileError, WaitTimeoutError

if TYPE_CHECKING:
    from pytest_pycontainer.engine.container import Container


@dataclass(frozen=True, slots=True)
class CommandWait(Condition):
    """Waits until a command, executed in the container, has this exit code, and writes such an output."""

    longest_pause: ClassVar[float] = 0.25

    command: tuple[str, ...]
    exit_code: int = 0
    output: TextMatch | None = None
    user: str | int | None = None
    try_seconds: float = 5.0
    timeout: float | None = None

    @property
    def what(self) -> str:
        """See Condition."""
        output = "" if self.output is None else f" and writes {in_words(self.output)}"
        return f"the command {' '.join(self.command)!r} exits with code {self.exit_code}{output}"

    def look(self, container: Container, seconds: float) -> str | None:
        """See Condition. Raises what ``Container.exec`` raises for a command that can't be executed."""
        seconds = min(seconds, self.try_seconds)
        try:
            result = container.exec(self.command, user=self.user, timeout=seconds)
        except WaitTimeoutError:
            return f"it took longer than {seconds:.2g} s"
        if result.exit_code != self.exit_code:
            return f"exit code {result.exit_code}, and the output {beginning(result.stdout + result.stderr)}"
        unlike_it = unlike(result.stdout, self.output)
        return None if unlike_it is None else f"exit code {result.exit_code}, but the output {unlike_it}"


@dataclass(frozen=True, slots=True)
class FileWait(Condition):
    """Waits until there is a file or directory in the container, with such a text in it."""

    path: str
    text: TextMatch | None = None
    timeout: float | None = None

    @property
    def what(self) -> str:
        """See Condition."""
        return f"there is {self.path!r}" + ("" if self.text is None else f" with {in_words(self.text)} in it")

    def look(self, container: Container, seconds: float) -> str | None:
        """See Condition."""
        del seconds  # files are not waited for
        file = container.file(self.path)
        if not file.exists:
            return f"a link to {file.link_target}, where nothing is" if file.link_target else "no such file"
        if self.text is None:
            return None
        try:
            text = file.text
        except ContainerFileError as error:
            return error.detail
        unlike_it = unlike(text, self.text)
        return None if unlike_it is None else f"the text {unlike_it}"


@dataclass(frozen=True, slots=True)
class FunctionWait(Condition):
    """Waits until a function of the container returns what counts as true; an exception means that it is not yet so."""

    function: Callable[[Container], object]
    description: str
    timeout: float | None = None

    @property
    def what(self) -> str:
        """See Condition."""
        return self.description

    def look(self, container: Container, seconds: float) -> str | None:
        """See Condition. The function takes the time that it takes."""
        del seconds
        try:
            result = self.function(container)
        except Exception as error:  # noqa: BLE001  (whatever a client raises while a server is not ready)
            return f"{type(error).__name__}: {error}"
        return None if result else f"it returned {result!r}"
