"""What a process finds around itself: a program that is run in the containers that are compared (``python3 -c``).

It needs Python and its standard library alone, and changes nothing.
"""

import ctypes
import errno
import fcntl
import os
import re
import resource
import socket
import stat
import struct
import termios
from collections.abc import Callable, Iterator
from functools import partial

_NAMES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
_STATUS = (
    "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters", "Groups", "Umask",
    "SigBlk", "SigIgn", "SigCgt", "Cpus_allowed_list", "Mems_allowed_list", "THP_enabled", "CoreDumping",
)  # fmt: skip
_NET_SETTINGS = re.compile(r"/proc/sys/(net/|kernel/(domainname|hostname|msg|sem|shm)|fs/mqueue)")
# Interfaces that others make on this machine meanwhile.
_OTHERS = re.compile(r"(pyc|veth|docker|br)-?[0-9a-f]+")
# Other than by containers these change by themselves.
_RESTLESS = re.compile(
    r"/(pyc-?[0-9a-f]+|veth[0-9a-f]+|docker0|random|neigh|nf_conntrack_count|dentry-state|inode-nr|inode-state|file-nr|aio-nr)\b"
)
_libc = ctypes.CDLL(None, use_errno=True)


def surroundings(status: str, environment: str, machines_namespaces: str) -> dict[str, object]:
    """All of it. ``status`` and ``environment`` are as the container's first program found them;
    ``machines_namespaces`` are those outside.
    """
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return {
        "status": {name: fields.get(name, "").strip() for name in _STATUS},
        "identity": _identity(),
        "environment": sorted(entry for entry in environment.split("\n") if entry),
        "descriptors": dict(_descriptors()),
        "limits": {
            name.removeprefix("RLIMIT_"): resource.getrlimit(getattr(resource, name))
            for name in sorted(dir(resource))
            if name.startswith("RLIMIT_")
        },
        "namespaces": _namespaces(machines_namespaces.split()),
        "cgroup": sorted(line.split(":", 1)[1] for line in _read("/proc/self/cgroup").splitlines()),
        "mounts": _mounts(),
        "devices": dict(_nodes("/dev", opens=True)),
        "proc": dict(_nodes("/proc", depth=1, opens=True, left_out=re.compile(r"/proc/(\d+|self|thread-self)$"))),
        "settings": dict(_nodes("/proc/sys", opens=True, contents=_NET_SETTINGS, left_out=_RESTLESS)),
        "sys": dict(_nodes("/sys", depth=2, opens=True)),
        "cgroup files": dict(_nodes("/sys/fs/cgroup", depth=2, opens=True)),
        "etc": {name: _read(f"/etc/{name}").splitlines() for name in ("hosts", "hostname", "resolv.conf")},
        "files": {f"/etc/{name}": _node(f"/etc/{name}") for name in ("hosts", "hostname", "resolv.conf", "mtab")},
        "root": {"/": _node("/"), **{f"/{name}": _node(f"/{name}") for name in sorted(os.listdir("/"))}},
        "network": _network(),
        "keyring": _keyring(),
        "terminal": _terminal(),
        "processes": [_read(f"/proc/{name}/comm").strip() for name in sorted(os.listdir("/proc")) if name.isdigit()],
    }


def _identity() -> dict[str, object]:
    prctl = {"dumpable": 3, "keepcaps": 7, "securebits": 27, "no_new_privs": 39, "death signal": 2, "subreaper": 37}
    value = ctypes.c_int(-1)
    found: dict[str, object] = {}
    for name, option in prctl.items():
        if name in ("death signal", "subreaper"):
            _libc.prctl(option, ctypes.byref(value), 0, 0, 0)
            found[name] = value.value
        else:
            found[name] = _libc.prctl(option, 0, 0, 0, 0)
    return found | {
        "uid": os.getresuid(),
        "gid": os.getresgid(),
        "groups": sorted(os.getgroups()),
        "directory": os.getcwd(),
        "is PID 1": os.getpid() == 1,
        "parent": os.getppid(),
        "leads its session": os.getsid(0) == os.getpid(),
        "leads its group": os.getpgid(0) == os.getpid(),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "scheduler": os.sched_getscheduler(0),
        "personality": _libc.personality(ctypes.c_ulong(0xFFFFFFFF)),
        "oom_score_adj": _read("/proc/self/oom_score_adj").strip(),
        "login": _read("/proc/self/loginuid").strip(),
        "uid map": _read("/proc/self/uid_map").split(),
        "gid map": _read("/proc/self/gid_map").split(),
        "setgroups": _read("/proc/self/setgroups").strip(),
        "label": _read("/proc/self/attr/current").strip("\0\n"),
        "processors": os.cpu_count(),
    }


def _descriptors() -> Iterator[tuple[str, str]]:
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            yield name, re.sub(r"[0-9]+", "N", os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:  # what the directory itself was read through
            continue


def _namespaces(machines: list[str]) -> dict[str, str]:
    own = {name: os.readlink(f"/proc/self/ns/{name}") for name in _NAMES if os.path.lexists(f"/proc/self/ns/{name}")}
    return {name: "the machine's" if link in machines else "its own" for name, link in own.items()}


def _mounts() -> dict[str, object]:
    found: dict[str, object] = {}
    for line in _read("/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        root, point, options, *propagation = before.split()[3:]
        kind, source, of_all = after.split()
        if kind == "overlay":
            of_all = ",".join(option for option in of_all.split(",") if "dir=" not in option)
        root, source = (re.sub(r".*[0-9a-f]{64}", "…", text) for text in (root, source))
        number = sum(1 for name in found if name.partition(" #")[0] == point)
        found[f"{point} #{number}" if number else point] = {
            "type": kind, "root": root, "source": source, "options": sorted(options.split(",")),
            "of all": sorted(of_all.split(",")), "propagation": [each.partition(":")[0] for each in propagation],
        }  # fmt: skip
    return found


def _nodes(
    top: str,
    depth: int = 9,
    *,
    opens: bool = False,
    contents: re.Pattern[str] | None = None,
    left_out: re.Pattern[str] | None = None,
) -> Iterator[tuple[str, object]]:
    try:
        names = sorted(os.listdir(top))
    except OSError as error:
        yield f"{top}/", errno.errorcode[error.errno or 0]
        return
    for name in names:
        path = os.path.join(top, name)
        if left_out is not None and left_out.search(path):
            continue
        found = _node(path)
        # A device of this machine may do something when it is opened: only what every container has is.
        if opens and not found.startswith(("l", "d")) and not (found.startswith(("b", "c")) and _is_machines(path)):
            found += f" {_opened(path, os.O_RDONLY)} {_opened(path, os.O_WRONLY)}"
        if contents is not None and contents.match(path) and found.startswith("-"):
            found += f" {_read(path)!r}"
        yield path, found
        if found.startswith("d") and depth > 1:
            yield from _nodes(path, depth - 1, opens=opens, contents=contents, left_out=left_out)


def _node(path: str) -> str:
    """Its kind and mode, owner, and number or target."""
    try:
        status = os.lstat(path)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    found = f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid}"
    if stat.S_ISLNK(status.st_mode):
        found += f" {os.readlink(path)}"
    elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        found += f" {os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return found


def _is_machines(path: str) -> bool:
    major = os.major(os.lstat(path).st_rdev)
    return major not in (1, 5, 136) or path.endswith(("mem", "port", "kmsg", "console"))


def _opened(path: str, flags: int) -> str:
    try:
        os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "opened"


def _read(path: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.read(descriptor, 1 << 16).decode(errors="replace")
        finally:
            os.close(descriptor)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def _network() -> dict[str, object]:
    interfaces = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            if _OTHERS.fullmatch(name):
                continue
            flags, mtu = (_result(partial(_of_interface, any_socket, code, name)) for code in (0x8913, 0x8921))
            interfaces[name] = {
                "flags": flags & 0xFFFF if isinstance(flags, int) else flags,
                "mtu": mtu,
                "queue": _read(f"/sys/class/net/{name}/tx_queue_len").strip(),
            }
    routes = [line.split() for line in _read("/proc/net/route").splitlines()[1:] if not _OTHERS.match(line)]
    return {
        "interfaces": interfaces,
        "routes": sorted((fields[0], fields[1] == "00000000", fields[3], fields[6]) for fields in routes),
        "IPv6": sorted(
            name
            for name in (line.split()[-1] for line in _read("/proc/net/if_inet6").splitlines())
            if not _OTHERS.fullmatch(name)
        ),
    }


def _of_interface(any_socket: socket.socket, code: int, name: str) -> object:
    return struct.unpack_from("i", fcntl.ioctl(any_socket, code, struct.pack("16s16x", name.encode())), 16)[0]


def _keyring() -> str:
    """What the session's keyring is called, if it may be asked."""
    text = ctypes.create_string_buffer(256)
    number = {"x86_64": 250, "aarch64": 219}[os.uname().machine]
    words = [ctypes.c_ulong(word % 2**64) for word in (number, 6, -3)]
    if _libc.syscall(*words, text, ctypes.c_ulong(256)) < 0:
        return errno.errorcode[ctypes.get_errno()]
    return text.value.decode()


def _terminal() -> dict[str, object]:
    def inject(descriptor: int) -> object:
        return _result(lambda: fcntl.ioctl(descriptor, termios.TIOCSTI, b" ") and "typed")

    master, slave = os.openpty()
    try:
        return {
            "inputs": [os.isatty(descriptor) for descriptor in range(3)],
            "name": _result(lambda: os.ttyname(0)),
            "controlling": _opened("/dev/tty", os.O_RDWR),
            "foreground": _result(lambda: os.tcgetpgrp(0) == os.getpgrp()),
            "size": _result(lambda: list(os.get_terminal_size(0))),
            "modes": _result(lambda: termios.tcgetattr(0)[:4]),
            "owner": _node(os.ttyname(0)) if os.isatty(0) else None,
            "typing into another": inject(slave),
        }
    finally:
        os.close(master)
        os.close(slave)


def _result(call: Callable[[], object]) -> object:
    try:
        return call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    except termios.error as error:
        return errno.errorcode[error.args[0]]
    except ValueError as error:
        return str(error)
