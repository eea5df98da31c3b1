"""Shows what takes long, and leaves alone what does not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Final

SLOW_SECONDS: Final = 1.0
"""What takes no longer is not shown."""


@contextmanager
def shown_if_slow(show: Callable[[], AbstractContextManager[object]], seconds: float = SLOW_SECONDS) -> Iterator[None]:
    """The block is shown, by ``show()``, from when it has taken ``seconds`` to its end.

    ``show`` is called in another thread, for which this one waits at the end. None is left: a test may fork.
    """
    over, shown = threading.Event(), ExitStack()

    def watch() -> None:
        if not over.wait(seconds):
            shown.enter_context(show())

    watching = threading.Thread(target=watch, name="pycontainer-slow-step", daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()
        shown.close()
