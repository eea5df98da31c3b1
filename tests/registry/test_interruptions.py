"""Transfers whose connection breaks: a real registry behind a proxy that cuts."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer.errors import RegistryUnavailableError
from pytest_pycontainer.registry.credentials import CredentialStore
from pytest_pycontainer.registry.exchange import ATTEMPTS
from pytest_pycontainer.registry.pull import pull
from pytest_pycontainer.registry.push import push
from pytest_pycontainer.registry.registries import Registries
from pytest_pycontainer.store.store import Store

if TYPE_CHECKING:
    from tests.registry.conftest import Registry

MakeImage = Callable[..., str]
NewStore = Callable[[], Store]


class CuttingProxy:
    """Passes connections on to ``target``; each of the next ``cuts`` ends after ``after`` bytes in one direction."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self.cuts = 0
        self.after = 0
        self.upwards = False
        self._start(self._accept)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self, cuts: int, after: int, *, upwards: bool = False) -> None:
        self.cuts, self.after, self.upwards = cuts, after, upwards

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(timeout=10)

    def hang_up(self) -> None:
        with self._lock:
            for connection in self._open:
                shut(connection)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            with self._lock:
                self._open += [client, server]
            done = threading.Barrier(2)
            self._start(self._pump, client, server, True, done)
            self._start(self._pump, server, client, False, done)

    def _pump(self, source: socket.socket, sink: socket.socket, upwards: bool, done: threading.Barrier) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(16 << 10):
                passed += len(data)
                if self.cuts and upwards == self.upwards and passed > self.after:
                    self.cuts -= 1
                    break
                sink.sendall(data)
        shut(source)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)  # what was passed on arrives; a whole shutdown may throw it away
        done.wait(timeout=10)
        source.close()  # each thread its own, once neither is in use


def shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side may have been quicker
        connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(registry: Registry) -> Iterator[CuttingProxy]:
    host, _, port = registry.host.rpartition(":")
    proxy = CuttingProxy((host, int(port)))
    yield proxy
    proxy.close()


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def registries(credentials: CredentialStore, pauses: list[float]) -> Iterator[Registries]:
    with Registries(credentials=credentials, sleep=pauses.append) as registries:
        yield registries


def through(proxy: CuttingProxy, registry: Registry, name: str) -> str:
    return name.replace(registry.host, proxy.host)


def test_a_pull_goes_on_where_it_broke_off(
    registry: Registry,
    proxy: CuttingProxy,
    registries: Registries,
    name: str,
    new_store: NewStore,
    make_image: MakeImage,
    pauses: list[float],
) -> None:
    here, there = new_store(), new_store()
    image = make_image(here, {"a": os.urandom(4 << 20)})
    push(here, registries, image, f"{name}:1")
    proxy.cut(3, 1 << 20)
    assert pull(there, registries, through(proxy, registry, f"{name}:1")).id == image
    assert proxy.cuts == 0
    sizes = sent_in_parts(registry, name)
    assert sizes
    assert max(sizes) < 4 << 20


def sent_in_parts(registry: Registry, name: str) -> list[int]:
    """The sizes of the answers, as the registry logged them, that were the rest of a blob."""
    path = name.removeprefix(registry.host)
    lines = [line for line in registry.container.logs().splitlines() if f"{path}/blobs" in line and '" 206 ' in line]
    return [int(line.partition('" 206 ')[2].split()[0]) for line in lines]


def test_a_push_goes_on_where_it_broke_off(
    registry: Registry,
    proxy: CuttingProxy,
    registries: Registries,
    name: str,
    new_store: NewStore,
    make_image: MakeImage,
) -> None:
    store = new_store()
    image = make_image(store, {"a": os.urandom(20 << 20)})
    proxy.cut(1, 12 << 20, upwards=True)
    push(store, registries, image, through(proxy, registry, f"{name}:1"))
    assert proxy.cuts == 0
    requests = registry.requests(name)
    assert any(request.startswith("GET blobs/uploads/") for request in requests)
    assert pull(new_store(), registries, f"{name}:1").id == image


def test_a_connection_that_always_breaks_is_given_up(
    registry: Registry,
    proxy: CuttingProxy,
    registries: Registries,
    name: str,
    new_store: NewStore,
    make_image: MakeImage,
    pauses: list[float],
) -> None:
    here, there = new_store(), new_store()
    push(here, registries, make_image(here, {"a": b"1"}), f"{name}:1")
    pauses.clear()
    proxy.cut(1000, 0, upwards=True)
    with pytest.raises(RegistryUnavailableError, match=name.partition("/")[2]):
        pull(there, registries, through(proxy, registry, f"{name}:1"))
    assert len(pauses) == ATTEMPTS - 1
    assert there.tags() == {}


def test_nobody_listens(registries: Registries, new_store: NewStore, pauses: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(RegistryUnavailableError, match="Connection refused"):
        pull(new_store(), registries, f"127.0.0.1:{port}/a:1")
    assert len(pauses) == ATTEMPTS - 1
    assert sorted(pauses)[-1] > 1
