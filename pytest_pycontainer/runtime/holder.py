"""The process that spawner and monitors take for their owner, where containers may stay after the owner's end.

It ends as soon as the owner does, however that ends, and with it all containers: unless it has been handed what holds
them. Then it stays until the last of those containers is removed.
"""

import os
import select
import signal
import socket

HOLD, WATCH, STAY = b"h", b"w", b"s"
"""What the descriptors that come with the byte are: to be held; a container's connection; nothing, that was all."""

DESCRIPTORS_AT_MOST = 200
"""With one message (the kernel's own limit is 253)."""

_READ_BYTES = 1 << 16


def main(requests: int, owner_process: int) -> None:
    """Serves the owner at the other end of ``requests``, a pidfd of which is ``owner_process``. Returns at the end."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # it is told when to end
    poll = select.poll()
    for descriptor in (requests, owner_process):  # the socket alone may be held by a child that the owner has forked
        poll.register(descriptor, select.POLLIN)
    with socket.socket(fileno=requests) as owner:
        held: list[int] = []
        watched: list[int] = []
        said = b""
        while said != STAY:
            if requests not in dict(poll.poll()):
                return  # what it had to say, it has said before its end
            said, descriptors, _, _ = socket.recv_fds(owner, 1, DESCRIPTORS_AT_MOST)
            if not said:
                return  # the owner is gone, and has left nothing
            (watched if said == WATCH else held).extend(descriptors)
        owner.send(STAY)
    poll = select.poll()
    for connection in watched:
        poll.register(connection, select.POLLIN)
    remaining = set(watched)
    while remaining:
        for connection, _ in poll.poll():
            # What a monitor tells is for nobody; unread, it would block it some day.
            if _is_over(connection):
                poll.unregister(connection)
                remaining.discard(connection)


def _is_over(connection: int) -> bool:
    """Throws away what there is; whether that was the end."""
    try:
        return not os.read(connection, _READ_BYTES)
    except BlockingIOError:
        return False
    except OSError:
        return True
