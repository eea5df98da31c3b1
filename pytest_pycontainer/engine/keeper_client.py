"""A keeper's end of a connection to one client."""

from __future__ import annotations

import os
import select
import socket
import struct

from pytest_pycontainer.engine.keeper_messages import Channel, Request

_CREDENTIALS = struct.Struct("@iII")  # struct ucred, man 7 unix


class KeeperClient:
    """A process at the other end of a connection, which children that it forks may hold open when it has ended.

    ``name`` is what it calls itself. One thread at a time. Raises OSError.
    """

    def __init__(self, connected: socket.socket) -> None:
        self.channel = Channel(connected)
        self.name = ""
        process, _, _ = _CREDENTIALS.unpack(
            connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        self._poll = select.poll()
        self._poll.register(connected, select.POLLIN)
        try:
            self._process = os.pidfd_open(process)
        except ProcessLookupError:  # it has ended; what it has said before is to be read
            self._process = -1
        else:
            self._poll.register(self._process, select.POLLIN)

    def next_request(self) -> Request | None:
        """What it asks for; None when it is gone."""
        ready = dict(self._poll.poll())
        request: Request | None = None if self._process in ready else self.channel.receive()
        return request

    def close(self) -> None:
        """Lets go of it."""
        self.channel.close()
        if self._process >= 0:
            os.close(self._process)
