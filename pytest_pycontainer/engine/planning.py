"""From a caller's options, and what the image says, to the plan of a container."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

from pytest_pycontainer.engine import arguments, defaults, network_modes
from pytest_pycontainer.engine.devices import Devices, parse_devices
from pytest_pycontainer.engine.health_options import HealthOptions
from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.launch import Plan
from pytest_pycontainer.engine.limit_options import LimitOptions
from pytest_pycontainer.engine.log_selection import parse_log_options
from pytest_pycontainer.engine.namespace_modes import HOST, NamespaceModes, parse_namespace_modes
from pytest_pycontainer.engine.namespace_options import NamespaceOptions
from pytest_pycontainer.engine.network_modes import NetworkModes
from pytest_pycontainer.engine.network_options import NetworkOptions
from pytest_pycontainer.engine.port_arguments import parse_ports, with_exposed
from pytest_pycontainer.engine.privileges import Privileges, parse_groups, parse_privileges
from pytest_pycontainer.errors import InvalidSpecError

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_pycontainer.engine.container_mounts import WantedMount
    from pytest_pycontainer.engine.options import ContainerOptions
    from pytest_pycontainer.runtime.cgroup_limits import Limits
    from pytest_pycontainer.runtime.spec import HealthCheck, ResourceLimit


def plan_container(
    layers: tuple[Path, ...], image: Image, command: arguments.Command | None, options: ContainerOptions
) -> Plan:
    """What ``launch`` is to make of an image with these layers, topmost first.

    Raises InvalidSpecError for an argument that makes no sense.
    """
    config = image.config
    network = _network(options)
    ports = parse_ports(options.get("ports"))
    if ports and network.mode != "bridge":
        wanted = f"none: with network={options.get('network')!r} it has no network of its own to publish ports from"
        raise InvalidSpecError("ports", str(options.get("ports")), wanted)
    if arguments.parse_flag("publish_all", options.get("publish_all")) and network.mode == "bridge":
        ports = with_exposed(ports, config.exposed_ports)
    stop_signal = options.get("stop_signal")
    environment = dict(entry.partition("=")[::2] for entry in config.env)
    environment |= arguments.parse_environment(options.get("env"))
    user = arguments.parse_user(options.get("user"))
    hostname = arguments.parse_host_name(options.get("hostname"))
    modes = _namespace_modes(options, network, hostname)
    devices = _devices(options)
    return Plan(
        image=image,
        layers=layers,
        host=config.host is not None,
        command=_command(image, arguments.parse_command(command), options),
        environment=tuple(environment.items()),
        working_directory=arguments.parse_working_directory(options.get("workdir")) or config.working_directory or "/",
        mounts=(*_mounts(config.volumes, options), *devices.mounts),
        user=config.user if user is None else user,
        name=arguments.parse_name(options.get("name")),
        hostname=hostname,
        ports=ports,
        **_limits(options, modes, own_network=network.mode in ("bridge", "none")),
        network=network,
        reaper=arguments.parse_flag("init", options.get("init")),
        devices=devices,
        shm_bytes=_shm_bytes(options, modes),
        privileges=_privileges(options, has_shm=modes.ipc != "none"),
        namespaces=modes,
        groups=parse_groups(options.get("group_add")),
        restart=arguments.parse_restart(options.get("restart")),
        health=_health(image, options),
        log=parse_log_options(options.get("log_opt")),
        stdin_open=arguments.parse_flag("stdin_open", options.get("stdin_open")),
        stdin_once=arguments.parse_flag("stdin_once", options.get("stdin_once")),
        tty=arguments.parse_flag("tty", options.get("tty")),
        read_only=arguments.parse_flag("read_only", options.get("read_only")),
        labels={**config.labels, **arguments.parse_labels(options.get("labels"))},
        stop_seconds=_stop_seconds(options),
        stop_signal=arguments.parse_signal(
            (config.stop_signal or defaults.STOP_SIGNAL) if stop_signal is None else stop_signal
        ),
    )


def _stop_seconds(options: ContainerOptions) -> float:
    given = options.get("stop_timeout")
    seconds = defaults.STOP_SECONDS if given is None else arguments.parse_seconds(given, "stop_timeout")
    return seconds if seconds >= 0 else arguments.LONGEST_SECONDS  # docker's -1


def _network(options: ContainerOptions) -> NetworkModes:
    """Where it is connected; most containers say nothing of that."""
    if not options.keys() & NetworkOptions.__annotations__.keys():
        return network_modes.BRIDGE
    return network_modes.parse_network_modes(options)


def _namespace_modes(options: ContainerOptions, network: NetworkModes, hostname: str | None) -> NamespaceModes:
    shares_network = network.mode in ("host", "container")
    if not options.keys() & NamespaceOptions.__annotations__.keys() and not shares_network:
        return NamespaceModes()
    privileged = arguments.parse_flag("privileged", options.get("privileged"))
    modes = parse_namespace_modes(options, privileged=privileged, hostname=hostname)
    if shares_network and modes.userns != HOST:
        wanted = "a network of its own: with userns='auto' it has no rights in another one"
        raise InvalidSpecError("network", str(options.get("network")), wanted)
    if network.mode != "container":
        return modes
    if hostname is not None:
        raise InvalidSpecError("hostname", hostname, "none: it has the name of whom it shares the network with")
    return replace(modes, network=f"container:{network.other}")


def _health(image: Image, options: ContainerOptions) -> HealthCheck | None:
    if image.config.healthcheck is None and not options.keys() & HealthOptions.__annotations__.keys():
        return None
    from pytest_pycontainer.engine.health import parse_health_check

    return parse_health_check(image, options)


def _devices(options: ContainerOptions) -> Devices:
    devices, rules = options.get("devices"), options.get("device_cgroup_rules")
    return parse_devices(devices, rules) if devices or rules else Devices()


def _shm_bytes(options: ContainerOptions, modes: NamespaceModes) -> int | None:
    """The size of /dev/shm, if it is the container's own and another one than most have."""
    if not options.get("shm_size"):
        return None
    from pytest_pycontainer.engine.limits import parse_shm_size

    size = parse_shm_size(options.get("shm_size"))
    return size if modes.ipc in ("private", "shareable") else None


def _privileges(options: ContainerOptions, *, has_shm: bool) -> Privileges:
    privileges = parse_privileges(
        arguments.parse_flag("privileged", options.get("privileged")),
        options.get("cap_add"),
        options.get("cap_drop"),
        options.get("security_opt"),
    )
    return privileges if has_shm else replace(privileges, system=replace(privileges.system, shm_bytes=None))


def _limits(options: ContainerOptions, modes: NamespaceModes, *, own_network: bool) -> _Limits:
    """What a plan says of limits; nothing for most containers."""
    if not options.keys() & LimitOptions.__annotations__.keys():
        return {}
    from pytest_pycontainer.engine.limits import parse_limits, parse_oom_score_adj, parse_ulimits
    from pytest_pycontainer.engine.sysctls import parse_sysctls

    return {
        "limits": parse_limits(options),
        "resource_limits": parse_ulimits(options.get("ulimits")),
        "oom_score_adj": parse_oom_score_adj(options.get("oom_score_adj")),
        "sysctls": parse_sysctls(
            options.get("sysctls"),
            own_network=own_network,
            own_ipc=modes.ipc in ("private", "shareable", "none"),
            own_uts=modes.uts == "private",
        ),
    }


class _Limits(TypedDict, total=False):
    limits: Limits
    resource_limits: tuple[ResourceLimit, ...]
    oom_score_adj: int | None
    sysctls: tuple[tuple[str, str], ...]


def _mounts(image_volumes: tuple[str, ...], options: ContainerOptions) -> tuple[WantedMount, ...]:
    wanted = options.get("volumes"), options.get("tmpfs"), options.get("mounts")
    if not (image_volumes or any(wanted)):
        return ()
    from pytest_pycontainer.engine.mount_arguments import parse_mounts  # most containers have none

    return parse_mounts(*wanted, image_volumes)


def _command(image: Image, command: tuple[str, ...] | None, options: ContainerOptions) -> tuple[str, ...]:
    """Entrypoint and command as docker joins them: a new entrypoint takes the image's command away."""
    entrypoint = arguments.parse_command(options.get("entrypoint"))
    if entrypoint is None:
        entrypoint = image.config.entrypoint or ()
        command = image.config.cmd if command is None else command
    whole = (*entrypoint, *(command or ()))
    if not whole:
        raise InvalidSpecError("command", "", f"a command: image {image.name!r} has none of its own")
    return whole
