"""The keeper's own side: a process that has an engine for others, whose containers thus outlive each of them.

One of a pytest run ends, with all that it has, when its last client is gone, in whatever way: the kernel closes the
connection of one that was killed. One that stays does so when it has nothing any more.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from pytest_pycontainer.engine.container import Container
from pytest_pycontainer.engine.engine import Engine
from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.keeper_client import KeeperClient
from pytest_pycontainer.engine.keeper_messages import (
    Answer,
    BeingMade,
    Claim,
    Discard,
    Done,
    Failed,
    Finished,
    Granted,
    KeeperOptions,
    Kept,
    Leave,
    MakeNetwork,
    Refused,
    Removed,
    RemoveUnused,
    Request,
    RunContainer,
    SharedNetwork,
    Wanted,
    pickled_error,
)
from pytest_pycontainer.engine.networks import Network
from pytest_pycontainer.errors import ContainerRunningError, InvalidSpecError, KeeperError, PycontainerError
from pytest_pycontainer.kernel.process_name import rename_process

_LOCK_SECONDS = 60.0


def main(listener: int) -> None:
    """Serves clients that connect to ``listener``; returns when there is nothing more to keep."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C is for the tests
    options: KeeperOptions = pickle.load(sys.stdin.buffer)  # noqa: S301  (written by who has started this process)
    with suppress(OSError):
        rename_process("pyc-keeper", ("pycontainer-keeper", options.address))
    with socket.socket(fileno=listener) as listening:
        _KeeperProcess(options, listening).run()


@dataclass(slots=True, eq=False)
class _Entry:
    """A container or network that is there, or about to be: then ``maker`` makes it, and it is that one's alone.

    ``error`` is why there can be none.
    """

    wanted: Wanted
    maker: KeeperClient | None
    container: Container | None = None
    network: Network | None = None
    error: bytes | None = None
    was_ready: bool = False
    users: set[KeeperClient] = field(default_factory=set)

    def answer(self) -> Kept | None:
        """What it is for a client; None if it is not there."""
        if self.container is not None:
            return Kept(self.container.id)
        if (made := self.network) is not None:
            return Kept(SharedNetwork(made.name, made.subnet, made.ipv6_subnet, made.gateway, made.internal))
        return None


class _KeeperProcess:
    """One thread for each client; ``_changed`` guards what is kept, and tells those who wait for it."""

    def __init__(self, options: KeeperOptions, listener: socket.socket) -> None:
        self._options = options
        self._listener = listener
        self._changed = threading.Condition()
        self._kept: dict[str, _Entry] = {}
        self._clients: set[KeeperClient] = set()
        self._served: set[KeeperClient] = set()  # those, too, that have left and are to be told when all is gone
        self._engine: Engine | None = None
        self._left = os.eventfd(0, os.EFD_CLOEXEC)

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._left, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if self._listener.fileno() in ready:
                self._accept()
            else:
                os.eventfd_read(self._left)
                if self._is_over() and self._end():
                    return

    def _accept(self) -> None:
        connected, _ = self._listener.accept()
        try:
            client = KeeperClient(connected)
        except OSError:  # out of descriptors: that client is told that the keeper is gone, the others are not
            connected.close()
            return
        with self._changed:
            self._clients.add(client)
            self._served.add(client)
        threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _is_over(self) -> bool:
        with self._changed:
            return not self._served and not self._kept

    def _end(self) -> bool:
        """Whether nobody has connected meanwhile: under the lock nobody does, and afterwards another one is started."""
        with FileLock(self._options.lock, timeout=_LOCK_SECONDS):
            if select.select([self._listener], [], [], 0)[0]:
                return False
            for path in (self._options.address, self._options.log):
                Path(path).unlink(missing_ok=True)
        return True

    # For one client, in its thread

    def _serve(self, client: KeeperClient) -> None:
        try:
            while (request := client.next_request()) is not None:
                if isinstance(request, Leave):
                    client.channel.send(self._let_go(client))
                    return
                client.channel.send(self._answer(client, request))
        finally:
            self._let_go(client)
            client.close()
            with self._changed:
                self._served.discard(client)
            os.eventfd_write(self._left, 1)

    def _answer(self, client: KeeperClient, request: Request) -> Answer:
        try:
            match request:
                case Claim():
                    return self._claim(client, request)
                case RunContainer():
                    return self._run(client, request)
                case MakeNetwork():
                    return self._make_network(client, request)
                case Finished():
                    self._finish(client, request.key, None)
                case Failed():
                    self._finish(client, request.key, request.error)
                case Discard():
                    self._discard(client, request.key)
                case RemoveUnused():
                    return self._remove_unused()
        except Exception as error:  # noqa: BLE001  (whatever it is, the client is told)
            return Refused(pickled_error(error))
        return Done()

    def _claim(self, client: KeeperClient, claim: Claim) -> Answer:
        client.name = claim.client
        wanted, told = claim.wanted, False
        deadline = time.monotonic() + wanted.seconds
        kept = None
        with self._changed:
            while True:
                if kept is not None and kept.error is not None:  # of the one that was waited for
                    return Refused(kept.error)
                kept = self._present(wanted.key)
                if kept is None:
                    self._kept[wanted.key] = _Entry(wanted, client, users={client})
                    return Granted()
                _require_same(kept.wanted, wanted)
                if kept.maker is None and (there := kept.answer()) is not None:
                    kept.users.add(client)
                    if self._options.stays and kept.container and kept.container.status in ("created", "exited"):
                        kept.maker = client  # who starts it again
                        return Granted()
                    return there
                if kept.maker is None:
                    continue  # there is none, and why
                if not told:
                    client.channel.send(BeingMade(kept.maker.name))
                    told = True
                if not self._changed.wait(max(deadline - time.monotonic(), 0.0)) and time.monotonic() >= deadline:
                    detail = f"{kept.maker.name} has not made it within {wanted.seconds:g} s"
                    raise KeeperError(f"wait for {wanted.place}", detail)

    def _present(self, key: str) -> _Entry | None:
        """What is kept under the key, unless somebody has removed it."""
        kept = self._kept.get(key)
        there = kept is not None and kept.maker is None and kept.container
        if there and there.status == "removed":
            del self._kept[key]
            return None
        return kept

    def _run(self, client: KeeperClient, request: RunContainer) -> Answer:
        with self._changed:
            kept = self._granted(client, request.key)
            replaced = [
                other
                for other in self._kept.values()
                if self._options.stays and other.wanted.place == kept.wanted.place and not other.users
            ]
            engine = self._opened_engine()
        self._remove(replaced)  # what was declared there before: ports and the name may be wanted again
        if kept.container is not None and self._starts_again(kept, kept.container):
            return Kept(kept.container.id)
        store = engine._resources.store
        image = Image(request.image_id, request.image_name, request.image_config, store)
        kept.container = engine.create(image, request.command, **request.options)
        kept.container.start()  # and not run: a keeper seldom makes another one, so none is made ahead
        threading.Thread(target=self._await_removal, args=(kept, kept.container), daemon=True).start()
        return Kept(kept.container.id)

    @staticmethod
    def _starts_again(kept: _Entry, exited: Container) -> bool:
        """Whether what has exited runs again; if not, it is removed."""
        try:
            exited.start()
        except ContainerRunningError:  # somebody else has started it
            return True
        except PycontainerError:
            kept.container, kept.was_ready = None, False
            exited.remove(force=True)
            return False
        return True

    def _make_network(self, client: KeeperClient, request: MakeNetwork) -> Answer:
        with self._changed:
            kept = self._granted(client, request.key)
            engine = self._opened_engine()
        kept.network = engine.network(request.name, subnet=request.subnet, internal=request.internal, ipv6=request.ipv6)
        answer = kept.answer()
        assert answer is not None
        return answer

    def _finish(self, client: KeeperClient, key: str, error: bytes | None) -> None:
        with self._changed:
            kept = self._granted(client, key)
            failed = None
            if error is not None:
                failed, kept.container = kept.container, None
        if failed is not None:
            failed.remove(force=True)
        with self._changed:
            kept.maker, kept.error, kept.was_ready = None, error, error is None
            if error is not None and self._options.stays:  # whoever waits is told, whoever comes later tries again
                self._kept.pop(key, None)
            self._changed.notify_all()

    def _discard(self, client: KeeperClient, key: str) -> None:
        with self._changed:
            kept = self._kept.get(key)  # none, if somebody else has removed the container
            ours = [kept] if kept is not None and kept.maker is client else []
        self._remove(ours)

    def _granted(self, client: KeeperClient, key: str) -> _Entry:
        kept = self._kept.get(key)
        if kept is None or kept.maker is not client:
            raise KeeperError("make what was not granted", key)
        return kept

    def _opened_engine(self) -> Engine:
        if self._engine is None:
            self._engine = Engine(self._options.settings)
        return self._engine

    # The end of what is kept

    def _let_go(self, client: KeeperClient) -> Answer:
        """Of all that was kept for this client; what it has not made to the end is removed."""
        with self._changed:
            self._clients.discard(client)
            last = not self._clients
            ended = []
            for key, kept in tuple(self._kept.items()):
                kept.users.discard(client)
                if kept.maker is client:
                    kept.maker = None
                    if not kept.was_ready:
                        ended.append(self._kept.pop(key))
                elif last and not self._options.stays:
                    ended.append(self._kept.pop(key))
        try:
            self._remove(ended)
            self._close_unused_engine()
        except Exception as error:  # noqa: BLE001  (the client is told)
            return Refused(pickled_error(error))
        finally:
            with self._changed:
                self._changed.notify_all()
        return Done()

    def _close_unused_engine(self) -> None:
        with self._changed:
            if not self._clients and not self._kept and self._engine is not None:
                self._engine.close()
                self._engine = None

    def _await_removal(self, kept: _Entry, container: Container) -> None:
        """Forgets what somebody else removes, as anybody may, or what has ended with its monitor."""
        container.await_removal()
        if kept.container is not container:
            return  # it has failed, and why is kept
        with suppress(PycontainerError):  # the next engine on the store sweeps it
            self._remove([kept])
            self._close_unused_engine()
        os.eventfd_write(self._left, 1)

    def _remove_unused(self) -> Removed:
        with self._changed:
            unused = [kept for kept in self._kept.values() if not kept.users]
            in_use = [kept for kept in self._kept.values() if kept.users]
        names = _names(unused)
        self._remove(unused)
        return Removed(names, _names(in_use))

    def _remove(self, ended: list[_Entry]) -> None:
        with self._changed:
            for key, kept in tuple(self._kept.items()):
                if kept in ended:
                    del self._kept[key]
        with ExitStack() as removing:
            for kept in ended:  # networks after what is in them
                if kept.network is not None:
                    removing.callback(kept.network.remove, force=True)
            for kept in ended:
                if kept.container is not None:
                    removing.callback(kept.container.remove, force=True)


def _names(several: list[_Entry]) -> tuple[str, ...]:
    return tuple(kept.container.name for kept in several if kept.container is not None)


def _require_same(there: Wanted, wanted: Wanted) -> None:
    """Raises InvalidSpecError if two clients want other things by the same key."""
    for name in sorted(there.specification.keys() | wanted.specification.keys()):
        have, want = there.specification.get(name), wanted.specification.get(name)
        if have != want:
            what = f"{name} of what {wanted.place} shares"
            raise InvalidSpecError(what, want or "none", f"the same in all workers: another one has {have or 'none'}")
