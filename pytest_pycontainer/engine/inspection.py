"""All that is known of a container or an image, in docker's words: what ``docker inspect`` prints."""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pytest_pycontainer.engine.privileges import all_capabilities
from pytest_pycontainer.runtime.spec import BindMount, TmpfsMount, VolumeMount

if TYPE_CHECKING:
    from pytest_pycontainer.engine.container import Container
    from pytest_pycontainer.engine.image import Image
    from pytest_pycontainer.runtime.spec import ContainerDescription, Mount, RestartPolicy

Inspection = dict[str, Any]
"""Fields as docker names them; values as JSON has them."""

_NEVER = "0001-01-01T00:00:00Z"
_BILLION = 1_000_000_000
_OWN_FILES = frozenset(("/etc/hosts", "/etc/hostname", "/etc/resolv.conf"))


def inspect_image(image: Image) -> Inspection:
    """What is known of an image. Raises StoreError."""
    config = image.config
    return {
        "Id": image.id,
        "RepoTags": list(image.tags),
        "RepoDigests": list(image.digests),
        "Comment": config.history[-1].comment or "" if config.history else "",
        "Created": config.created or "",
        "Author": config.author or "",
        "Config": json.loads(config.to_json()).get("config", {}),
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": image.size,
        "RootFS": {"Type": "layers", "Layers": list(config.diff_ids)},
    }


def inspect_container(container: Container, description: ContainerDescription) -> Inspection:
    """What is known of a container that ``description`` describes. Raises StoreError."""
    spec = description.spec
    process = spec.process
    return {
        "Id": container.id,
        "Created": _moment(container.created_at),
        "Path": process.command[0],
        "Args": list(process.command[1:]),
        "State": _state(container),
        "Image": container.image.id,
        "Name": f"/{container.name}",
        "RestartCount": container.restart_count,
        "Platform": "linux",
        "HostConfig": {
            "NetworkMode": "host" if spec.host_network else next(iter(container.networks), "none"),
            "RestartPolicy": _restart_policy(description.restart),
            "AutoRemove": False,
            # Nobody keeps what was asked for; it is a privileged one that has all rights, and no filter.
            "Privileged": process.system_call_filter is None and process.capabilities == all_capabilities(),
            "ReadonlyRootfs": spec.read_only,
            "Init": spec.reaper,
            "GroupAdd": list(process.groups),
            "Sysctls": dict(spec.sysctls),
            **_limits(container),
        },
        "Mounts": [shown for mount in spec.mounts if (shown := _mount(mount)) is not None],
        "Config": {
            "Hostname": spec.hostname,
            "User": process.user,
            "Tty": spec.terminal is not None,
            "OpenStdin": spec.stdin_open,
            "StdinOnce": description.stdin_once,
            "Env": list(process.environment),
            "Cmd": list(process.command),
            "Image": container.image.name,
            "WorkingDir": process.working_directory,
            "Labels": dict(container.labels),
            "StopSignal": _signal_name(description.stop_signal),
            "StopTimeout": description.stop_seconds,
        },
        "NetworkSettings": _network_settings(container, description),
    }


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have no name of their own
        return str(number)


def _state(container: Container) -> Inspection:
    status = container.status
    state: Inspection = {
        "Status": status,
        "Running": status in ("running", "paused", "restarting"),
        "Paused": status == "paused",
        "Restarting": status == "restarting",
        "OOMKilled": container.out_of_memory,
        "Dead": False,
        "Pid": container.pid,
        "ExitCode": container.exit_code or 0,
        "Error": container.error,
        "StartedAt": _moment(container.started_at),
        "FinishedAt": _moment(container.finished_at),
    }
    if container.has_health_check:
        health = container.health
        state["Health"] = {
            "Status": health.status,
            "FailingStreak": health.failing_streak,
            "Log": [
                {
                    "Start": _moment(probe.started_at),
                    "End": _moment(probe.ended_at),
                    "ExitCode": probe.exit_code,
                    "Output": probe.output,
                }
                for probe in health.log
            ],
        }
    return state


def _moment(moment: datetime | None) -> str:
    return _NEVER if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _restart_policy(policy: RestartPolicy) -> Inspection:
    name = "no" if not policy.restarts else "on-failure" if policy.on_failure else "always"
    return {"Name": name, "MaximumRetryCount": policy.attempts or 0}


def _limits(container: Container) -> Inspection:
    limits = container.limits()
    return {
        "Memory": limits.memory or 0,
        "MemoryReservation": limits.memory_reservation or 0,
        "MemorySwap": limits.memory_swap or 0,
        "NanoCpus": round((limits.cpus or 0) * _BILLION),
        "CpuShares": limits.cpu_shares or 0,
        "CpusetCpus": limits.cpuset_cpus or "",
        "CpusetMems": limits.cpuset_mems or "",
        "PidsLimit": limits.pids_limit,
    }


def _mount(mount: Mount) -> Inspection | None:
    """One that docker shows: not the files that every container has."""
    if isinstance(mount, TmpfsMount):
        return {"Type": "tmpfs", "Source": "", "Destination": mount.target, "RW": not mount.read_only}
    if isinstance(mount, VolumeMount):
        return {"Type": "volume", "Source": mount.directory, "Destination": mount.target, "RW": not mount.read_only}
    if isinstance(mount, BindMount) and mount.target not in _OWN_FILES:
        return {"Type": "bind", "Source": mount.source, "Destination": mount.target, "RW": not mount.read_only}
    return None


def _network_settings(container: Container, description: ContainerDescription) -> Inspection:
    ports: dict[str, list[Inspection]] = {}
    for port in container.ports:
        bindings = ports.setdefault(f"{port.container_port}/{port.protocol}", [])
        bindings.append({"HostIp": port.host_address, "HostPort": str(port.host_port)})
    ipv6 = dict(description.ipv6_addresses)
    networks = {
        name: {"IPAddress": address, "GlobalIPv6Address": ipv6.get(name, "")}
        for name, address in container.networks.items()
    }
    return {
        "Ports": ports,
        "IPAddress": container.ip_address,
        "GlobalIPv6Address": container.ip6_address,
        "Networks": networks,
    }
