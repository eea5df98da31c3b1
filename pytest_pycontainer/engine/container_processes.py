"""Further processes in a container."""

from __future__ import annotations

from dataclasses import replace

from pytest_pycontainer.engine import arguments
from pytest_pycontainer.engine.execution import ExecResult, execute_in
from pytest_pycontainer.engine.handle import ContainerHandle
from pytest_pycontainer.errors import InvalidSpecError


class ContainerProcesses(ContainerHandle):
    """The part of ``Container`` that runs commands in it."""

    def exec(
        self,
        command: arguments.Command,
        *,
        env: arguments.Environment | None = None,
        user: str | int | None = None,
        workdir: str | None = None,
        stdin: str | bytes | None = None,
        timeout: float | None = None,
    ) -> ExecResult:
        """Runs a further command in the container to its end, by default as the container's user, in its directory.

        ``env`` adds to the container's environment. Raises ContainerNotRunningError, ContainerPausedError,
        CommandNotFoundError, CommandNotExecutableError, and WaitTimeoutError after ``timeout`` seconds, having killed
        the command.
        """
        self._require_running("exec in")
        parsed = arguments.parse_command(command)
        if not parsed:
            raise InvalidSpecError("command", str(command), "at least the name of a program")
        process = replace(
            self._spec.process,
            command=parsed,
            environment=(
                *self._spec.process.environment,
                *(f"{k}={v}" for k, v in arguments.parse_environment(env).items()),
            ),
            user=self._spec.process.user if user is None else arguments.parse_user(user) or "",
            working_directory=arguments.parse_text("workdir", workdir) or self._spec.process.working_directory,
        )
        data = stdin.encode() if isinstance(stdin, str) else stdin or b""
        return execute_in(self._connection, self.name, process, data, timeout)
