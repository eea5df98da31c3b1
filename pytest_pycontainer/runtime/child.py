"""A child of the spawner that does one thing, answers, and is gone."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Sequence

from pytest_pycontainer.kernel import credentials
from pytest_pycontainer.runtime import messages
from pytest_pycontainer.runtime.failure import StepFailed
from pytest_pycontainer.runtime.process import close_all_but

_FAILED = 125

Answer = tuple[messages.Message, list[int]]
"""A message, and the descriptors that go with it."""


def fork_to_answer(answer: socket.socket, work: Callable[[], Answer], keep: Sequence[int] = ()) -> None:
    """Has ``work`` done in a child made for it; what it gives, or ``Failed``, goes out on ``answer``.

    ``work`` raises StepFailed, and of this process's descriptors has those to ``keep``. The child ends with this
    process. Raises OSError if there can be no child.
    """
    parent = os.getpid()
    if os.fork() != 0:
        return
    code = _FAILED
    try:
        credentials.die_with_parent(signal.SIGKILL)
        if os.getppid() != parent:
            return  # it was gone before
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        close_all_but([answer.fileno(), *keep])
        os.umask(0)
        message, descriptors = work()
        messages.send(answer, message, descriptors)
        code = 0
    except StepFailed as failure:
        messages.send(answer, failure.failed)
    finally:
        os._exit(code)
