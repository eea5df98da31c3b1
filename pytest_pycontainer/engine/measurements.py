"""What a container uses, and what it may use."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack, cast

from pytest_pycontainer.engine.handle import ContainerHandle
from pytest_pycontainer.errors import ContainerUpdateError, InvalidSpecError
from pytest_pycontainer.runtime import messages
from pytest_pycontainer.runtime.cgroup_hierarchies import Cgroups
from pytest_pycontainer.runtime.cgroup_limits import UNLIMITED, Limits, apply, settings_of

if TYPE_CHECKING:
    from pytest_pycontainer.engine.limit_options import LimitOptions, UpdateOptions
    from pytest_pycontainer.engine.limits_in_force import ContainerLimits
    from pytest_pycontainer.engine.stats import ContainerStats, NetworkUsage


class ContainerMeasurements(ContainerHandle):
    """The part of ``Container`` that looks into its cgroup."""

    def stats(self) -> ContainerStats:
        """What it has used from its making until now, in all its runs; also once it has exited.

        CPU time, memory, processes, network and block devices, as ``docker stats`` counts them. Raises
        ContainerHasNoCgroupError.
        """
        from pytest_pycontainer.engine.stats import ContainerStats
        from pytest_pycontainer.runtime.cgroup_usage import read_usage

        self._require_present()
        self._require_cgroup("measure")
        with self._reading():
            networks = self._networks()
            usage = read_usage(self._cgroup)
            now, monotonic = time.time(), time.monotonic()
        return ContainerStats(now, monotonic, usage.cpu, usage.memory, usage.pids, networks, usage.block_devices)

    def follow_stats(self, interval: float = 1.0) -> Iterator[ContainerStats]:
        """Its ``stats`` now, and again after every ``interval`` seconds, until it exits."""
        self._require_started("follow the stats of")
        yield self.stats()
        while not self.exited_within(interval):
            yield self.stats()

    def limits(self) -> ContainerLimits:
        """The limits that the kernel holds it to now, read back from it."""
        from pytest_pycontainer.engine.limits_in_force import read_limits

        self._require_present()
        with self._reading():
            try:
                return read_limits(self._cgroup, self.pid)
            except (FileNotFoundError, ProcessLookupError):  # its first process has just ended
                return read_limits(self._cgroup, 0)

    def cgroup(self) -> Mapping[str, str]:
        """Its directories on this machine by controller (``memory``); ``unified`` is the one in version 2."""
        self._require_present()
        found: dict[str, str] = {}
        with self._reading():
            for hierarchy, directory in zip(Cgroups.of(self._cgroup).hierarchies, self._cgroup, strict=True):
                names = hierarchy.handed_on | {"unified"} if hierarchy.unified else hierarchy.controllers
                found |= {name.removeprefix("name="): directory for name in names}
        return dict(sorted(found.items()))

    def update(self, *, restart: str | None = None, **options: Unpack[UpdateOptions]) -> None:
        """Gives it other limits, or another restart policy, running or not, as ``docker update`` does.

        What is not named stays. To give it more memory than memory and swap together are limited to, name
        ``memory_swap`` too. Raises InvalidSpecError, UnsupportedLimitError, and ContainerUpdateError if the kernel
        refuses.
        """
        from pytest_pycontainer.engine.arguments import check_names, parse_restart
        from pytest_pycontainer.engine.limit_options import UpdateOptions

        check_names(options, UpdateOptions)
        policy = None if restart is None else parse_restart(restart)
        with self._lock, self._reading():
            self._require_present()
            settings = settings_of(Cgroups.of(self._cgroup), self.id, self._updated(options))
            try:
                apply(settings)
            except OSError as error:
                raise ContainerUpdateError(self.name, error.strerror or str(error)) from error
            if policy is not None:
                self._connection.ask(self.name, messages.ChangeRestartPolicy(policy))

    def _updated(self, options: UpdateOptions) -> Limits:
        """What to write: what is asked for, and what shares a file with it as it is now."""
        from pytest_pycontainer.engine.limits import parse_limits

        now = self.limits()
        asked = cast("LimitOptions", dict(options))
        if options.get("memory_swap") and not options.get("memory"):
            asked["memory"] = now.memory  # it is memory and swap together
        limits = parse_limits(asked)
        if limits.cpu_period is not None and limits.cpu_quota is None:
            limits = replace(limits, cpu_quota=now.cpu_quota)
        if limits.memory is None or limits.memory_swap is not None:
            return limits
        if now.memory_swap is not None and limits.memory > now.memory_swap:
            wanted = f"memory_swap too, which is {now.memory_swap} now, for memory and swap together"
            raise InvalidSpecError("memory", str(options.get("memory")), wanted)
        return replace(limits, memory_swap=UNLIMITED if now.memory_swap is None else now.memory_swap)

    def _networks(self) -> tuple[NetworkUsage, ...]:
        from pytest_pycontainer.engine.stats import parse_interfaces

        pid = self.pid
        try:
            text = Path(f"/proc/{pid}/net/dev").read_text() if pid else ""
        except OSError:
            return ()  # it has just exited
        return parse_interfaces(text) if self.pid == pid else ()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Around what reads its cgroup, which somebody else may remove meanwhile. Raises ContainerNotFoundError."""
        try:
            yield
        except OSError:
            self._require_present()
            raise
        self._require_present()
