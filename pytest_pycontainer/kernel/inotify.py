"""Being told that files changed (``man 7 inotify``)."""

from __future__ import annotations

import os
import threading
from types import TracebackType

from pytest_pycontainer.kernel import libc

_IN_MODIFY = 0x2
_IN_CREATE = 0x100
_IN_NONBLOCK = os.O_NONBLOCK
_IN_CLOEXEC = os.O_CLOEXEC
_EVENTS_AT_ONCE = 64 * 1024


class DirectoryWatch:
    """Tells when a file in one directory is written to or made. A context manager; it holds one descriptor.

    A thread closes that: the kernel answers only when nobody can be looking at the watch any more, which takes it tens
    of milliseconds, and longer than many a container lives.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._descriptor = libc.call("inotify_init1", _IN_NONBLOCK | _IN_CLOEXEC)
        try:
            libc.call("inotify_add_watch", self._descriptor, os.fsencode(path), _IN_MODIFY | _IN_CREATE)
        except OSError:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> DirectoryWatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the watch."""
        threading.Thread(target=os.close, args=(self._descriptor,), name="close a watch", daemon=True).start()

    def fileno(self) -> int:
        """A descriptor that is readable when something happened since ``forget``."""
        return self._descriptor

    def forget(self) -> None:
        """Forgets what happened until now; to be said before one looks."""
        try:
            while len(os.read(self._descriptor, _EVENTS_AT_ONCE)) > _EVENTS_AT_ONCE // 2:
                pass
        except BlockingIOError:
            pass
