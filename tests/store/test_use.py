from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer.errors import StoreError

if TYPE_CHECKING:
    from pytest_pycontainer.store.store import Store

HOLD = """
import pathlib, sys, time
from pytest_pycontainer.store.store import Store
store = Store(pathlib.Path(sys.argv[1]))
with store.in_use() if sys.argv[2] == "in_use" else store.alone(10):
    print("held", flush=True)
    time.sleep(60)
"""


def test_many_may_share_it_and_one_thread_twice(store: Store) -> None:
    done = []

    def share() -> None:
        with store.in_use():
            done.append(True)

    with store.in_use(), store.in_use():
        thread = threading.Thread(target=share)
        thread.start()
        thread.join(10)
    assert done == [True]


def test_nobody_has_it_alone_while_it_is_shared(store: Store) -> None:
    with store.in_use(), pytest.raises(StoreError, match=r"in use for 0\.05 s.*end it"), store.alone(0.05):
        pass
    with store.alone(0), pytest.raises(StoreError, match=r"in use for 0 s"), store.alone(0):
        pass


def test_whoever_wants_to_share_it_waits_until_it_is_free(store: Store) -> None:
    order = []

    def share() -> None:
        with store.in_use():
            order.append("shared")

    thread = threading.Thread(target=share)
    with store.alone(0):
        thread.start()
        thread.join(0.1)
        order.append("freed")
    thread.join(10)
    assert order == ["freed", "shared"]


@pytest.mark.parametrize("how", ["in_use", "alone"])
def test_the_death_of_its_holder_frees_it(store: Store, how: str) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(store.root), how], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == b"held\n"
            with pytest.raises(StoreError, match="cannot lock"), store.alone(0):
                pass
        finally:
            os.kill(holder.pid, signal.SIGKILL)
            holder.wait(10)
    with store.alone(5):
        pass


def test_a_forked_child_does_not_keep_it(store: Store) -> None:
    read, write = os.pipe()
    with store.in_use():
        child = os.fork()
        if child == 0:
            os.close(write)
            os.read(read, 1)
            os._exit(0)
    try:
        with store.alone(5):
            pass
    finally:
        os.close(write)
        os.close(read)
        os.waitpid(child, 0)
