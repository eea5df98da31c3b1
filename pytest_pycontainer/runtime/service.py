"""Processes of an engine's that are no container's: its resolver and its forwarder, each forked when it is needed."""

from __future__ import annotations

import gc
import os
import signal
import socket
from collections.abc import Callable
from typing import NoReturn, Protocol

from pytest_pycontainer.runtime.event_loop import EventLoop
from pytest_pycontainer.runtime.process import close_all_but


class Service(Protocol):
    """What such a process does."""

    def run(self) -> None:
        """Serves until the engine is gone."""
        ...


def run_service(make: Callable[..., Service], control: socket.socket, owner: int, spawner: int) -> NoReturn:
    """Becomes the service that ``make`` makes of these: what is asked of it comes by ``control``; the others are the
    lifelines. Never returns.
    """
    try:
        close_all_but([control.fileno(), owner, spawner])
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        gc.enable()
        make(control, owner, spawner).run()
    finally:
        os._exit(0)


def service_loop(control: socket.socket, hear: Callable[[], object], *lifelines: int) -> EventLoop:
    """A loop that has ``hear`` called for what ``control`` brings, and that ends with any of the lifelines."""
    loop = EventLoop()
    loop.watch(control.fileno(), hear)
    for lifeline in lifelines:
        loop.watch(lifeline, loop.stop)
    return loop
