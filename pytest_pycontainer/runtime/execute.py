"""A further process in a running container (docker's ``exec``)."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from typing import NoReturn

from pytest_pycontainer.kernel import credentials, namespaces
from pytest_pycontainer.runtime import cgroups, messages
from pytest_pycontainer.runtime.failure import StepFailed, step
from pytest_pycontainer.runtime.process import (
    adjust_oom_score,
    become,
    close_all_but,
    execute,
    own_stream,
    raise_hard_limits,
    reset_signals,
    set_exec_label,
)
from pytest_pycontainer.runtime.spec import Namespaces, ProcessSpec, TerminalSize
from pytest_pycontainer.runtime.terminal import KIND, open_terminal, take_terminal
from pytest_pycontainer.runtime.user_namespace import become_root

_JOINED = namespaces.ALL & ~(namespaces.PID | namespaces.USER)
_FAILED = 125


def run_execute(
    process: ProcessSpec,
    cgroup: tuple[str, ...],
    init: int,
    report: int,
    streams: Sequence[int],
    shared: Namespaces,
    terminal: TerminalSize | None,
    terminal_channel: socket.socket | None,
) -> NoReturn:
    """Joins the container of the pidfd ``init`` and becomes the command; runs in a child made for it.

    ``streams`` become standard input, output and error, or a ``terminal`` does, which then goes out on its channel. A
    failing step goes out on ``report`` as ``Failed``; that closes when the command is executed. ``shared``
    says which namespaces the container has of this machine, and whether it has a user namespace.
    """
    answer = socket.socket(fileno=os.dup(report))
    try:
        # Before the container can see this process (CVE-2016-9962, CVE-2019-5736).
        credentials.hide_process()
        os.setsid()
        reset_signals()
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
        adjust_oom_score(process)
        set_exec_label(process)
        with step("join the container"):
            cgroups.join(cgroup)
            credentials.join_new_keyring()
            sys.path.clear()
            # What is this machine's is this process's too, which may not have the right to enter it.
            joined, ids = _JOINED & ~shared.machine, shared.ids
            if ids is None:
                namespaces.enter(init, joined)
            else:
                for number in range(len(streams)):
                    own_stream(number, ids.uid, ids.gid)
                raise_hard_limits(process)
                namespaces.enter(init, joined | namespaces.USER)
                become_root()
        if terminal is not None and terminal_channel is not None:
            _give_terminal(terminal, terminal_channel)
        close_all_but([answer.fileno()])
        environment = become(process)
        if terminal is not None:
            environment.setdefault("TERM", KIND)
        execute(process.command, environment)
    except StepFailed as failure:
        messages.send(answer, failure.failed)
    except Exception as error:  # noqa: BLE001  (nobody else would tell of it)
        messages.send(answer, messages.Failed("start a process in the container", 0, repr(error)))
    finally:
        os._exit(_FAILED)


def _give_terminal(size: TerminalSize, channel: socket.socket) -> None:
    outer, inner = open_terminal(size)
    messages.send(channel, messages.TerminalOpened(), [outer])
    take_terminal(inner)
