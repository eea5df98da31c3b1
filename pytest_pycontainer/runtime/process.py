"""The last steps of a process of ours before it becomes a process of the container."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
import struct
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, NoReturn

from pytest_pycontainer.kernel import credentials, libc, mount, namespaces
from pytest_pycontainer.kernel.own_ids import OwnIds
from pytest_pycontainer.kernel.seccomp import install_filter
from pytest_pycontainer.runtime import users
from pytest_pycontainer.runtime.failure import StepFailed, step
from pytest_pycontainer.runtime.messages import Failed
from pytest_pycontainer.runtime.spec import ProcessSpec, ResourceLimit

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_ABOVE_ANY_DESCRIPTOR = 2**31 - 1
_UMASK = 0o022
_LIMIT_STEP = "set the limit"
_IDS_STEP = "set capabilities and user"
_LIMITS = struct.Struct("=qq")  # soft and hard
_UNLIMITED = -1
_PROCESS_GROUP = 4  # PIDFD_SIGNAL_PROCESS_GROUP
_NULL_DEVICE = os.makedev(1, 3)

EXECUTE_STEP = "exec"
"""The name of the step whose failure means: the command is missing (ENOENT) or can't be executed."""

DIRECTORY_STEP = "change to the working directory"
"""How the step begins whose failure means: the working directory is missing (ENOENT), or is none."""


def failed_exit_code(failed: Failed) -> int:
    """Docker's exit code of a container whose command could not be started."""
    if failed.step != EXECUTE_STEP:
        return 125
    return 127 if failed.errno == errno.ENOENT else 126


def close_all_but(keep: Iterable[int]) -> None:
    """Closes every descriptor except ``keep`` and the three standard ones (CVE-2024-21626)."""
    first = 3
    for descriptor in sorted(keep):
        os.closerange(first, descriptor)
        first = max(first, descriptor + 1)
    os.closerange(first, _ABOVE_ANY_DESCRIPTOR)


def pid_on_this_machine(pidfd: int) -> int:
    """The process's number where /proc is from, not in this process's own PID namespace; 0 if it is gone."""
    return numbers_of(pidfd)[0]


def numbers_of(pidfd: int) -> tuple[int, int]:
    """The process's numbers where /proc is from, and in its own PID namespace; 0 if it is gone."""
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        fields = dict(line.split(":", 1) for line in file)
    return max(0, int(fields["Pid"])), max(0, int(fields.get("NSpid", fields["Pid"]).split()[-1]))


def reset_signals() -> None:
    """Gives every signal its default action: ignored ones would stay ignored in the container's program.

    Called while /proc is this machine's.
    """
    # Python ignores some, and whoever has started us (nohup, a shell's "&") others. The kernel is asked for those that
    # are ignored or caught: to set all of them takes longer.
    with open("/proc/self/status", "rb") as file:
        _, _, masks = file.read().partition(b"\nSigIgn:")
    ignored, _, caught = masks.split(maxsplit=3)[:3]
    set_otherwise = int(ignored, 16) | int(caught, 16)
    while set_otherwise:
        number = set_otherwise.bit_length()
        set_otherwise ^= 1 << (number - 1)
        with suppress(OSError):  # the C library keeps two for itself
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def kill_group(pidfd: int) -> None:
    """Kills a process and what it has started, as far as that is still in its group; before Linux 6.9, it alone.

    One that is gone is no error.
    """
    with suppress(ProcessLookupError):
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL, None, _PROCESS_GROUP)
        except OSError:  # an older kernel, or it has not come to have a group
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def own_stream(descriptor: int, uid: int, gid: int) -> None:
    """Makes a pipe, socket or terminal another user's, who may then open it by its name in /proc. Raises OSError."""
    status = os.fstat(descriptor)
    if stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode) or os.isatty(descriptor):
        os.fchown(descriptor, uid, gid)


def take_own_null_device() -> None:
    """Replaces this machine's null device, where it is a standard stream, by the container's: its root could change the
    mode of the one that everybody here has. Raises StepFailed if it has put something else in its place.
    """
    for stream in range(3):
        if not _is_null_device(stream):
            continue
        with step(f"open {os.devnull}"):
            own = os.open(os.devnull, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            if not _is_null_device(own):  # CVE-2025-31133
                raise StepFailed(Failed(f"open {os.devnull}", 0, "the container has put something else there"))
            os.dup2(own, stream)
            os.close(own)


def _is_null_device(descriptor: int) -> bool:
    status = os.fstat(descriptor)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL_DEVICE


def adjust_oom_score(process: ProcessSpec, number: int | str = "self") -> None:
    """Says how soon this process, or that with a number, is ended when the machine has no memory left.

    Called while /proc is this machine's: nothing is written to what a container shows as that (CVE-2025-52881).
    """
    if process.oom_score_adj is not None:
        with step(f"set oom_score_adj to {process.oom_score_adj}"):
            try:
                with open(f"/proc/{number}/oom_score_adj", "w") as file:
                    file.write(str(process.oom_score_adj))
            except PermissionError as error:
                detail = "it takes CAP_SYS_RESOURCE to have it below that of whoever started pytest; name a higher one"
                raise PermissionError(error.errno, detail) from error


def raise_hard_limits(process: ProcessSpec, number: int = 0) -> None:
    """Lets this process, or that with a number, set its limits (``man 2 setrlimit``) once it is in a user namespace.

    Nobody there may raise one. Raises StepFailed.
    """
    for limit in process.resource_limits:
        with step(f"{_LIMIT_STEP} {limit.name} to {limit.soft}:{limit.hard}"):
            now = ctypes.create_string_buffer(_LIMITS.size)
            libc.call("prlimit", number, limit.number, None, now)
            soft, hard = _LIMITS.unpack(now.raw)
            if hard != _UNLIMITED and (limit.hard == _UNLIMITED or limit.hard > hard):
                libc.call("prlimit", number, limit.number, _LIMITS.pack(soft, limit.hard), None)


def _set_limit(limit: ResourceLimit) -> None:
    try:
        libc.call("setrlimit", limit.number, _LIMITS.pack(limit.soft, limit.hard))
    except PermissionError as error:
        now = ctypes.create_string_buffer(_LIMITS.size)
        libc.call("prlimit", 0, limit.number, None, now)
        _, hard = _LIMITS.unpack(now.raw)
        detail = (
            f"it takes CAP_SYS_RESOURCE to go beyond the hard limit that pytest was started with, {hard}, and nofile "
            "ends at fs.nr_open; name a lower one, or have it raised for this user (/etc/security/limits.conf)"
        )
        raise PermissionError(error.errno, detail) from error


def set_exec_label(process: ProcessSpec) -> None:
    """Says what is to confine the program that this process, or a child, executes (AppArmor, SELinux).

    Called while /proc is this machine's, as ``adjust_oom_score``.
    """
    if process.exec_label is not None:
        name, text = process.exec_label
        with step(f"write {text!r} to /proc/thread-self/attr/{name}"):
            descriptor = os.open(f"/proc/thread-self/attr/{name}", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(descriptor, text.encode())
            finally:
                os.close(descriptor)


def become(process: ProcessSpec, *, makes_directory: bool = False) -> dict[str, str]:
    """Takes on the process's directory, user, capabilities and filter, inside the root; returns its environment.

    With ``makes_directory`` a directory that is missing is made, as Docker does for a container, not for ``exec``.
    Nothing may be loaded from here on that was not before: the root is the container's. Raises StepFailed.
    """
    environment = dict(entry.split("=", 1) for entry in process.environment)
    user = users.look_up(process.user)
    groups = users.look_up_groups(process.groups)
    environment.setdefault("HOME", user.home)
    take_own_null_device()
    os.umask(_UMASK)
    directory = process.working_directory or "/"
    with step(f"{DIRECTORY_STEP} {directory}"):
        if makes_directory:
            os.makedirs(directory, exist_ok=True)
        os.chdir(directory)
        os.getcwd()  # the kernel answers ENOENT where it lies outside the root
    for limit in process.resource_limits:
        with step(f"{_LIMIT_STEP} {limit.name} to {limit.soft}:{limit.hard}"):
            _set_limit(limit)
    with step(_IDS_STEP):
        if user.uid or user.gid:
            _show_root_as(user)
        credentials.limit_capabilities(process.capabilities)
        credentials.keep_capabilities()
        for stream in range(3):
            try:
                own_stream(stream, user.uid, -1)  # so that it can open /dev/stdout
            except OSError as error:  # it is of another user namespace, or there is no such user in this one
                if error.errno not in (errno.EPERM, errno.EINVAL):
                    raise
        _take_ids(user, groups)
        capabilities = process.capabilities if user.uid == 0 else 0
        if process.no_new_privileges:
            credentials.refuse_new_privileges()
        elif process.system_call_filter is not None:
            # The kernel takes a filter from nobody else. Little is left to be called: capset(2), execve(2), a reaper's.
            credentials.set_capabilities(capabilities | credentials.capability_mask(["SYS_ADMIN"]))
            install_filter(process.system_call_filter)
        credentials.set_capabilities(capabilities)
        if process.no_new_privileges and process.system_call_filter is not None:
            install_filter(process.system_call_filter)
    return environment


def _show_root_as(user: users.User) -> None:
    """Where root is the only user that there is, lets this process have the numbers of ``user`` in its place.

    That is podman's ``keep-id``: in a further user namespace root's files are that user's. Nothing else changes there.
    """
    own = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not mount.is_proc(own) or OwnIds.read().users != 1:
            return
        namespaces.unshare(namespaces.USER)
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user.uid} 0 1"), ("gid_map", f"{user.gid} 0 1")):
            descriptor = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=own)
            os.write(descriptor, text.encode())
            os.close(descriptor)
    finally:
        os.close(own)


def _take_ids(user: users.User, groups: Iterable[int]) -> None:
    # With the primary one among them: what is denied to it stays denied when it is changed (CVE-2022-36109).
    wanted = list(dict.fromkeys((user.gid, *user.groups, *groups)))
    try:
        os.setgroups(wanted)
    except PermissionError as error:
        # Where root is an ordinary user without subordinate ones, groups can neither be had nor got rid of.
        if groups:
            raise _no_such_ids(f"groups with the numbers {', '.join(map(str, groups))}", error) from error
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise _no_such_ids(f"groups with the numbers {', '.join(map(str, wanted))}", error) from error
    try:
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise _no_such_ids(f"users with the numbers {user.uid}:{user.gid}", error) from error


def _no_such_ids(what: str, error: OSError) -> StepFailed:
    remedy = (
        "containers of an ordinary user have those that /etc/subuid and /etc/subgid give to that user, where newuidmap "
        "is installed (Debian: uidmap): as root, usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER"
    )
    return StepFailed(Failed(_IDS_STEP, error.errno or 0, f"there are no {what} here; {remedy}"))


def execute(command: tuple[str, ...], environment: dict[str, str]) -> NoReturn:
    """Replaces this process by ``command``, looked up in the environment's PATH. Raises StepFailed (EXECUTE_STEP)."""
    name = command[0]
    candidates = [name]
    if "/" not in name:
        candidates = [os.path.join(part or ".", name) for part in environment.get("PATH", DEFAULT_PATH).split(":")]
    number = errno.ENOENT
    for candidate in candidates if name else ():
        try:
            os.execve(candidate, command, environment)  # noqa: S606  (it is what a container is for)
        except OSError as error:
            # Like execvp(3): another directory of the path may hold one that can be executed.
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                number = error.errno or errno.EACCES
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
                break
    raise StepFailed(Failed(EXECUTE_STEP, number, os.strerror(number)))
