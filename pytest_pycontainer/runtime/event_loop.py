"""The monitor's event loop: one thread that is called back when a descriptor is ready or a moment has come."""

from __future__ import annotations

import gc
import heapq
import itertools
import math
import select
import time
from collections.abc import Callable

_Callback = Callable[[], object]

_COLLECTED_AFTER = 500  # turns


class Timer:
    """A call that is still to come, unless it is cancelled."""

    __slots__ = ("_callback",)

    def __init__(self, callback: _Callback) -> None:
        self._callback: _Callback | None = callback

    def cancel(self) -> None:
        """Makes it never come. Cancelling what has come is no error."""
        self._callback = None

    def call(self) -> None:
        """Calls back, once."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class EventLoop:
    """Waits for descriptors and moments, and calls back, one after the other. No callback may block."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._callbacks: dict[int, _Callback] = {}
        self._dropped: set[int] = set()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()  # of timers for the same moment
        self._stopped = False

    def watch(self, descriptor: int, callback: _Callback, events: int = select.POLLIN) -> None:
        """Calls back whenever ``descriptor`` is ready for ``events`` (``man 2 poll``), or its other end is closed.

        Watching it again changes what it is watched for.
        """
        self._poll.register(descriptor, events)
        self._callbacks[descriptor] = callback

    def unwatch(self, descriptor: int) -> None:
        """Does not call back any more; to be said before the descriptor is closed. No error if it is not watched."""
        if self._callbacks.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)
            self._dropped.add(descriptor)

    def call_at(self, moment: float, callback: _Callback) -> Timer:
        """Calls back once at ``moment``, in seconds of the monotonic clock."""
        timer = Timer(callback)
        heapq.heappush(self._timers, (moment, next(self._order), timer))
        return timer

    def stop(self) -> None:
        """Makes ``run`` return when the callback that says so has."""
        self._stopped = True

    @property
    def stopped(self) -> bool:
        """Whether it has been stopped."""
        return self._stopped

    def run(self) -> None:
        """Waits and calls back until it is stopped."""
        for turn in itertools.count(1):
            if self._stopped:
                return
            if turn % _COLLECTED_AFTER == 0:
                # Python's collector is off; and nobody else gives back the small tuples that pickling leaves behind.
                gc.collect()
            self._dropped.clear()
            for descriptor, _ in self._poll.poll(self._milliseconds()):
                # A callback may have closed another's descriptor, and its number may be another thing's by now.
                if descriptor not in self._dropped and not self._stopped:
                    self._callbacks[descriptor]()
            self._call_due()

    def _milliseconds(self) -> int | None:
        if not self._timers:
            return None
        return max(0, math.ceil((self._timers[0][0] - time.monotonic()) * 1000))

    def _call_due(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now and not self._stopped:
            _, _, timer = heapq.heappop(self._timers)
            timer.call()
