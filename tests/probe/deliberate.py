"""Where a container of ours is meant to be another one than Docker's, and why.

Docker's is that of Debian 12 (20.10, runc 1.1), on a machine with version 1 cgroups.
"""

from __future__ import annotations

from typing import Final

from tests.probe.comparison import Deliberate

_ANY_HIERARCHY = r"/sys/fs/cgroup/\w+"

DELIBERATE: Final = (
    Deliberate(
        "Debian's libseccomp leaves out of a profile what is newer than itself",
        r"calls > .* > (45[7-9]|46\d)",
        "ENOSYS|EPERM",
    ),
    Deliberate(
        "the profile that is built into this Docker is older: without what has been added to the default since",
        r"calls > (filter > .*|carried out > .*|socket > .*)",
        variants="Docker's own filter",
    ),
    Deliberate(
        "this runc does not know PERFMON, BPF and CHECKPOINT_RESTORE", r"status > Cap(Prm|Eff|Bnd)",
        "0000003f.{8}", "000001ff.{8}",
    ),
    Deliberate(
        "every container has a cgroup namespace, as in Docker with version 2 cgroups; with version 1 Docker shows it "
        "the machine's", r"namespaces > cgroup|cgroup|mounts > " + _ANY_HIERARCHY + " > root",
    ),
    Deliberate(
        "read-only, as Docker documents it; this runc means to make it so, and does not",
        r"mounts > /sys/fs/cgroup > options|sys > /sys/fs/cgroup",
    ),
    Deliberate(
        "nothing of a container's root is synced when it goes", "mounts > / > of all", ours=".*volatile.*"
    ),
    Deliberate(
        "the root and volumes are ours alone: there is nothing on this machine to follow", "mounts > .* > propagation",
        r"\['master'\]", r"\[\]",
    ),
    Deliberate("it lies in our store", "mounts > /var/data > root"),
    Deliberate(
        "newer Dockers too give the loopback interface its IPv6 address, and no other",
        "network > IPv6|settings > /proc/sys/net/ipv6/conf/lo/disable_ipv6",
        ours=r".*'0.n'|\['lo'\]",
    ),
    Deliberate(
        "containers ask the engine's name server for each other, as in Docker's networks other than its default one; "
        "newer Dockers write resolv.conf in this order", r"etc > resolv\.conf",
    ),
    Deliberate(
        "docker's client has told the size of a terminal that it has not", "terminal > size", r"\[0, 0\]",
        r"\[80, 24\]",
    ),
    Deliberate(
        "where no PID namespace ends a container with its monitor, a signal does", "identity > death signal", "0", "9",
        "machine's processes",
    ),
    Deliberate(
        "other processes of the machine, and another one's child", "processes|identity > parent",
        variants="machine's processes",
    ),
    Deliberate(
        "its name is the machine's wherever it asks for it", "environment|etc > host(s|name)",
        variants="machine's name",
    ),
    Deliberate("a name without a meaning", "mounts > /sys/fs/cgroup/systemd > source", "systemd", "cgroup"),
    Deliberate(
        "newer Dockers mask it: it tells what other containers do", "(proc|mounts) > /proc/interrupts.*"
    ),
    Deliberate("the uplink's, not always 1500: larger packets would not get through",
               "network > interfaces > eth0 > mtu|settings > /proc/sys/net/ipv6/conf/eth0/mtu"),
    Deliberate("the kernel's default; on a veth there is no queue in any case", "network > interfaces > eth0 > queue"),
    Deliberate(
        "a keyring without a name: one with a name can be joined by whoever knows it", "keyring",
        r".*_ses\.<id>", ".*;_ses",
    ),
    Deliberate("the reaper is ours, in memory: no program of the machine's is mounted",
               "mounts > /usr/sbin/docker-init > .*"),
)  # fmt: skip
