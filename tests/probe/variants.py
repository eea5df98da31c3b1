"""The kinds of containers that are compared: the same wish in docker's words and in ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Variant:
    """``docker`` are arguments of ``docker run``, ``options`` those of ``Engine.run``.

    One that is ``executed`` is not the container's command, but run in it by exec, with those arguments and options.
    Docker filters system calls by our profile, unless the variant says which one it takes (``filters``).
    """

    name: str
    docker: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    executed: bool = False
    exec_docker: tuple[str, ...] = ()
    exec_options: Mapping[str, Any] = field(default_factory=dict)
    filters: bool = False


VARIANTS = (
    Variant("default"),
    Variant("Docker's own filter", filters=True),
    Variant("user", ("--user=60123",), {"user": 60123}),
    Variant("user and group", ("--user=60123:60123",), {"user": "60123:60123"}),
    Variant("privileged", ("--privileged",), {"privileged": True}, filters=True),
    Variant("privileged user", ("--privileged", "--user=60123"), {"privileged": True, "user": 60123}, filters=True),
    Variant("cap_add", ("--cap-add=SYS_ADMIN", "--cap-add=SYS_PTRACE"), {"cap_add": ["SYS_ADMIN", "SYS_PTRACE"]}),
    Variant("cap_add ALL", ("--cap-add=ALL", "--cap-drop=SYS_RESOURCE"),
            {"cap_add": "ALL", "cap_drop": "SYS_RESOURCE"}),
    Variant("cap_add user", ("--cap-add=NET_ADMIN", "--user=60123"), {"cap_add": ["NET_ADMIN"], "user": 60123}),
    Variant("cap_drop", ("--cap-drop=ALL",), {"cap_drop": "ALL"}),
    Variant("no new privileges", ("--security-opt=no-new-privileges",), {"security_opt": ["no-new-privileges"]}),
    Variant("seccomp unconfined", ("--security-opt=seccomp=unconfined",),
            {"security_opt": ["seccomp=unconfined"]}, filters=True),
    Variant("system paths unconfined", ("--security-opt=systempaths=unconfined",),
            {"security_opt": ["systempaths=unconfined"]}),
    Variant("read-only root", ("--read-only",), {"read_only": True}),
    Variant("init", ("--init",), {"init": True}),
    Variant("limits", ("--memory=512m", "--pids-limit=200"), {"memory": "512m", "pids_limit": 200}),
    Variant("tmpfs", ("--tmpfs=/scratch", "--tmpfs=/sized:size=1m,mode=700,exec"),
            {"tmpfs": {"/scratch": "", "/sized": "size=1m,mode=700,exec"}}),
    Variant("volume", ("--volume=/var/data",), {"volumes": ["/var/data"]}),
    Variant("bind mount", ("--volume=/usr/share/doc:/doc:ro",), {"volumes": ["/usr/share/doc:/doc:ro"]}),
    Variant("no network", ("--network=none",), {"network": "none"}),
    Variant("host name", ("--hostname=probed",), {"hostname": "probed"}),
    Variant("groups", ("--group-add=4711", "--group-add=audio"), {"group_add": [4711, "audio"]}),
    Variant("working directory", ("--workdir=/made/here",), {"workdir": "/made/here"}),
    Variant("terminal", ("--tty",), {"tty": True}),
    Variant("open input", ("--interactive",), {"stdin_open": True}),
    Variant("ulimits", ("--ulimit=nofile=1024:2048", "--ulimit=core=0", "--ulimit=nproc=500"),
            {"ulimits": {"nofile": (1024, 2048), "core": 0, "nproc": 500}}),
    Variant("shared memory", ("--shm-size=128m",), {"shm_size": "128m"}),
    Variant("sysctls", ("--sysctl=net.ipv4.ip_forward=1", "--sysctl=kernel.msgmax=65536"),
            {"sysctls": {"net.ipv4.ip_forward": "1", "kernel.msgmax": "65536"}}),
    Variant("score", ("--oom-score-adj=500",), {"oom_score_adj": 500}),
    Variant("device", ("--device=/dev/fuse", "--device=/dev/kmsg:/dev/log0:r"),
            {"devices": ["/dev/fuse", "/dev/kmsg:/dev/log0:r"]}),
    Variant("processors", ("--cpus=1.5", "--cpuset-cpus=0"), {"cpus": 1.5, "cpuset_cpus": "0"}),
    Variant("machine's network", ("--network=host",), {"network": "host"}),
    Variant("machine's processes", ("--pid=host",), {"pid": "host"}),
    Variant("machine's IPC", ("--ipc=host",), {"ipc": "host"}),
    Variant("machine's name", ("--uts=host",), {"uts": "host"}),
    Variant("own cgroups", ("--cgroupns=private",), {"cgroupns": "private"}),
    Variant("machine's cgroups", ("--cgroupns=host",), {"cgroupns": "host"}),
    Variant("hosts",
            ("--add-host=other:10.1.2.3", "--dns=10.9.8.7", "--dns-search=example.org", "--dns-option=ndots:3"),
            {"extra_hosts": ["other:10.1.2.3"], "dns": ["10.9.8.7"], "dns_search": ["example.org"],
             "dns_options": ["ndots:3"]}),
    Variant("exec", executed=True),
    Variant("exec terminal", executed=True, exec_docker=("--tty",), exec_options={"tty": True}),
    Variant("exec user", executed=True, exec_docker=("--user=60123",), exec_options={"user": 60123}),
    Variant("exec in privileged", ("--privileged",), {"privileged": True}, executed=True, filters=True),
    Variant("exec in no new privileges", ("--security-opt=no-new-privileges",),
            {"security_opt": ["no-new-privileges"]}, executed=True),
    Variant("exec in cap_drop", ("--cap-drop=ALL",), {"cap_drop": "ALL"}, executed=True),
)  # fmt: skip
"""In the order in which they are compared; the first is what most containers are."""
