"""A container's standard streams, as who sits before it has them."""

from __future__ import annotations

from pytest_pycontainer.engine.attached import AttachedSession, resize_terminal
from pytest_pycontainer.engine.handle import ContainerHandle
from pytest_pycontainer.engine.log_selection import select


class ContainerStreams(ContainerHandle):
    """The part of ``Container`` that attaches to it."""

    @property
    def has_stdin(self) -> bool:
        """Whether it has a standard input that can be written to."""
        return self._spec.stdin_open

    @property
    def has_terminal(self) -> bool:
        """Whether its streams are a terminal."""
        return self._spec.terminal is not None

    def attach(
        self, *, stdin: bool = True, stdout: bool = True, stderr: bool = True, logs: bool = False
    ) -> AttachedSession:
        r"""Attaches to its output from now on, with ``logs`` from the start of the log, and to its standard input.

            with container.attach() as session:
                session.write("PING\\n")
                session.read_until("PONG", timeout=10)

        It may be written to if it was made with ``stdin_open``. One that does not run is attached to its next run.
        Raises ContainerNotFoundError.
        """
        self._require_present()
        return AttachedSession(
            self.name,
            self._directory,
            self._connection,
            spec=self._spec,
            selection=select(stdout=stdout, stderr=stderr),
            stdin=stdin,
            from_start=logs,
        )

    def resize(self, columns: int, lines: int) -> None:
        """Says how large its terminal is, in characters; its programs get SIGWINCH. It keeps that over restarts.

        Raises ContainerHasNoTerminalError if it was made without ``tty``, and InvalidSpecError.
        """
        self._require_present()
        resize_terminal(self._connection, self.name, columns, lines)
