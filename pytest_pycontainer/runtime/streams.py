"""Standard input, output and error of a container's command: pipes, or a terminal of the container's own.

Output and error are pipes that the monitor makes ahead. What else a container wants its init makes, which knows of it
from the spec alone, and hands the monitor its end.
"""

from __future__ import annotations

import errno
import os
import socket

from pytest_pycontainer.kernel import mount
from pytest_pycontainer.runtime import logs, messages
from pytest_pycontainer.runtime.attachments import Attachments
from pytest_pycontainer.runtime.event_loop import EventLoop
from pytest_pycontainer.runtime.failure import step
from pytest_pycontainer.runtime.output import Output
from pytest_pycontainer.runtime.spec import ContainerDescription, ContainerSpec, TerminalSize
from pytest_pycontainer.runtime.terminal import open_terminal, resize_terminal, take_terminal

_CONSOLE = "/dev/console"


def open_streams(spec: ContainerSpec, report: socket.socket) -> None:
    """Makes, in init, the pipe or the terminal that the command is to have, and hands its other end to the monitor.

    Called in the container's root by the leader of a session. Raises StepFailed.
    """
    if spec.terminal is not None:
        outer, inner = open_terminal(spec.terminal)
        with step(f"make it {_CONSOLE}"):
            _show_at(inner, _CONSOLE)
        # With both ends: a terminal that no program has open would be at its end, though one may open it again.
        _hand_over(report, messages.StreamsOpened(spec.stdin_open), [outer, inner])
        os.close(outer)
        take_terminal(inner)
    elif spec.stdin_open:
        with step("make standard input"):
            reading, writing = os.pipe()
            os.dup2(reading, 0)
        _hand_over(report, messages.StreamsOpened(True), [writing])
        os.close(reading)
        os.close(writing)


def _hand_over(report: socket.socket, message: messages.StreamsOpened, descriptors: list[int]) -> None:
    # The command is to see the terminal as it was last resized.
    messages.send(report, message, descriptors)
    messages.receive(report)


def _show_at(descriptor: int, path: str) -> None:
    # By descriptors: in between nothing can be put in the place of either (CVE-2025-52565).
    target = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o666)
    tree = mount.clone_tree(descriptor)
    mount.attach(tree, target)
    os.close(tree)
    os.close(target)


class Streams:
    """The monitor's side of them, and the log."""

    def __init__(self, loop: EventLoop, directory: str) -> None:
        self._output = Output(loop, directory)
        self._attachments = Attachments(loop)
        self._terminal: tuple[int, int] | None = None
        self._size: TerminalSize | None = None  # of a container that has one, in this run and those to come

    def describe(self, description: ContainerDescription) -> None:
        """Says what the container has."""
        self._output.limit(description.log)
        self._attachments.expected = description.spec.stdin_open
        self._attachments.once = description.stdin_once
        self._size = self._size or description.spec.terminal

    def begin_run(self, output: int, errors: int) -> None:
        """The pipes of a run; they are this object's now."""
        self._output.follow(output, logs.STDOUT)
        self._output.follow(errors, logs.STDERR)

    def open(self, message: messages.StreamsOpened, descriptors: list[int]) -> None:
        """What init has opened; the descriptors are this object's now."""
        if len(descriptors) == 1:
            self._attachments.open_input(descriptors[0], terminal=False)
            return
        outer, inner = descriptors
        self._terminal = outer, inner
        if message.reads:
            self._attachments.open_input(os.dup(outer), terminal=True)
        self._output.follow(outer, logs.STDOUT)
        if self._size is not None:
            resize_terminal(outer, self._size)

    def serve(self, request: messages.Attach | messages.Resize, descriptors: list[int]) -> messages.Message:
        """Does what is asked, and returns the answer. The descriptors, of ``Attach``, stay the caller's."""
        if isinstance(request, messages.Attach):
            position = self._output.position
            client = socket.socket(fileno=os.dup(descriptors[0]))
            return messages.Attached(position, self._attachments.attach(client, writes=request.writes))
        if self._size is None:
            return messages.Failed("", errno.ENOTTY, "has no terminal")
        self._size = request.size
        if self._terminal is not None:
            resize_terminal(self._terminal[0], request.size)
        return messages.Done()

    def finish_run(self) -> None:
        """Logs what is left, and lets go of the run's streams and of who is attached to them."""
        self._output.finish_run()
        self._attachments.finish_run(self._output.position)
        if self._terminal is not None:
            os.close(self._terminal[1])
            self._terminal = None
