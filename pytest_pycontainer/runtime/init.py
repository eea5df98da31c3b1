"""Init: the process that becomes PID 1 of a container.

Order: cgroup → namespaces → /proc, /sys and /dev with their masks → wait for the launch → host name → root →
pivot_root → wait for the start → descriptors → ids → seccomp → capabilities → exec.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import NoReturn, TypeVar

from pytest_pycontainer.kernel import credentials, mount, namespaces
from pytest_pycontainer.kernel.process_name import rename_process
from pytest_pycontainer.runtime import cgroups, messages
from pytest_pycontainer.runtime.devices import prepare_system_directories
from pytest_pycontainer.runtime.failure import StepFailed, step
from pytest_pycontainer.runtime.process import (
    adjust_oom_score,
    become,
    close_all_but,
    execute,
    reset_signals,
    set_exec_label,
)
from pytest_pycontainer.runtime.reaper import run_as_child
from pytest_pycontainer.runtime.root import mount_whole_root
from pytest_pycontainer.runtime.rootfs import MountPoints
from pytest_pycontainer.runtime.shared_namespaces import join_namespace, open_shared_memory
from pytest_pycontainer.runtime.spec import Namespaces
from pytest_pycontainer.runtime.streams import open_streams
from pytest_pycontainer.runtime.terminal import KIND as TERMINAL_KIND

_OWN_NAMESPACES = namespaces.ALL & ~(namespaces.PID | namespaces.USER)
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1
# As Docker sets them: everybody in a container may open low ports and send pings.
_NETWORK_SETTINGS = {"ip_unprivileged_port_start": "0"}
_GROUPS = 2**31
# An interface to come gets no IPv6 address, by which neighbours and routers could be reached (CVE-2024-32473). Not by
# "all", which takes a lock of the machine's, and turns round for as long as it does not get it.
_WITHOUT_IPV6 = "net/ipv6/conf/default/disable_ipv6"
_FAILED = 125

_Expected = TypeVar("_Expected", messages.Launch, messages.Start)


def run_init(
    request: messages.Prepare,
    cgroup: tuple[str, ...],
    channel: socket.socket,
    report: socket.socket,
    points: MountPoints,
    network: int | None,
    joined: Mapping[int, int],
    mounter: socket.socket | None,
) -> NoReturn:
    """Joins what it is not in yet of its cgroup, makes namespaces, sets up what it is told to, and becomes the command.

    ``channel`` leads to the engine: ``Created`` or ``Failed`` go out on it, ``Launch`` and ``Start`` come in, and its
    closing says that the command runs. ``report`` leads to the monitor, and tells it of ``Failed`` and of the command
    in the same way. Without ``network``, a network namespace that there is already, a new one is made. ``joined`` are
    pidfds of those whose namespaces it is to share, by kind. Who is in a user namespace has a ``mounter``.
    """
    try:
        # Who shares its PID namespace sees it from now on (CVE-2016-9962, CVE-2019-5736).
        credentials.hide_process()
        os.setsid()
        os.umask(0)  # modes are given in full, those of /dev above all
        reset_signals()
        with step("open this machine's network namespace"):
            machine = namespaces.open_own(namespaces.NETWORK)
        with step("join the cgroup"):
            # First: what it is in when it gets a cgroup namespace is the top that it will see.
            cgroups.join(cgroup)
            hierarchies = cgroups.joined(request.place.cgroup)
        _make_namespaces(channel, network, request.namespaces, joined, points.ids.groups)
        if mounter is None:
            shared_memory = open_shared_memory(joined)
            prepare_system_directories(points, request.system, hierarchies, request.namespaces, shared_memory)
        else:
            messages.tell(mounter, messages.Created())
        launch = _await(channel, messages.Launch)
        spec = launch.spec
        if spec.host_network:
            with step("join this machine's network"):
                namespaces.enter(machine, namespaces.NETWORK)
            if mounter is None:
                # Once more: a sysfs shows the interfaces of the network that it was mounted in.
                mount.detach(points.system)
                prepare_system_directories(points, request.system, hierarchies, request.namespaces, shared_memory)
        if mounter is None:
            adjust_oom_score(spec.process)
        set_exec_label(spec.process)
        parameters = os.open("/proc/sys", os.O_PATH | os.O_DIRECTORY) if spec.sysctls else -1
        if not request.namespaces.machine & namespaces.UTS and namespaces.UTS not in joined:
            with step("set the host name"):
                socket.sethostname(spec.hostname)
        again = launch.again
        root = _receive_root(mounter, launch) if mounter else mount_whole_root(spec, points, again=again)
        if spec.reaper:
            with step("take docker-init's name"):
                rename_process("docker-init", ("/sbin/docker-init", "--", *spec.process.command))
        _enter_root(root, read_only=spec.read_only)
        open_streams(spec, report)
        _await(channel, messages.Start)
        _set_sysctls(spec.sysctls, parameters)
        close_all_but([channel.fileno(), report.fileno()])
        if spec.one_output:
            os.dup2(1, 2)
        environment = become(spec.process, makes_directory=True)
        if spec.terminal is not None:
            environment.setdefault("TERM", TERMINAL_KIND)
        if (request.namespaces.machine | sum(joined)) & namespaces.PID:
            with suppress(OSError):  # the filter may forbid it; and a change of users makes the kernel forget it
                credentials.die_with_parent(signal.SIGKILL)
        if spec.reaper:
            run_as_child(channel, report)
        execute(spec.process.command, environment)
    except StepFailed as failure:
        _tell_both(channel, report, failure.failed)
    except Exception as error:  # noqa: BLE001  (nobody else would tell of it)
        _tell_both(channel, report, messages.Failed("set up the container", 0, repr(error)))
    finally:
        os._exit(_FAILED)


def _tell_both(channel: socket.socket, report: socket.socket, failed: messages.Failed) -> None:
    messages.tell(report, failed)
    messages.tell(channel, failed)


def _await(channel: socket.socket, kind: type[_Expected]) -> _Expected:
    while True:
        received = messages.receive(channel)
        if received is None:
            os._exit(_FAILED)  # the engine has let go of the container
        message, _ = received
        if not isinstance(message, messages.Launched):
            break
        messages.send(channel, messages.Done())
    assert isinstance(message, kind)
    return message


def _make_namespaces(
    channel: socket.socket, network: int | None, shared: Namespaces, joined: Mapping[int, int], own_groups: int
) -> None:
    for kind, pidfd in joined.items():
        if kind != namespaces.PID:  # that one it is forked into
            join_namespace(pidfd, kind)
    others = sum(joined) | shared.machine | (0 if network is None else namespaces.NETWORK)
    with step("make namespaces"):
        namespaces.unshare(_OWN_NAMESPACES & ~others)
        credentials.join_new_keyring()
    is_machines = shared.machine & namespaces.NETWORK
    if network is None and namespaces.NETWORK not in joined and not is_machines:
        _prepare_network(own_groups if shared.ids is None else shared.ids.count)
    elif network is not None and not is_machines:
        with step("join the container's network"):
            namespaces.enter(network, namespaces.NETWORK)
    with step("announce the container"), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route_socket:
        pidfd = os.pidfd_open(os.getpid())
        own_network = namespaces.open_own(namespaces.NETWORK)
        messages.send(channel, messages.Created(), [pidfd, own_network, route_socket.fileno()])
        os.close(pidfd)
        os.close(own_network)


def _prepare_network(groups: int) -> None:
    with step("bring up the loopback interface"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", _IFF_UP))
    settings = _NETWORK_SETTINGS | {"ping_group_range": f"0 {min(groups, _GROUPS) - 1}"}
    for name, value in settings.items():
        # This machine's /proc, which shows each process its own network namespace.
        with step(f"set net.ipv4.{name}"), open(f"/proc/sys/net/ipv4/{name}", "w") as file:
            file.write(value)
    with (
        step(f"set {_WITHOUT_IPV6}"),
        suppress(FileNotFoundError),  # a kernel without IPv6
        open(f"/proc/sys/{_WITHOUT_IPV6}", "w") as file,
    ):
        file.write("1")


def _set_sysctls(sysctls: tuple[tuple[str, str], ...], parameters: int) -> None:
    """Once the interfaces are there, for some are theirs; through this machine's /proc/sys, open as ``parameters``."""
    for path, value in sysctls:
        with step(f"set the sysctl {path.replace('/', '.')} to {value!r}"):
            descriptor = os.open(path, os.O_WRONLY, dir_fd=parameters)
            os.write(descriptor, value.encode())
            os.close(descriptor)


def _receive_root(mounter: socket.socket, launch: messages.Launch) -> int:
    messages.tell(mounter, launch)
    received = messages.receive(mounter)
    if received is None:
        raise StepFailed(messages.Failed("mount the root file system", 0, "the process that does it has died"))
    answer, descriptors = received
    if isinstance(answer, messages.Failed):
        raise StepFailed(answer)
    with step("attach the root"):
        (root,) = descriptors
        place = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        mount.attach(root, place)
        os.close(place)
    return root


def _enter_root(root: int, *, read_only: bool) -> None:
    # Nothing is loaded from the container's root, whatever asks for it.
    sys.path.clear()
    with step("make it the root"):
        mount.pivot_into(root)
        os.close(root)
        if read_only:
            mount.make_read_only("/")
