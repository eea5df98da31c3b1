"""The first file system of the guest: what mounts this machine's root, and a file system in memory over it."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import tempfile
from pathlib import Path

_NEEDED = ("9pnet_virtio", "9p", "overlay", "virtio_pci")

_INIT = """\
#!/bin/busybox sh
busybox mount -t proc none /proc; busybox mount -t devtmpfs none /dev
for module in {modules}; do busybox insmod /modules/$module; done
busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro machine /machine
busybox mount -t tmpfs none /memory; busybox mkdir /memory/upper /memory/work
busybox mount -t overlay -o lowerdir=/machine,upperdir=/memory/upper,workdir=/memory/work none /root
busybox mkdir -p /root/lib/modules/{release} /root/run/guest
busybox mount --bind /machine{root}/lib/modules/{release} /root/lib/modules/{release}
busybox cp /script /root/guest-script
busybox umount /proc; busybox umount /dev
exec busybox switch_root /root /bin/bash /guest-script
"""


def write_initramfs(file: Path, root: Path, release: str, script: str) -> None:
    """Writes the archive for the kernel whose package is unpacked in ``root``; the guest then executes ``script``."""
    modules = _modules(root / "lib/modules" / release)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for part in ("bin", "modules", "machine", "memory", "root", "proc", "dev"):
            (directory / part).mkdir()
        busybox = shutil.which("busybox")
        assert busybox is not None, "busybox-static is not installed"
        shutil.copy(busybox, directory / "bin/busybox")
        for module in modules:
            shutil.copy(module, directory / "modules")
        (directory / "script").write_text(script)
        names = " ".join(module.name for module in modules)
        init = directory / "init"
        init.write_text(_INIT.format(modules=names, release=release, root=root))
        init.chmod(0o755)
        listed = "\n".join(str(path.relative_to(directory)) for path in directory.rglob("*"))
        command = ["cpio", "--quiet", "-o", "-H", "newc"]
        archive = subprocess.run(command, cwd=directory, input=listed.encode(), capture_output=True, check=True).stdout
        file.write_bytes(gzip.compress(archive, 1))


def _modules(directory: Path) -> list[Path]:
    """The files of the modules that are needed, each after those that it needs (``man 5 modules.dep``)."""
    needs = {}
    for line in (directory / "modules.dep").read_text().splitlines():
        module, _, others = line.partition(":")
        needs[module] = others.split()
    wanted = [module for name in _NEEDED for module in needs if Path(module).name == f"{name}.ko"]
    # What a line names is needed last to first.
    ordered = dict.fromkeys(each for module in wanted for each in (*reversed(needs[module]), module))
    return [directory / module for module in ordered]
