"""What the machine must have before an ordinary user can run containers, beside what root needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Where the kernel itself has directories that are empty for ever: what is mounted there hides nothing.
_EMPTY = ("/proc/sys/fs/binfmt_misc", "/proc/fs/nfsd")
_HIDING = ("/proc/", "/sys/firmware")


def missing_for_user(proc: Path) -> Iterator[tuple[str, str]]:
    """What is absent, and what to do about it; read from the procfs that is mounted on ``proc``."""
    if not os.path.lexists(proc / "self/ns/user"):
        yield "user namespaces", "run a kernel built with CONFIG_USER_NS, or run pytest as root"
        return
    for name, refusing, remedy in (
        ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=10000"),
        ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    ):
        if _setting(proc, name) == refusing:
            yield "user namespaces for ordinary users", f"switch them on, as root: {remedy}; or run pytest as root"
    if _setting(proc, "kernel/apparmor_restrict_unprivileged_userns") == "1" and not _is_confined(proc):
        yield (
            "user namespaces for this program, which AppArmor restricts",
            "as root, sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give Python a profile with "
            "'userns,' (https://ubuntu.com/blog/ubuntu-23-10-restricted-unprivileged-user-namespaces); "
            "or run pytest as root",
        )
    hiding = sorted(set(_hiding(proc)))
    if hiding:
        yield (
            f"a whole /proc and /sys (mounts hide parts of it: {', '.join(hiding)})",
            "inside a container, start that one with --security-opt systempaths=unconfined, or --privileged",
        )


def _setting(proc: Path, name: str) -> str:
    try:
        return (proc / "sys" / name).read_text().strip()
    except OSError:
        return ""


def _is_confined(proc: Path) -> bool:
    try:
        # A profile that allows everything counts too: "python (unconfined)".
        return (proc / "self/attr/current").read_text().strip() != "unconfined"
    except OSError:
        return False


def _hiding(proc: Path) -> Iterator[str]:
    """The mounts because of which the kernel lets nobody in a user namespace mount a new /proc or /sys."""
    for line in (proc / "self/mountinfo").read_text().splitlines():
        place = line.split()[4]
        if place.startswith(_HIDING) and not place.startswith(_EMPTY):
            yield place
