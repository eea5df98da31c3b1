"""Measures what containers use, while they run."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from pytest_pycontainer.errors import PycontainerError

if TYPE_CHECKING:
    from pytest_pycontainer.reporting.recorder import Recorder

INTERVAL: Final = 0.25
"""Seconds between two looks at a container, or more where there are many: it is to cost a fiftieth of one CPU."""

_SHARE: Final = 0.02


class Sampler:
    """A thread that notes CPU time and memory of the containers that a recorder knows. A context manager."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="pycontainer-sampler", daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        pause = INTERVAL
        while not self._ended.wait(pause):
            begin = time.monotonic()
            for life, container in self._recorder.living():
                try:
                    stats = container.stats()
                except (PycontainerError, OSError):
                    continue  # it has just been removed
                memory = 0 if stats.memory is None else stats.memory.usage
                life.samples.append((stats.time, stats.cpu.total, memory))
            pause = max(INTERVAL, (time.monotonic() - begin) / _SHARE)
