"""Functions called by a child of the spawner, which has rights that the engine's process has not.

An ordinary user's spawner is root in a user namespace: files of all its users can be read, made and removed there, and
by nobody else. As elsewhere, what is unpickled comes from a process of ours.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Sequence

from pytest_pycontainer.runtime.values import dataclass


@dataclass(frozen=True, slots=True)
class Call:
    """Engine → spawner, with a socket for the answer, and descriptors that the function gets: call a function.

    ``pickled`` are the function, by its name, and its arguments; ``path`` is where modules are looked for.
    """

    pickled: bytes
    path: tuple[str, ...]
    umask: int


@dataclass(frozen=True, slots=True)
class Returned:
    """The answer: what the function returned, or the error that it raised, pickled."""

    pickled: bytes
    raised: bool


CallMessage = Call | Returned


def encode_call(function: Callable[..., object], arguments: Sequence[object]) -> Call:
    """The message that has a function of a module called. Raises what pickle raises for what can't be sent."""
    return Call(pickle.dumps((function, tuple(arguments))), tuple(sys.path), _umask())


def _umask() -> int:
    # umask(2) tells it only by changing it, which other threads would notice.
    with open("/proc/self/status", "rb") as file:
        (mask,) = (line.split()[1] for line in file if line.startswith(b"Umask:"))
    return int(mask, 8)


def carry_out(call: Call, descriptors: Sequence[int]) -> Returned:
    """Calls the function, in a process that is there for nothing else; the descriptors are its last arguments."""
    sys.path[:] = call.path
    os.umask(call.umask)
    try:
        function, arguments = pickle.loads(call.pickled)  # noqa: S301  (see the module's docstring)
        return Returned(pickle.dumps(function(*arguments, *descriptors)), raised=False)
    except BaseException as error:  # noqa: BLE001  (it is the caller's)
        return Returned(_pickled(error), raised=True)


def _pickled(error: BaseException) -> bytes:
    try:
        return pickle.dumps(error)
    except Exception:  # noqa: BLE001  (whatever it has in it)
        return pickle.dumps(RuntimeError(repr(error)))
