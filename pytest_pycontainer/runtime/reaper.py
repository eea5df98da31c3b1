"""The reaper: a PID 1 of ours that passes signals on to the command and collects orphans (docker's ``--init``)."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress

from pytest_pycontainer.kernel import credentials
from pytest_pycontainer.runtime.failure import step

# What the kernel raises for the process's own faults is not a message to pass on.
_KEPT = {signal.SIGCHLD, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP, signal.SIGSYS}


def run_as_child(*told: socket.socket) -> None:
    """Forks. In the child it returns, for the command to be executed; the parent stays as the reaper and never returns.

    Both may do what this process may: it has become the container's before. Of the sockets ``told`` the child alone
    keeps an end open. The reaper exits with the child's code, 128 + n where signal n ended it; the kernel then ends
    what is left.
    """
    # It stays visible in the container, so it gives nothing away (CVE-2019-5736).
    credentials.hide_process()
    forwarded = signal.valid_signals() - _KEPT
    signal.pthread_sigmask(signal.SIG_BLOCK, forwarded | {signal.SIGCHLD})
    with step("fork the command"):
        child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        with suppress(OSError):  # there may be no terminal
            os.tcsetpgrp(0, os.getpgrp())
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        return
    for one in told:
        one.close()
    # A bare loop with no exit but this one: any error would be the end of the container, as it is for any PID 1.
    while True:
        number = signal.sigwait(forwarded | {signal.SIGCHLD})
        if number == signal.SIGCHLD:
            status = _reap(child)
            if status is not None:
                os._exit(exit_code(status))
        else:
            with suppress(OSError):  # it may have become somebody whom this process may not signal
                os.kill(child, number)


def _reap(child: int) -> int | None:
    """Collects every process that has ended; the wait status of ``child`` if it was among them."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            return status
        if pid == 0:
            return None


def exit_code(status: int) -> int:
    """Docker's exit code for a wait status: the process's own, or 128 + n where signal n ended it."""
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code
