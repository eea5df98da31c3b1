"""Children of the spawner that do one thing."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from typing import NoReturn

import pytest

from pytest_pycontainer.runtime import messages
from pytest_pycontainer.runtime.child import Answer, fork_to_answer
from pytest_pycontainer.runtime.failure import StepFailed


@pytest.mark.parametrize("ends", [messages.Done(), messages.Failed("a step", 2, "no such thing")])
def test_what_comes_of_the_work_is_answered(ends: messages.Done | messages.Failed) -> None:
    def work() -> Answer:
        if isinstance(ends, messages.Failed):
            raise StepFailed(ends)
        return ends, []

    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            fork_to_answer(theirs, work)
        assert messages.receive(ours) == (ends, [])
        assert messages.receive(ours) is None  # and it is gone
    os.wait()


def test_it_ends_with_its_parent() -> None:
    """Whatever it is at: a copy of a huge tree would go on for nobody."""

    def work() -> NoReturn:
        os.write(started_end, str(os.getpid()).encode())
        while True:
            time.sleep(1000)

    started, started_end = os.pipe()
    os.set_inheritable(started_end, True)
    ours, theirs = socket.socketpair()
    parent = os.fork()
    if parent == 0:
        # The answer's place keeps the pipe open: the child closes all else.
        os.dup2(started_end, 2)
        started_end = 2
        fork_to_answer(theirs, work)
        time.sleep(1000)
        os._exit(1)
    os.close(started_end)
    theirs.close()
    child = os.pidfd_open(int(os.read(started, 100)))
    try:
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        assert select.select([child], [], [], 10)[0], "it goes on"
    finally:
        os.close(child)
        os.close(started)
        ours.close()
