"""Further processes in a container."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict, Unpack

from pytest_pycontainer.engine import arguments
from pytest_pycontainer.engine.container_process import ContainerProcess, ExecResult, Input, as_source
from pytest_pycontainer.engine.execution import DEVNULL, Destination, Streams, start_process
from pytest_pycontainer.engine.handle import ContainerHandle
from pytest_pycontainer.errors import (
    ContainerCommandFailedError,
    ContainerNotFoundError,
    ContainerNotRunningError,
    InvalidSpecError,
)
from pytest_pycontainer.runtime.spec import ProcessSpec, TerminalSize

if TYPE_CHECKING:
    from pytest_pycontainer.engine.process_table import ProcessInfo


class ExecOptions(TypedDict, total=False):
    """How a further process differs from the container's own, which it is else like, with docker's names and meanings.

    ``env`` adds to the container's environment; ``workdir`` has to be there. A ``privileged`` one has all capabilities,
    behind the container's system call filter. With ``tty`` it has a terminal of 80 columns and 24 lines, or of
    ``size``: then there is one output, with the terminal's ends of lines.
    """

    env: arguments.Environment | None
    user: str | int | None
    workdir: str | None
    privileged: bool
    tty: bool
    size: tuple[int, int] | None


class ContainerProcesses(ContainerHandle):
    """The part of ``Container`` that runs commands in it."""

    def exec(
        self,
        command: arguments.Command,
        *,
        stdin: Input = None,
        stdout: Destination = None,
        stderr: Destination = None,
        timeout: float | None = None,
        check: bool = False,
        **options: Unpack[ExecOptions],
    ) -> ExecResult:
        """Runs a further command in the container to its end, by default as the container's user, in its directory.

        It reads ``stdin``: text, bytes, or a binary file, of which it gets piece by piece; without one, nothing. What
        it writes is collected, or goes to binary files as it comes, or nowhere (``subprocess.DEVNULL``); with
        ``stderr=subprocess.STDOUT`` both are one, in the order of writing. What it starts in the background is not
        waited for, and goes on.

        Raises ContainerNotRunningError, ContainerPausedError, CommandNotFoundError, CommandNotExecutableError,
        ExecStartError (no such user, no such directory), with ``check`` ContainerCommandFailedError if the exit code is
        not 0, and WaitTimeoutError after ``timeout`` seconds, having killed the command. If this process dies
        meanwhile, the command goes on.
        """
        # What can't be is refused before anything is started.
        as_source(stdin)
        timeout = arguments.parse_timeout(timeout)
        streams = Streams(stdin is not None, stdout, stderr, _terminal(options))
        process = self._process(command, options)
        with start_process(self._connection, self.name, process, streams, timeout) as started:
            result = started.communicate(stdin, timeout)
        if check and result.exit_code != 0:
            output = result.stdout, result.stderr
            raise ContainerCommandFailedError(self.name, process.command, result.exit_code, *output)
        return result

    def popen(
        self,
        command: arguments.Command,
        *,
        stdin: bool = True,
        stdout: Destination = None,
        stderr: Destination = None,
        detach: bool = False,
        **options: Unpack[ExecOptions],
    ) -> ContainerProcess:
        """Starts a further command and returns a handle to write to it, read from it and wait for it.

        Without ``stdin`` it has nothing to read. Leaving the handle (a context manager) kills what still runs. With
        ``detach`` it has no streams, and goes on until it or the container ends. Otherwise as ``exec``.
        """
        if detach:
            streams = Streams(False, DEVNULL, DEVNULL, _terminal(options), detached=True)
        else:
            streams = Streams(stdin, stdout, stderr, _terminal(options))
        return start_process(self._connection, self.name, self._process(command, options), streams)

    def processes(self) -> list[ProcessInfo]:
        """All its processes, oldest first, also while it is paused. Raises ContainerNotRunningError."""
        from pytest_pycontainer.engine.process_table import read_processes

        self._require_present()
        if (status := self.status) not in ("running", "paused"):
            raise ContainerNotRunningError(self.name, "list the processes of", status)
        try:
            return read_processes(self._cgroup, self.pid)
        except FileNotFoundError as error:
            raise ContainerNotFoundError(self.name) from error

    def _process(self, command: arguments.Command, options: ExecOptions) -> ProcessSpec:
        self._require_running("exec in")
        arguments.check_names(options, ExecOptions)
        parsed = arguments.parse_command(command)
        if not parsed:
            raise InvalidSpecError("command", str(command), "at least the name of a program")
        own = self._spec.process
        user = options.get("user")
        capabilities = own.capabilities
        if arguments.parse_flag("privileged", options.get("privileged")):
            from pytest_pycontainer.engine.privileges import all_capabilities

            capabilities = all_capabilities()
        environment = arguments.parse_environment(options.get("env"))
        return replace(
            own,
            command=parsed,
            environment=(*own.environment, *(f"{name}={value}" for name, value in environment.items())),
            user=own.user if user is None else arguments.parse_user(user) or "",
            working_directory=arguments.parse_working_directory(options.get("workdir")) or own.working_directory,
            capabilities=capabilities,
        )


def _terminal(options: ExecOptions) -> TerminalSize | None:
    if not arguments.parse_flag("tty", options.get("tty")):
        if options.get("size") is not None:
            raise InvalidSpecError("size", repr(options.get("size")), "tty=True: only a terminal has one")
        return None
    size = options.get("size")
    if size is None:
        return TerminalSize()
    try:
        columns, lines = size
        return arguments.parse_terminal_size(columns, lines)
    except (TypeError, ValueError) as error:
        raise InvalidSpecError("size", repr(size), "columns and lines, such as (80, 24)") from error
