"""The outlet: a program, such as pasta, that leads out of an engine's router as a process of this machine.

It is ended by the kernel: it runs in a PID namespace whose PID 1 is a process of ours, which ends with the engine, with
the spawner, when the engine closes its end of a socket, or when the program does.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from pytest_pycontainer.kernel import mount, namespaces
from pytest_pycontainer.runtime import messages
from pytest_pycontainer.runtime.failure import StepFailed, step
from pytest_pycontainer.runtime.messages import Failed
from pytest_pycontainer.runtime.network_messages import NAMESPACE, READY
from pytest_pycontainer.runtime.process import close_all_but, reset_signals
from pytest_pycontainer.runtime.service import service_loop

_STEP = "lead out of the networks"
_NOT_EXECUTED = 127
_LAST_WORDS = 16 << 10
_RUN = "/run"


def run_outlet(
    command: Sequence[str], control: socket.socket, namespace: int, directory: str, *lifelines: int
) -> NoReturn:
    """Becomes PID 1 above the program, which it must be already. ``directory`` is one to mount on if need be.

    What has become of the program it tells on ``control``, see ``StartOutlet``. Never returns.
    """
    try:
        close_all_but([control.fileno(), namespace, *lifelines])
        _Outlet(command, control, lifelines).run(namespace, directory)
    except StepFailed as failure:
        messages.tell(control, failure.failed)
    finally:
        os._exit(0)


class _Outlet:
    def __init__(self, command: Sequence[str], control: socket.socket, lifelines: Sequence[int]) -> None:
        self._command = command
        self._control = control
        self._loop = service_loop(control, self._hear, *lifelines)
        self._errors = os.memfd_create("outlet-errors", os.MFD_CLOEXEC)
        self._program = 0
        self._told = False

    def run(self, namespace: int, directory: str) -> None:
        """Serves until the engine or the program is gone. Raises StepFailed."""
        with step(_STEP):
            path = _show(namespace, directory)
            os.close(namespace)
            children, children_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            signal.set_wakeup_fd(children_end)
            signal.signal(signal.SIGCHLD, lambda *_: None)
            ready, ready_end = os.pipe2(os.O_CLOEXEC)
            self._program = os.fork()
            if self._program == 0:
                self._execute(path, ready_end)
            os.close(ready_end)
        self._loop.watch(children, lambda: self._collect(children))
        if READY in self._command:
            self._loop.watch(ready, lambda: self._hear_that_it_is_ready(ready))
        self._loop.run()

    def _execute(self, path: str, ready: int) -> NoReturn:
        try:
            reset_signals()
            os.set_inheritable(ready, True)
            os.dup2(self._errors, 2)
            meanings = {NAMESPACE: path, READY: str(ready)}
            command = [meanings.get(word, word) for word in self._command]
            os.execv(command[0], command)  # noqa: S606  (a shell is what it should not have)
        except OSError as error:
            os.write(2, f"{self._command[0]}: {error.strerror}".encode())
        finally:
            os._exit(_NOT_EXECUTED)

    def _hear(self) -> None:
        """The engine says nothing: it has closed its end."""
        self._loop.stop()

    def _hear_that_it_is_ready(self, ready: int) -> None:
        self._loop.unwatch(ready)
        if os.read(ready, 1):
            self._tell(messages.Done())
        os.close(ready)

    def _collect(self, children: int) -> None:
        with suppress(BlockingIOError):
            os.read(children, 1 << 10)
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._program:
                    self._program_ended(os.waitstatus_to_exitcode(ended[1]))
        except ChildProcessError:
            self._loop.stop()  # and nothing of it runs in the background

    def _program_ended(self, code: int) -> None:
        if code == 0 and READY not in self._command:
            self._tell(messages.Done())
            return
        said = os.pread(self._errors, _LAST_WORDS, 0).decode(errors="replace")
        # Not every machine, and no container, has a system log, which pasta complains of at length.
        lines = [line for line in said.splitlines() if line.strip() and not line.endswith("to syslog")]
        detail = lines[-1].strip() if lines else f"{self._command[0]} has ended with exit code {code}"
        self._tell(Failed(_STEP, 0, detail))

    def _tell(self, message: messages.Message) -> None:
        if not self._told:
            self._told = True
            messages.tell(self._control, message)


def _show(namespace: int, directory: str) -> str:
    """Shows the namespace at a path, to this process and its children alone: a program without the right to look into
    ours finds it nowhere else. Raises OSError.
    """
    namespaces.unshare(namespaces.MOUNT)
    mount.set_propagation("/", mount.SLAVE)
    # pasta's AppArmor profile, where one is in force, lets it open namespaces below /run/user/UID/netns alone.
    top = _RUN if os.path.isdir(_RUN) else directory
    mount.mount("pycontainer", top, "tmpfs", mount.NOSUID | mount.NODEV, "mode=0755,size=64k")
    path = os.path.join(top, f"user/{os.getuid()}/netns/network")
    os.makedirs(os.path.dirname(path))
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o444))
    mount.bind(f"/proc/self/fd/{namespace}", path)
    return path
