"""Making a container: everything up to its start."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from pytest_pycontainer.engine import defaults, network_modes
from pytest_pycontainer.engine.attachment import Attachment
from pytest_pycontainer.engine.connection import Connection
from pytest_pycontainer.engine.container import Container
from pytest_pycontainer.engine.container_mounts import WantedMount, in_order, mounts_of
from pytest_pycontainer.engine.devices import Devices
from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.namespace_modes import HOST, NamespaceModes, namespaces_of
from pytest_pycontainer.engine.network_files import (
    network_files,
)
from pytest_pycontainer.engine.network_modes import NetworkModes
from pytest_pycontainer.engine.network_registry import Member
from pytest_pycontainer.engine.port_arguments import PortMapping
from pytest_pycontainer.engine.prepared import writable_root
from pytest_pycontainer.engine.privileges import Privileges
from pytest_pycontainer.engine.records import ContainerRecord
from pytest_pycontainer.engine.resources import Resources
from pytest_pycontainer.engine.root_required import refuse_what_takes_root
from pytest_pycontainer.engine.service import HandleT
from pytest_pycontainer.errors import ContainerStartError
from pytest_pycontainer.image.config import DEFAULT_PATH
from pytest_pycontainer.kernel.bpf import DeviceRule
from pytest_pycontainer.kernel.rtnetlink import NetworkNamespace
from pytest_pycontainer.runtime.cgroup_devices import allow_devices
from pytest_pycontainer.runtime.cgroup_limits import Limits, Setting, apply, settings_of
from pytest_pycontainer.runtime.spec import (
    ContainerDescription,
    ContainerSpec,
    HealthCheck,
    LogLimits,
    Mount,
    ProcessSpec,
    ResourceLimit,
    RestartPolicy,
    TerminalSize,
)

_SHORT = 12


@dataclass(frozen=True, slots=True)
class Plan:
    """A container as it is wanted, everything resolved: what ``launch`` makes.

    ``layers`` are the image's, topmost first; ``environment`` lacks what every container has. A build's step, as in
    BuildKit, has no HOSTNAME in its environment and can't change its /etc/hosts and the like; what it prints is one
    stream.
    """

    image: Image
    layers: tuple[Path, ...]
    host: bool
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    working_directory: str
    user: str
    name: str | None = None
    hostname: str | None = None
    ports: tuple[PortMapping, ...] = ()
    limits: Limits = field(default_factory=Limits)
    network: NetworkModes = network_modes.BRIDGE
    reaper: bool = False
    stop_signal: int = signal.SIGTERM
    stop_seconds: float = defaults.STOP_SECONDS
    labels: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount | WantedMount, ...] = ()
    is_build_step: bool = False
    privileges: Privileges = field(default_factory=Privileges.default)
    groups: tuple[str, ...] = ()
    read_only: bool = False
    resource_limits: tuple[ResourceLimit, ...] = ()
    oom_score_adj: int | None = None
    sysctls: tuple[tuple[str, str], ...] = ()
    devices: Devices = field(default_factory=Devices)
    shm_bytes: int | None = None
    restart: RestartPolicy = field(default_factory=RestartPolicy)
    health: HealthCheck | None = None
    namespaces: NamespaceModes = field(default_factory=NamespaceModes)
    log: LogLimits = field(default_factory=LogLimits)
    stdin_open: bool = False
    stdin_once: bool = False
    tty: bool = False


def launch(resources: Resources, plan: Plan, forget: Callable[[Container], None], handle: type[HandleT]) -> HandleT:
    """Makes the container, which then waits for its start. ``forget`` is called when it is removed.

    What is returned is a ``handle``.

    The root is being mounted by init while the engine attaches the network. Whatever fails, nothing is left.
    """
    if os.geteuid() != 0:
        refuse_what_takes_root(plan)
    with ExitStack() as undone:
        modes, joins_machine = plan.namespaces, plan.network.mode == HOST
        if joins_machine and resources.router is not None:  # who has left this machine's network may not come back
            modes, joins_machine = replace(modes, network=HOST), False
        with namespaces_of(modes, resources.records, resources.settings.state) as (namespaces, held):
            prepared = resources.take_prepared(plan.privileges.system, namespaces, held)
        undone.callback(prepared.discard, resources.records)
        container_id, directory = prepared.reservation.id, prepared.reservation.directory
        settings = settings_of(resources.cgroups, container_id, plan.limits)
        name = plan.name or f"{_plain_name(plan.image.name)}-{container_id[:_SHORT]}"
        with mounts_of(resources, plan.mounts, directory) as (mounts, volumes):
            record = ContainerRecord(
                container_id, name, plan.image.name, plan.command, time.time(), plan.image.id, volumes, plan.labels
            )
            resources.records.add(record)
        undone.pop_all()
        undone.callback(prepared.discard, resources.records, name)
        attachment = None
        if plan.network.mode in ("bridge", "none"):
            endpoints = plan.network.endpoints
            member = Member(container_id, name, str(directory), plan.network.lookup.servers)
            attachment = Attachment(resources.networks, member, endpoints, plan.ports)
            undone.callback(attachment.close)
        addresses = () if attachment is None else attachment.addresses
        hostname, files = network_files(resources, plan, directory, container_id, attachment)
        spec = ContainerSpec(
            hostname=hostname,
            rootfs=writable_root(plan.layers, plan.host, directory),
            process=_process(plan, hostname),
            mounts=in_order((*files, *mounts)),
            reaper=plan.reaper,
            host_network=joins_machine,
            one_output=plan.is_build_step,
            read_only=plan.read_only,
            stdin_open=plan.stdin_open,
            terminal=TerminalSize() if plan.tty else None,
            sysctls=plan.sysctls,
            devices=plan.devices.nodes,
            shm_bytes=plan.shm_bytes,
            init_layer=not plan.is_build_step,
        )
        description = ContainerDescription(
            spec,
            plan.stop_signal,
            addresses,
            () if attachment is None else attachment.ipv6_addresses,
            restart=plan.restart,
            health=plan.health,
            log=plan.log,
            stdin_once=plan.stdin_once,
            namespaces=namespaces,
            stop_seconds=plan.stop_seconds,
        )
        rules = () if plan.privileges.system.privileged else plan.devices.rules
        limit = partial(_limit, name, settings, prepared.reservation.cgroup, rules)
        _launch(prepared.connection, description, name, limit, attachment)
        undone.pop_all()
    return handle(
        record,
        plan.image,
        description,
        resources=resources,
        reservation=prepared.reservation,
        connection=prepared.connection,
        attachment=attachment,
        forget=forget,
    )


def _launch(
    connection: Connection,
    description: ContainerDescription,
    name: str,
    limit: Callable[[], None],
    attachment: Attachment | None,
) -> None:
    namespace, route_socket = connection.await_created()
    try:
        limit()
        connection.launch(description, name, namespace)
        if attachment is not None:
            attachment.attach(NetworkNamespace(namespace, route_socket))
    finally:
        route_socket.close()
        os.close(namespace)


def _limit(
    name: str, settings: tuple[Setting, ...], cgroup: tuple[str, ...], device_rules: tuple[DeviceRule, ...]
) -> None:
    try:
        apply(settings)
        if device_rules:
            allow_devices(cgroup, device_rules)
    except OSError as error:
        raise ContainerStartError(name, "limit its cgroup", error.strerror or str(error)) from error


def _process(plan: Plan, hostname: str) -> ProcessSpec:
    always = {"PATH": DEFAULT_PATH} if plan.is_build_step else {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    environment = always | dict(plan.environment)
    privileges = plan.privileges
    return ProcessSpec(
        plan.command,
        tuple(f"{name}={value}" for name, value in environment.items()),
        plan.working_directory,
        plan.user,
        privileges.capabilities,
        plan.groups,
        privileges.no_new_privileges,
        privileges.system_call_filter,
        plan.resource_limits,
        plan.oom_score_adj,
        privileges.exec_label,
    )


def _plain_name(image: str) -> str:
    """The last part of a reference, as the beginning of a container's name."""
    return image.removeprefix("sha256:").rpartition("/")[2].partition(":")[0].partition("@")[0][:32] or "container"
