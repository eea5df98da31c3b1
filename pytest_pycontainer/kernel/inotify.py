"""Being told that files changed (``man 7 inotify``)."""

from __future__ import annotations

import os
import select
import threading
from types import TracebackType

from pytest_pycontainer.kernel import libc

_IN_MODIFY = 0x2
_IN_NONBLOCK = os.O_NONBLOCK
_IN_CLOEXEC = os.O_CLOEXEC
_EVENTS_AT_ONCE = 64 * 1024


class ModificationWatch:
    """Tells when one file is written to. A context manager; it holds one descriptor.

    A thread closes that: the kernel answers only when nobody can be looking at the watch any more, which takes it tens
    of milliseconds, and longer than many a container lives.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._descriptor = libc.call("inotify_init1", _IN_NONBLOCK | _IN_CLOEXEC)
        try:
            libc.call("inotify_add_watch", self._descriptor, os.fsencode(path), _IN_MODIFY)
        except OSError:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> ModificationWatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        threading.Thread(target=os.close, args=(self._descriptor,), name="close a watch", daemon=True).start()

    def fileno(self) -> int:
        return self._descriptor

    def wait(self, timeout: float | None, other: int) -> bool:
        """Returns when the file was written to, ``other`` is readable, or after ``timeout`` s; whether ``other`` is.

        Writes since the last call count, so nothing is missed between reading the file and waiting.
        """
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        poll.register(other, select.POLLIN)
        ready = [descriptor for descriptor, _ in poll.poll(None if timeout is None else max(0.0, timeout) * 1000)]
        if self._descriptor in ready:
            os.read(self._descriptor, _EVENTS_AT_ONCE)
        return other in ready
