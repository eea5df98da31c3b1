"""``attach``: a container's streams become the command's own."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from pytest_pycontainer.cli import terminal
from pytest_pycontainer.cli.command import Command
from pytest_pycontainer.cli.detach_keys import DEFAULT, DETACH_KEYS, DetachKeys
from pytest_pycontainer.cli.flags import Flag, Given, UsageError
from pytest_pycontainer.errors import ContainerHasNoTerminalError, PycontainerError

if TYPE_CHECKING:
    from pytest_pycontainer.cli.session import Session
    from pytest_pycontainer.engine.attached import AttachedSession
    from pytest_pycontainer.engine.container import Container

_HANDED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def _attach(session: Session, given: Given) -> int:
    container = session.engine.find(given.arguments[0])
    if (status := container.status) != "running":
        paused = "unpause" if status == "paused" else "start"
        raise UsageError(f"You cannot attach to a {status} container, {paused} it first", 1)
    keys = DetachKeys(given.text("detach-keys") or DEFAULT)
    stdin = container.has_stdin and not given.switch("no-stdin")
    if stdin and container.has_terminal and not sys.stdin.isatty():
        raise UsageError("the input device is not a TTY", 1)
    with container.attach(stdin=stdin) as attached:
        proxies = given.switch("sig-proxy", default=True)
        return accompany(container, attached, keys, stdin=stdin, proxies=proxies)


def accompany(container: Container, attached: AttachedSession, keys: DetachKeys, *, stdin: bool, proxies: bool) -> int:
    """Stays with a container until it has exited, whose code is returned, or is left by the keys.

    With ``stdin`` it gets what is typed, and with ``proxies`` the signals that this process gets.
    """
    at_terminal = container.has_terminal and sys.stdin.isatty()

    def tell(number: int) -> None:
        with suppress(PycontainerError):  # it has just ended
            if number == signal.SIGWINCH:
                attached.resize(*terminal.size())
            else:
                container.kill(number)

    heard = (*((signal.SIGWINCH,) if at_terminal else ()), *(_HANDED_ON if proxies else ()))
    with ExitStack() as stack:
        stack.enter_context(terminal.heard(heard, tell))
        if at_terminal:
            with suppress(ContainerHasNoTerminalError):  # it has exited already
                attached.resize(*terminal.size())
            if stdin:
                stack.enter_context(terminal.raw())
        if stdin:
            terminal.feed(attached.write, attached.close_stdin, keys if at_terminal else None, attached.detach)
        try:
            while entries := attached.read_entries():
                for entry in entries:
                    # A stream's number is that of its descriptor, in every process.
                    terminal.write_all(entry.stream, entry.data)
        except ValueError:
            if not keys.complete:
                raise
    if keys.complete:
        sys.stderr.write("read escape sequence\n")
        return 0
    return container.wait()


COMMANDS = {
    "attach": Command(
        "[OPTIONS] CONTAINER",
        _attach,
        (
            DETACH_KEYS,
            Flag("no-stdin", "Do not hand standard input on"),
            Flag("sig-proxy", "Hand signals on to the container", default="true"),
        ),
        least=1,
        most=1,
    )
}
