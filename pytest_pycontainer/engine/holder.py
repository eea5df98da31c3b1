"""``Holder``: what lets an engine's containers stay when its process ends."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from pytest_pycontainer.errors import SpawnerError
from pytest_pycontainer.runtime.holder import DESCRIPTORS_AT_MOST, HOLD, STAY, WATCH
from pytest_pycontainer.settings import Settings

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from pytest_pycontainer.runtime.holder import main; main(int(sys.argv[2]), int(sys.argv[3]))"
)
_SECONDS = 30.0
_FAMILIES: Final = (socket.AF_UNIX, socket.AF_NETLINK)

_left: Final[list[object]] = []


class Holder:
    """A process in whose name containers are run, see ``runtime.holder``. Ends with this one, unless told to stay."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._socket, theirs = socket.socketpair()
        package_parent = str(Path(__file__).parents[2])
        places = (str(settings.root), str(settings.state))  # for whoever lists processes
        owner = os.pidfd_open(os.getpid())
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [
                        sys.executable,
                        "-I",
                        "-S",
                        "-c",
                        _BOOT,
                        package_parent,
                        str(theirs.fileno()),
                        str(owner),
                        *places,
                    ],
                    pass_fds=[theirs.fileno(), owner],
                    env={},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    start_new_session=True,  # Ctrl-C is for the tests
                )
            except OSError as error:
                self._socket.close()
                raise SpawnerError("start what holds kept containers", str(error)) from error
            finally:
                os.close(owner)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def close(self) -> None:
        """Ends it, and waits for that."""
        self._socket.close()
        try:
            self._process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def stay(self, connections: Iterable[int], owner: object) -> None:
        """Has it hold all that this process's engines hold, until the other ends of ``connections`` are closed.

        ``owner`` has all that and is not to be used any more; it stays as it is until this process ends. Raises
        SpawnerError.
        """
        _left.extend((self, owner))  # to let go of it would take down what is to stay, or warn that nobody did
        try:
            self._socket.settimeout(_SECONDS)
            for kind, descriptors in ((HOLD, list(_descriptors(self._settings))), (WATCH, list(connections))):
                for begin in range(0, len(descriptors), DESCRIPTORS_AT_MOST):
                    socket.send_fds(self._socket, [kind], descriptors[begin : begin + DESCRIPTORS_AT_MOST])
            self._socket.send(STAY)
            answer = self._socket.recv(1)
        except OSError as error:
            raise SpawnerError("keep containers", f"who was to hold them is gone: {error}") from error
        if answer != STAY:
            raise SpawnerError("keep containers", "who was to hold them has ended")


def _descriptors(settings: Settings) -> Iterator[int]:
    """All of this process that are of the kinds which hold something for an engine: sockets to processes of its own
    and to the kernel, namespaces, locks. Others of these kinds, if there are any, are held in vain.
    """
    ours = tuple(f"{directory}/" for directory in (settings.root, settings.state))
    for descriptor in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208  (names alone)
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115
            mode = os.fstat(descriptor).st_mode
        except OSError:
            continue  # the listing's own
        if stat.S_ISSOCK(mode):
            with socket.socket(fileno=os.dup(descriptor)) as opened:
                wanted = opened.family in _FAMILIES
        else:
            wanted = target.startswith((*ours, "net:[", "user:["))
        if wanted:
            yield descriptor
