"""What an engine opens when it first needs it, and closes in the right order."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_pycontainer.engine.name_service import NameService
from pytest_pycontainer.engine.network_registry import NetworkRegistry, OpenedNetwork
from pytest_pycontainer.engine.port_forwarder import PortForwarder
from pytest_pycontainer.engine.prepared import PreparedContainer
from pytest_pycontainer.engine.privileges import DEFAULT_SYSTEM
from pytest_pycontainer.engine.records import ContainerRecords
from pytest_pycontainer.engine.removals import Removals
from pytest_pycontainer.engine.requirements import missing_requirements
from pytest_pycontainer.engine.subordinate_ids import subordinate_ids
from pytest_pycontainer.errors import EngineUnavailableError, StoreError, VolumeInUseError
from pytest_pycontainer.kernel.rtnetlink import NetworkNamespace
from pytest_pycontainer.network.bridge import Network
from pytest_pycontainer.network.names import MACHINE_RESOLV_CONF, machine_resolv_conf
from pytest_pycontainer.network.upstream import Ipv6
from pytest_pycontainer.runtime.cgroup_hierarchies import Cgroups
from pytest_pycontainer.runtime.spawner import Spawner
from pytest_pycontainer.runtime.spec import OWN_NAMESPACES, Namespaces, SystemDirectories
from pytest_pycontainer.settings import DEFAULT_ROOT, Settings
from pytest_pycontainer.store.calling import Caller, Result, directly
from pytest_pycontainer.store.files import storing
from pytest_pycontainer.store.limits import LayerLimits
from pytest_pycontainer.store.store import Store

if TYPE_CHECKING:
    from pytest_pycontainer.engine.extensions import Extensions
    from pytest_pycontainer.engine.holder import Holder
    from pytest_pycontainer.engine.router import EngineRouter
    from pytest_pycontainer.registry.registries import Registries
    from pytest_pycontainer.store.volumes import StoredVolume, Volumes

_NAME_SERVER_PORT = 53


class Resources:
    """The spawner, the network, the store and the records of one engine. Safe to use from several threads.

    The engine's process owns them all: sockets and locks whose closing, by ``close`` or by the process's end, makes the
    kernel and the spawner free what hangs on them.
    """

    def __init__(self, settings: Settings, extensions: Extensions, *, routed: bool | None = None) -> None:
        """With ``routed``, networks end in a router of the engine's own, as those of an ordinary user have to."""
        self.settings = replace(settings, root=settings.root.absolute(), state=settings.state.absolute())
        self.extensions = extensions
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._spawner: Spawner | None = None
        self._holder = self._make_holder() if extensions.keeps is not None else None
        names = NameService(lambda control: self.spawner.resolve(control))
        self.router = self._make_router() if (os.geteuid() != 0 if routed is None else routed) else None
        """What networks end in; None where that is this machine."""
        forwarder = PortForwarder(self._start_forwarder, every_port=self.router is not None)
        self.networks = NetworkRegistry(self._lock, self._open_network, names, forwarder)
        self.removals = Removals()
        self._spare: PreparedContainer | None = None
        self._registries: Registries | None = None
        self._own_volumes: dict[str, int] = {}
        self._closed = False
        self._checked = False

    @cached_property
    def store(self) -> Store:
        """The store on disk."""
        asked = {
            "entries": self.settings.layer_entries,
            "size": self.settings.layer_size,
            "ratio": self.settings.layer_ratio,
        }
        limits = LayerLimits(**{name: limit for name, limit in asked.items() if limit})
        return Store(self.settings.root, limits, self.call)

    @cached_property
    def call(self) -> Caller:
        """Calls what takes rights over files of whatever users: root's, or those of the spawner, which may be started
        for it.
        """
        if os.geteuid() == 0:
            return directly
        return self._call_in_spawner

    def _call_in_spawner(
        self, function: Callable[..., Result], /, *arguments: object, descriptors: Sequence[int] = ()
    ) -> Result:
        with self._lock:
            spawner = self._spawner if self._closed else self.spawner
        if spawner is None:  # what is let go of at the end was in no container
            return directly(function, *arguments, descriptors=descriptors)
        return spawner.call(function, *arguments, descriptors=descriptors)

    @cached_property
    def records(self) -> ContainerRecords:
        """The containers on disk; what a killed run left has been swept. Raises StoreError."""
        records = ContainerRecords(self.settings.root, self.call)
        with self._lock:
            _make_directory(self.settings.root)
            with storing("prepare", self.settings.root):
                records.prepare()
        return records

    @cached_property
    def volumes(self) -> Volumes:
        """The volumes on disk."""
        from pytest_pycontainer.store.volumes import Volumes  # most containers have none

        return Volumes(self.store, lambda: self.records.users_of_volumes())

    def make_volume(self) -> StoredVolume:
        """A new volume without a name of its own, which goes when the engine is closed. Raises StoreError."""
        with self._lock:
            self.require_open()
            stored, lock = self.volumes.make_anonymous()
            self._own_volumes[stored.name] = lock
            return stored

    def remove_volume(self, name: str) -> None:
        """Removes any volume. Raises VolumeInUseError and StoreError."""
        self.volumes.remove(name)
        with self._lock:
            if (lock := self._own_volumes.pop(name, -1)) >= 0:
                os.close(lock)

    def _let_go_of_volumes(self) -> None:
        for name in tuple(self._own_volumes):
            try:
                self.volumes.remove(name)
            except VolumeInUseError:
                pass  # another process's container has it; when that is gone, the next look at all volumes removes it
            finally:
                os.close(self._own_volumes.pop(name))

    @cached_property
    def cgroups(self) -> Cgroups:
        """Where cgroups are made."""
        return Cgroups.discover()

    @cached_property
    def resolv_conf(self) -> str:
        """What the /etc/resolv.conf of a container without a network says."""
        return machine_resolv_conf()

    @cached_property
    def machine_resolv_conf(self) -> str:
        """The /etc/resolv.conf of this machine as it is."""
        try:
            return MACHINE_RESOLV_CONF.read_text(errors="surrogateescape")
        except FileNotFoundError:
            return ""

    def require_machine(self) -> None:
        """Raises EngineUnavailableError if this machine can't run containers."""
        with self._lock:
            if not self._checked:
                missing = missing_requirements()
                if missing:
                    raise EngineUnavailableError(missing)
                self._checked = True

    @property
    def spawner(self) -> Spawner:
        """The spawner, started when first asked for, or when the last one was killed.

        Raises EngineUnavailableError and SpawnerError.
        """
        with self._lock:
            self.require_open()
            if self._spawner is not None and self._spawner.is_alive():
                return self._spawner
            last, self._spawner = self._spawner, None
            with ExitStack() as replaced:
                ids = subordinate_ids()
                if last is not None:
                    replaced.callback(last.close)
                    if ids is not None:  # networks that are there belong to its user namespace
                        ids = replace(ids, namespace=last.user_namespace)
                self.require_machine()
                mounts = self.settings.state / "mounts"
                _make_directory(self.settings.state)
                _make_directory(mounts)
                # What of this machine no container may see: the store, with all other containers in it.
                hidden = dict.fromkeys((str(self.settings.root), str(self.settings.state), str(DEFAULT_ROOT)))
                owner = None if self._holder is None else self._holder.pid
                self._spawner = Spawner(str(mounts), tuple(hidden), ids, owner=owner)
            if last is not None:
                self.discard_next()  # that was its, too
            return self._spawner

    def take_prepared(
        self,
        system: SystemDirectories = DEFAULT_SYSTEM,
        namespaces: Namespaces = OWN_NAMESPACES,
        held: Sequence[int] = (),
    ) -> PreparedContainer:
        """A container without content: the one made ahead, if there is one and it is such. It is the caller's.

        Its monitor gets copies of the descriptors ``held``.
        """
        if self.router is not None:
            with self._lock:
                self.router.revive()
        if system != DEFAULT_SYSTEM or replace(namespaces, shareable_ipc=False) != OWN_NAMESPACES:
            return PreparedContainer.make(self.spawner, self.records, self.cgroups, system, namespaces, held)
        with self._lock:
            spawner = self.spawner
            spare, self._spare = self._spare, None
        if spare is not None and spare.connection.exited(0) is not None:
            spare.discard(self.records)  # it was killed in the meantime
            spare = None
        return spare or PreparedContainer.make(spawner, self.records, self.cgroups, system)

    def prepare_next(self) -> None:
        """Has the next container made ahead, without waiting for it."""
        with self._lock:
            if self._spare is None and not self._closed:
                self._spare = PreparedContainer.make(self.spawner, self.records, self.cgroups, DEFAULT_SYSTEM)

    def discard_next(self) -> None:
        """Ends the container that was made ahead, if there is one."""
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is not None:
            spare.discard(self.records)

    @property
    def registries(self) -> Registries:
        """The way to registries; connections are kept."""
        from pytest_pycontainer.registry.registries import Registries, RegistryOptions

        with self._lock:
            self.require_open()
            if self._registries is None:
                settings = self.settings
                mirrors: dict[str, tuple[str, ...]] = {}
                for registry, address in settings.registry_mirrors:
                    mirrors[registry] = (*mirrors.get(registry, ()), address)
                options = RegistryOptions(
                    insecure=frozenset(settings.insecure_registries),
                    mirrors=mirrors,
                    proxy=settings.proxy,
                    certificates=settings.registry_certificates,
                    authority=settings.registry_authority,
                )
                self._registries = Registries(options)
            return self._registries

    def _make_holder(self) -> Holder:
        from pytest_pycontainer.engine.holder import Holder  # which few have a use for

        return Holder(self.settings)

    def _make_router(self) -> EngineRouter:
        from pytest_pycontainer.engine.router import EngineRouter  # which root has no use for

        return EngineRouter(lambda: self.spawner)

    def _start_forwarder(self, control: socket.socket) -> None:
        self.spawner.forward(control, None if self.router is None else self.router.namespace)

    def why_closed(self) -> str:
        """Why containers reach nothing beyond this machine, and what to do about that; empty if they do.

        Raises SpawnerError and NetworkAttachError.
        """
        if self.router is None:
            return ""
        with self._lock:
            return self.router.why_closed

    def _open_network(
        self, *, subnet: IPv4Network | None = None, internal: bool = False, ipv6: Ipv6 = False
    ) -> OpenedNetwork:
        self.require_open()
        with ExitStack() as undone:
            router = None
            if self.router is not None:
                router = self.router.open()
                undone.callback(router.close)
            namespace, route_socket, datagrams, streams = self.spawner.open_network_namespace()
            for one in (datagrams, streams):
                undone.callback(one.close)
            switch = NetworkNamespace(namespace, route_socket)
            bridge = Network.open(
                self.settings.state, switch, subnet=subnet, internal=internal, ipv6=ipv6, router=router
            )
            undone.callback(bridge.close)
            for one in (datagrams, streams):
                one.bind((str(bridge.resolver), _NAME_SERVER_PORT))
            streams.listen()
            undone.pop_all()
        return OpenedNetwork(bridge, datagrams, streams)

    def stay(self, connections: Sequence[int]) -> None:
        """Lets go of what containers do not need; the rest is held until the other ends of ``connections`` are closed.

        Raises SpawnerError, and what else goes wrong, after which the rest is held, too.
        """
        with self._lock:
            self._closed = True
            with ExitStack() as leaving:
                if self._holder is not None:
                    leaving.callback(self._holder.stay, connections, self)
                if self._registries is not None:
                    leaving.callback(self._registries.close)
                leaving.callback(self._let_go_of_volumes)
                leaving.callback(self.discard_next)
                leaving.callback(self.removals.finish)

    def close(self) -> None:
        """Lets go of everything. Containers have to be removed before."""
        with self._lock:
            self._closed = True
            with ExitStack() as closing:
                if self._holder is not None:
                    closing.callback(self._holder.close)
                if self._spawner is not None:
                    closing.callback(self._spawner.close)
                if self._registries is not None:
                    closing.callback(self._registries.close)
                if self.router is not None:
                    closing.callback(self.router.close)
                closing.callback(self.networks.close)
                closing.callback(self._let_go_of_volumes)
                closing.callback(self.discard_next)
                closing.callback(self.removals.finish)

    def are_ours(self) -> bool:
        """Whether this process is the owner, and not a child that it has forked."""
        return os.getpid() == self._process

    def require_open(self) -> None:
        """Raises StoreError if the engine is closed, or another process's."""
        if not self.are_ours():
            detail = "the engine is that of the process which has forked this one; open another in this one"
            raise StoreError("use", str(self.settings.root), detail)
        if self._closed:
            raise StoreError("use", str(self.settings.root), "the engine is closed")


def _make_directory(path: Path) -> None:
    """Makes a directory that only its owner can look into (CVE-2021-41091)."""
    with storing("make", path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
