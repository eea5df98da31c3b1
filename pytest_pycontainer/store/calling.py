"""How the store does what takes rights over other users' files: through one function that it is handed.

As root that calls directly. An ordinary user's engine has the call carried out by a process that is root in the user
namespace of its containers (``runtime/calls``), in which the users of their files are.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, BinaryIO, Protocol, TypeVar

Result = TypeVar("Result")

Write = Callable[[bytes | memoryview], object]
"""Takes a piece of a stream; the piece is only good until it returns."""

_PIECE = 1 << 18


class Caller(Protocol):
    """Calls a function of a module with arguments that can be pickled, and ``descriptors`` as the last ones.

    Returns what it returns and raises what it raises. The function may run in another process.
    """

    def __call__(
        self, function: Callable[..., Result], /, *arguments: object, descriptors: Sequence[int] = ()
    ) -> Result: ...


def directly(function: Callable[..., Result], /, *arguments: object, descriptors: Sequence[int] = ()) -> Result:
    """The Caller of who has all rights."""
    return function(*arguments, *descriptors)


class CallInThread:
    """A call that goes on while its caller does something else, such as to feed it through a pipe.

    The ``descriptors`` are the call's, and closed at its end.
    """

    def __init__(
        self, call: Caller, function: Callable[..., Any], *arguments: object, descriptors: Sequence[int] = ()
    ) -> None:
        self._result: Any = None
        self._error: BaseException | None = None

        def work() -> None:
            try:
                self._result = call(function, *arguments, descriptors=descriptors)
            except BaseException as error:  # noqa: BLE001  (it is raised where the result is wanted)
                self._error = error
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)  # so that whoever reads at the other end hears of the end

        self._thread = threading.Thread(target=work, name="call", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Returns at its end, however it ends."""
        self._thread.join()

    def result(self) -> Any:
        """What it returned. Raises what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result


def write_through(
    call: Caller, archive: Callable[..., Result], write: Write, *, descriptors: Sequence[int] = ()
) -> Result:
    """Has ``archive`` called with a function that hands each piece it is given to ``write`` here, and ``descriptors``.

    Returns what ``archive`` returns, and raises what either raises.
    """
    if call is directly:
        return archive(write, *descriptors)
    reading, writing = os.pipe()
    kept = [os.dup(descriptor) for descriptor in descriptors]
    going_on = CallInThread(call, _archive_to, archive, descriptors=[writing, *kept])
    try:
        with open(reading, "rb", buffering=0) as source:  # noqa: PTH123  (a descriptor)
            while piece := source.read(_PIECE):
                write(piece)
    finally:
        going_on.wait()
    result: Result = going_on.result()
    return result


def _archive_to(archive: Callable[..., Result], writing: int, *descriptors: int) -> Result:
    with open(writing, "wb", buffering=_PIECE) as file:
        return archive(file.write, *descriptors)


def read_through(
    call: Caller, extract: Callable[..., Result], file: BinaryIO, *, descriptors: Sequence[int] = ()
) -> Result:
    """Has ``extract`` called with a file that reads what ``file`` has here, and ``descriptors``.

    Returns what ``extract`` returns, and raises what either raises. What it does not read of ``file`` may have been
    read here.
    """
    if call is directly:
        return extract(file, *descriptors)
    reading, writing = os.pipe()
    kept = [os.dup(descriptor) for descriptor in descriptors]
    going_on = CallInThread(call, _extract_from, extract, descriptors=[reading, *kept])
    # Who extracts may have read enough, or have failed: then its result says so.
    try:
        with suppress(BrokenPipeError), open(writing, "wb", buffering=0) as target:  # noqa: PTH123  (a descriptor)
            while piece := file.read(_PIECE):
                left = memoryview(piece)
                while left:
                    left = left[target.write(left) or 0 :]
    finally:
        going_on.wait()
    result: Result = going_on.result()
    return result


def _extract_from(extract: Callable[..., Result], reading: int, *descriptors: int) -> Result:
    with open(reading, "rb") as file:
        return extract(file, *descriptors)
