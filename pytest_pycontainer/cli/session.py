"""What a command works with: an engine when it needs one, and where it prints."""

from __future__ import annotations

import sys
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import ExitStack
    from types import TracebackType

    from pytest_pycontainer.engine.engine import Engine
    from pytest_pycontainer.settings import Settings


class Session:
    """One call of the command. A context manager: leaving it closes the engine, if one was opened.

    ``options`` are the settings that stood before the command's name. What takes long is shown on standard output if
    ``shows_progress`` was set before the engine was asked for.
    """

    def __init__(self, options: dict[str, str]) -> None:
        self.options = options
        self.shows_progress = False
        self._closing: ExitStack | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._closing is not None:
            self._closing.close()

    @cached_property
    def settings(self) -> Settings:
        """Where things are. Raises InvalidSpecError."""
        from pytest_pycontainer.errors import InvalidSpecError
        from pytest_pycontainer.settings import Settings

        try:
            return Settings.read(options=self.options)
        except InvalidSpecError as error:
            field = error.field.replace("--pycontainer-", "--")  # the command's are shorter than pytest's
            raise InvalidSpecError(field, error.value, error.wanted) from None

    @cached_property
    def engine(self) -> Engine:
        """The engine, opened when it is first asked for."""
        from contextlib import ExitStack

        from pytest_pycontainer.engine.engine import Engine

        display = None
        if self.shows_progress:
            from pytest_pycontainer.reporting.display import open_display

            display = open_display(sys.stdout)
        self._closing = ExitStack()
        return self._closing.enter_context(Engine(self.settings, display=display))

    def print(self, text: str) -> None:
        """Prints a line to standard output."""
        sys.stdout.write(f"{text}\n")

    def complain(self, text: str) -> None:
        """Prints a line to standard error, after what was printed before it."""
        sys.stdout.flush()
        sys.stderr.write(f"{text}\n")

    def print_error(self, error: Exception) -> None:
        """Prints what failed in one line, and what is known beyond it below."""
        self.complain("\n".join((f"Error: {error}", *getattr(error, "__notes__", ()))))

    def for_each(self, names: Iterable[str], act: Callable[[str], object]) -> int:
        """Does something with each of what is named; the exit code.

        What fails with one is said, and the others have their turn.
        """
        from pytest_pycontainer.errors import PycontainerError

        code = 0
        for name in names:
            try:
                act(name)
            except PycontainerError as error:
                self.print_error(error)
                code = 1
        return code

    def confirm(self, warning: str) -> bool:
        """Whether the person wants what ``warning`` says; no without an answer."""
        sys.stdout.write(f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ")
        sys.stdout.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")
