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
    reset_signals,
)
from pytest_pycontainer.runtime.spec import IdMap, ProcessSpec
from pytest_pycontainer.runtime.user_namespace import become_root

_JOINED = namespaces.ALL & ~(namespaces.PID | namespaces.USER)
_FAILED = 125


def run_execute(
    process: ProcessSpec,
    cgroup: tuple[str, ...],
    init: int,
    answer: socket.socket,
    streams: Sequence[int],
    ids: IdMap | None,
) -> NoReturn:
    """Joins the container of the pidfd ``init`` and becomes the command; runs in a child made for it.

    ``streams`` become standard input, output and error. A failing step goes out on ``answer`` as ``Failed``; the
    monitor sends the exit. With ``ids`` the container has a user namespace, with these users and groups.
    """
    try:
        # Before the container can see this process (CVE-2016-9962, CVE-2019-5736).
        credentials.hide_process()
        os.setsid()
        reset_signals()
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
        adjust_oom_score(process)
        with step("join the container"):
            cgroups.join(cgroup)
            credentials.join_new_keyring()
            sys.path.clear()
            if ids is None:
                namespaces.enter(init, _JOINED)
            else:
                for number in range(len(streams)):
                    own_stream(number, ids.uid, ids.gid)
                namespaces.enter(init, _JOINED | namespaces.USER)
                become_root()
        close_all_but([answer.fileno()])
        environment = become(process)
        execute(process.command, environment)
    except StepFailed as failure:
        messages.send(answer, failure.failed)
    except Exception as error:  # noqa: BLE001  (nobody else would tell of it)
        messages.send(answer, messages.Failed("start a process in the container", 0, repr(error)))
    finally:
        os._exit(_FAILED)
