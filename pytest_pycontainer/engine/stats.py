"""What a container has used until now: the values that ``Container.stats`` returns."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_pycontainer.runtime.cgroup_usage import BlockDeviceUsage, CpuUsage, MemoryUsage, PidsUsage

_LOOPBACK = "lo"
_COUNTERS = 8  # of each direction, in /proc/PID/net/dev, of which the first four are shown


@dataclass(frozen=True, slots=True)
class NetworkUsage:
    """What one interface has received and sent: bytes and packets, and how many packets were bad or dropped."""

    interface: str
    received_bytes: int = 0
    received_packets: int = 0
    received_errors: int = 0
    received_dropped: int = 0
    sent_bytes: int = 0
    sent_packets: int = 0
    sent_errors: int = 0
    sent_dropped: int = 0


@dataclass(frozen=True, slots=True)
class ContainerStats:
    """What a container has used from its making to ``time``, in seconds since the epoch.

    ``memory`` and ``pids`` are None where this machine's cgroups keep no account of them. ``networks`` are its
    interfaces without the loopback, none unless it runs. ``monotonic`` is ``time`` on a clock that is never set.
    """

    time: float
    monotonic: float
    cpu: CpuUsage
    memory: MemoryUsage | None
    pids: PidsUsage | None
    networks: tuple[NetworkUsage, ...]
    block_devices: tuple[BlockDeviceUsage, ...]

    def cpu_percent_since(self, earlier: ContainerStats) -> float:
        """How busy it was since then, in percent of one CPU, as docker shows it: 200 is two of them."""
        seconds = self.monotonic - earlier.monotonic
        return (self.cpu.total - earlier.cpu.total) / seconds * 100 if seconds > 0 else 0.0


def parse_interfaces(text: str) -> tuple[NetworkUsage, ...]:
    """The interfaces of a /proc/PID/net/dev (``man 5 proc_pid_net``)."""
    found = []
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        counters = list(map(int, rest.split()))
        if name.strip() != _LOOPBACK:
            shown = counters[:4] + counters[_COUNTERS : _COUNTERS + 4]
            found.append(NetworkUsage(name.strip(), *shown))
    return tuple(found)
