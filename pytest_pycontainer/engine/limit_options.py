"""The options of a container that limit what it may use, as callers write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias, TypedDict

Size: TypeAlias = int | str
"""Bytes, or docker's text (``512m``, ``1.5g``)."""

DeviceValues: TypeAlias = str | Iterable[str] | Mapping[str, int | str]
"""A value for each block device: ``/dev/sda:1mb``, several of those, or a mapping."""

Ulimits: TypeAlias = str | Iterable[str] | Mapping[str, int | str | tuple[int, int]]
"""``nofile=1024:2048`` (soft and hard), several of those, or a mapping; -1 is no limit."""

Sysctls: TypeAlias = str | Iterable[str] | Mapping[str, int | str]
"""``net.core.somaxconn=1024``, several of those, or a mapping."""

Texts: TypeAlias = str | Iterable[str]
"""One text, or several."""


class UpdateOptions(TypedDict, total=False):
    """The limits that ``Container.update`` can change, as ``LimitOptions`` describe them."""

    memory: Size | None
    memory_swap: Size | None
    memory_reservation: Size | None
    cpus: float | str | None
    cpu_period: int | None
    cpu_quota: int | None
    cpu_shares: int | None
    cpuset_cpus: str | None
    cpuset_mems: str | None
    pids_limit: int | None
    blkio_weight: int | None


class LimitOptions(UpdateOptions, total=False):
    """What ``create`` and ``run`` take to limit a container, with docker's names and meanings.

    ``memory`` (0: no limit), ``memory_reservation`` and ``shm_size`` are bytes, or text such as ``512m``;
    ``memory_swap`` is memory and swap together, as large as ``memory`` for no swap, and -1 for any amount of it;
    ``memory_swappiness`` goes from 0 to 100; with ``oom_kill_disable`` a container that has used its memory up stands
    still instead of losing a process (version 1 of cgroups alone).

    ``cpus`` is how many (1.5), which ``cpu_quota`` and ``cpu_period`` say in microseconds; ``cpu_shares`` is the weight
    against others (1024: as anybody); ``cpuset_cpus`` and ``cpuset_mems`` name CPUs and memory nodes (``0-2,7``).
    ``pids_limit`` is how many processes and threads there may be at once, 0 or -1 for any number.

    ``blkio_weight`` (10 to 1000) is the weight against others at block devices, ``blkio_weight_device`` at some
    (``/dev/sda:200``); ``device_read_bps`` and ``device_write_bps`` are bytes in a second (``/dev/sda:1mb``),
    ``device_read_iops`` and ``device_write_iops`` operations in a second.

    ``ulimits`` are each process's (``nofile=1024:2048``); ``oom_score_adj`` (-1000 to 1000) says how soon its processes
    are ended when the machine has no memory left. ``devices`` are nodes of this machine, or directories of them, that
    can be used (``/dev/fuse``, ``/dev/sda:/dev/disk:r``); ``device_cgroup_rules`` allow devices without making a node
    (``c 10:229 rwm``). ``sysctls`` are parameters of the container's own namespaces (``net.core.somaxconn=1024``).
    """

    memory_swappiness: int | None
    oom_kill_disable: bool
    blkio_weight_device: DeviceValues | None
    device_read_bps: DeviceValues | None
    device_write_bps: DeviceValues | None
    device_read_iops: DeviceValues | None
    device_write_iops: DeviceValues | None
    ulimits: Ulimits | None
    shm_size: Size | None
    oom_score_adj: int | None
    devices: Texts | None
    device_cgroup_rules: Texts | None
    sysctls: Sysctls | None
