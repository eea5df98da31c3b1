"""A way to an SSH agent of this machine, for a container: a socket of its own."""

from __future__ import annotations

import os
import selectors
import socket
import threading
from contextlib import suppress
from pathlib import Path

_NAME = "agent"
_PIECE = 1 << 16
_SEND_SECONDS = 10.0


class AgentSocket:
    """Listens in ``directory``, which is ours alone, and passes each connection on to ``agent``, until it is closed.

    One thread serves all connections; it is woken by a pipe when that is to end, and the process's end ends it too.
    Raises OSError.
    """

    def __init__(self, directory: Path, agent: Path) -> None:
        self.path = directory / _NAME
        self._agent = agent
        self._listener = socket.socket(socket.AF_UNIX)
        try:
            # Through a descriptor: a socket's name has 108 bytes, whatever the directory's is.
            descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._listener.bind(f"/proc/self/fd/{descriptor}/{_NAME}")
            finally:
                os.close(descriptor)
            self._listener.listen()
        except BaseException:
            self._listener.close()
            raise
        self._end, self._end_writer = os.pipe()
        self._others: dict[socket.socket, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._serve, name="ssh agent", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends all connections and removes the socket."""
        os.close(self._end_writer)
        self._thread.join()
        self._selector.close()
        for one in (*self._others, self._listener):
            one.close()
        os.close(self._end)
        self.path.unlink(missing_ok=True)

    def _serve(self) -> None:
        self._selector.register(self._end, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket):
                    self._pass_on(key.fileobj)
                else:
                    return

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        agent = socket.socket(socket.AF_UNIX)
        for one in (client, agent):
            one.settimeout(_SEND_SECONDS)
        try:
            agent.connect(os.fspath(self._agent))
        except OSError:
            # The agent has gone: whoever asked sees its connection closed.
            client.close()
            agent.close()
            return
        for one, other in ((client, agent), (agent, client)):
            self._others[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, one: socket.socket) -> None:
        other = self._others.get(one)
        if other is None:  # closed a moment ago, with its other half
            return
        with suppress(OSError):
            if data := one.recv(_PIECE):
                other.sendall(data)
                return
        for half in (one, other):
            self._selector.unregister(half)
            del self._others[half]
            half.close()
