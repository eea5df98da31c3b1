"""Runs tests in a virtual machine with Debian's kernel: ``python -m tests.guest tests/engine/test_limits.py``.

For what the machine at hand may lack: cgroup version 2 with all controllers, AppArmor, netem, another kernel. The guest
sees this machine's root file system, read-only, with one in memory over it, and nothing of what it does stays.
It needs ``qemu-system-x86_64``, ``busybox`` (static), ``cpio``, ``depmod``, and apt for the kernel, which is kept in
``~/.cache/pycontainer-guest``. QEMU emulates the processor, so that it works where there is no KVM, some ten times
as slowly as the machine.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.guest.initramfs import write_initramfs

PROJECT = Path(__file__).parents[2]
CACHE = Path.home() / ".cache/pycontainer-guest"
EXIT_CODE = "guest: exit code "


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--package", default="linux-image-amd64", help="Debian's package with the kernel")
    parser.add_argument("--memory", default="3G")
    parser.add_argument("--timeout", type=float, default=3600.0, help="seconds")
    parser.add_argument("--command", help="run this with a shell, instead of pytest")
    parser.add_argument("arguments", nargs="*", help="of pytest")
    given = parser.parse_intermixed_args()
    command = given.command or shlex.join(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *given.arguments]
    )
    root = fetch_kernel(given.package)
    (kernel,) = (root / "boot").glob("vmlinuz-*")
    release = kernel.name.removeprefix("vmlinuz-")
    with tempfile.TemporaryDirectory() as directory:
        initramfs = Path(directory, "initramfs.gz")
        write_initramfs(initramfs, root, release, script(command))
        return run(kernel, initramfs, memory=given.memory, timeout=given.timeout)


def fetch_kernel(package: str) -> Path:
    """The directory with what the kernel's package holds, and an index of its modules."""
    shown = subprocess.run(["apt-cache", "depends", package], check=True, capture_output=True, text=True).stdout
    name = next(word for word in shown.split() if word.startswith("linux-image-") and word != package)
    root = CACHE / name
    if not root.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as directory:
            subprocess.run(["apt-get", "download", name], cwd=directory, check=True)
            (archive,) = Path(directory).glob("*.deb")
            unpacked = Path(directory, "root")
            subprocess.run(["dpkg", "-x", archive, unpacked], check=True)
            (modules,) = (unpacked / "lib/modules").iterdir()
            subprocess.run(["depmod", "-b", unpacked, modules.name], check=True)
            unpacked.rename(root)
    return root


def script(command: str) -> str:
    """What the guest does when it has its root: the file systems of a machine of today, then the command."""
    return f"""
export PATH={Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LANG=C.UTF-8 TMPDIR=/scratch PYTEST_DEBUG_TEMPROOT=/scratch PYCONTAINER_ROOT=/scratch/store
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={PROJECT}
mount -t proc none /proc; mount -t sysfs none /sys; mount -t devtmpfs none /dev
mkdir -p /dev/pts /dev/shm /scratch
mount -t devpts none /dev/pts; mount -t tmpfs none /dev/shm; mount -t tmpfs none /run; mount -t tmpfs none /scratch
mount -t cgroup2 none /sys/fs/cgroup; mount -t securityfs none /sys/kernel/security
mkdir /sys/fs/cgroup/tests; echo $$ > /sys/fs/cgroup/tests/cgroup.procs
echo "+cpu +memory +pids +io +cpuset" > /sys/fs/cgroup/cgroup.subtree_control
busybox ip link set lo up
modprobe -a fuse loop sch_netem sch_tbf
cd {PROJECT}
{command}
echo "{EXIT_CODE}$?"
sync; echo o > /proc/sysrq-trigger; busybox sleep 60
"""


def run(kernel: Path, initramfs: Path, *, memory: str, timeout: float) -> int:
    """Boots, prints what the guest prints, and returns the command's exit code, 1 if it came to none."""
    machine = [
        *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", memory),
        *("-nographic", "-no-reboot", "-net", "none", "-kernel", str(kernel), "-initrd", str(initramfs)),
        *("-append", "console=ttyS0 quiet panic=-1 security=apparmor"),
        *("-virtfs", "local,path=/,mount_tag=machine,security_model=none,readonly=on,multidevs=remap"),
    ]
    code = 1
    with subprocess.Popen(
        ["timeout", str(timeout), *machine],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as guest:
        assert guest.stdout is not None
        for line in guest.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            if line.startswith(EXIT_CODE):
                code = int(line.removeprefix(EXIT_CODE))
    return code


if __name__ == "__main__":
    sys.exit(main())
