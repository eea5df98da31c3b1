"""``exec``: a further program in a container."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from pytest_pycontainer.cli import terminal
from pytest_pycontainer.cli.command import Command
from pytest_pycontainer.cli.detach_keys import DEFAULT, DETACH_KEYS, DetachKeys
from pytest_pycontainer.cli.environment import read_environment
from pytest_pycontainer.cli.flags import Flag, Given, UsageError
from pytest_pycontainer.errors import PycontainerError

if TYPE_CHECKING:
    from pytest_pycontainer.cli.session import Session
    from pytest_pycontainer.engine.container_process import ContainerProcess

_READ_SIZE = 64 * 1024


def _exec(session: Session, given: Given) -> int:
    name, *command = given.arguments
    wants_terminal, interactive, detach = given.switch("tty"), given.switch("interactive"), given.switch("detach")
    if wants_terminal and interactive and not detach and not sys.stdin.isatty():
        raise UsageError("the input device is not a TTY", 1)
    keys = DetachKeys(given.text("detach-keys") or DEFAULT)
    container = session.engine.find(name)
    at_terminal = wants_terminal and sys.stdout.isatty()
    try:
        process = container.popen(
            command,
            stdin=interactive,
            detach=detach,
            tty=wants_terminal,
            size=terminal.size() if at_terminal and not detach else None,
            env=read_environment(given),
            user=given.text("user"),
            workdir=given.text("workdir"),
            privileged=given.switch("privileged"),
        )
    except PycontainerError as error:
        session.print_error(error)
        return error.exit_code if error.exit_code in (126, 127) else 1
    if detach:
        process.close()
        return 0
    with ExitStack() as leaving:
        leaving.callback(process.close)  # it goes on if it has been left
        return _accompany(process, keys, interactive=interactive, at_terminal=at_terminal)


def _accompany(process: ContainerProcess, keys: DetachKeys, *, interactive: bool, at_terminal: bool) -> int:
    with ExitStack() as stack:
        if at_terminal:
            stack.enter_context(terminal.heard({signal.SIGWINCH}, lambda _: process.resize(*terminal.size())))
            if interactive:
                stack.enter_context(terminal.raw())
        if interactive:
            terminal.feed(process.write, process.close_stdin, keys if at_terminal else None, process.close)
        try:
            with terminal.copied(lambda: process.stderr.read_bytes(_READ_SIZE), sys.stderr.fileno()):
                terminal.copy(lambda: process.stdout.read_bytes(_READ_SIZE), sys.stdout.fileno())
            return process.wait()
        except ValueError:
            if keys.complete:
                return 0
            raise


COMMANDS = {
    "exec": Command(
        "[OPTIONS] CONTAINER COMMAND [ARG...]",
        _exec,
        (
            Flag("detach", "Leave the program running", "d"),
            DETACH_KEYS,
            Flag("env", "Set a variable of its environment", "e", "list", True),
            Flag("env-file", "Set the variables that a file has", value="list", several=True),
            Flag("interactive", "Hand standard input on", "i"),
            Flag("privileged", "Give it all capabilities"),
            Flag("tty", "Give it a terminal", "t"),
            Flag("user", "Run as this user, name or id[:group]", "u", "string"),
            Flag("workdir", "Begin in this directory of the container", "w", "string"),
        ),
        least=2,
        most=None,
        options_first=True,
    )
}
