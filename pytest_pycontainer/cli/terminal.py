"""The terminal and the signals of the command itself, while they belong to a program in a container."""

from __future__ import annotations

import os
import signal
import sys
import termios
import threading
import tty
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pytest_pycontainer.cli.detach_keys import DetachKeys

_READ_SIZE = 32 * 1024
_STOP = signal.SIGRTMIN  # nobody else sends this one


def size() -> tuple[int, int]:
    """Columns and lines of the terminal that standard output is."""
    columns, lines = os.get_terminal_size(sys.stdout.fileno())
    return columns, lines


@contextmanager
def raw() -> Iterator[None]:
    """Each key comes at once, as it is, for the length of a block; the terminal is as it was afterwards."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor, termios.TCSANOW)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def heard(numbers: Iterable[int], tell: Callable[[int], object]) -> Iterator[None]:
    """Signals are told, by a thread, for the length of a block, and do nothing else.

    No handler could do that: it would interrupt this very thread, which may hold the locks that ``tell`` wants.
    """
    waited = {*numbers, _STOP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited)

    def listen() -> None:
        while (number := signal.sigwait(waited)) != _STOP:
            with suppress(OSError):  # the terminal, or who was to be told, has gone
                tell(number)

    thread = threading.Thread(target=listen, name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        if thread.ident is not None:
            signal.pthread_kill(thread.ident, _STOP)
        thread.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def feed(
    write: Callable[[bytes], object],
    close: Callable[[], object],
    keys: DetachKeys | None,
    leave: Callable[[], object],
) -> None:
    """Has a thread hand standard input on as it comes, and its end; it is not waited for.

    When the ``keys`` are complete, it calls ``leave`` and ends.
    """

    def pump() -> None:
        with suppress(OSError, ValueError):  # nobody reads it any more, or all is over
            while data := os.read(sys.stdin.fileno(), _READ_SIZE):
                write(data if keys is None else keys.filter(data))
                if keys is not None and keys.complete:
                    leave()
                    return
            close()

    threading.Thread(target=pump, name="standard input", daemon=True).start()


@contextmanager
def copied(read: Callable[[], bytes], descriptor: int) -> Iterator[None]:
    """Has a thread copy what is read to a descriptor, up to the end; that is waited for at the end of a block."""
    thread = threading.Thread(target=copy, args=(read, descriptor), name=f"to {descriptor}", daemon=True)
    with ExitStack() as closing:
        thread.start()
        closing.callback(thread.join)
        yield


def copy(read: Callable[[], bytes], descriptor: int) -> None:
    """Copies what is read to a descriptor, up to the end."""
    while data := read():
        write_all(descriptor, data)


def write_all(descriptor: int, data: bytes) -> None:
    """Writes all of it, at once: nothing stays in a buffer."""
    whole = memoryview(data)
    while whole:
        whole = whole[os.write(descriptor, whole) :]
