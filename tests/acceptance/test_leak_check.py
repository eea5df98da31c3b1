"""The check that watches every other test: it must see what it is there for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

SUITE_CONFTEST = Path(__file__).parent.parent / "conftest.py"

IMPORTS = """
import ctypes, os, subprocess
from pathlib import Path
from pytest_pycontainer.kernel.netlink import Message, NetlinkSocket, nested, text
kept = []

def link(kind, *attributes, flags=0):
    route = NetlinkSocket.open(0)
    try:
        route.request([Message(kind, bytes(16) + text(3, "pyc-leak") + b"".join(attributes), "change a link", flags)])
    finally:
        route.close()

def mount():
    os.mkdir("point")
    assert ctypes.CDLL(None).mount(b"overlay", b"point", b"overlay", 0, b"lowerdir=/etc:/usr") == 0

def unmount():
    assert ctypes.CDLL(None).umount2(b"point", 2) == 0

def cgroup():
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        for hierarchy in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()):
            directory = hierarchy / line.split(":", 2)[2].lstrip("/")
            if (directory / "cgroup.procs").exists():
                return directory / "pycontainer-leak"
"""

# The check, but in a hurry, and blind to what other tests do at the same time.
NARROWER = {
    "PATIENCE: Final = 10.0": "PATIENCE: Final = 0.1",
    'glob("pyc*")': 'glob("pyc-leak")',
    'glob("pycontainer*")': 'glob("pycontainer-leak")',
    'startswith("pyc")': 'startswith("pyc-leak")',
    '"spawner_process" in': '"no such process" in',
}

# What to look for in the report, what leaks it, and what takes it back.
LEAKS = {
    "process": (
        "processes: * sleep 1000",
        "kept.append(subprocess.Popen(['sleep', '1000']))",
        "kept[0].kill(); kept[0].wait()",
    ),
    "mount": ("mounts: * overlay *", "mount()", "unmount()"),
    "zombie": ("processes: * (zombie)", "os.fork() or os._exit(0)", "os.wait()"),
    "descriptor": ("descriptors: * /dev/null", "kept.append(os.open('/dev/null', os.O_RDONLY))", "os.close(kept[0])"),
    "interface": ("interfaces: pyc-leak", "link(16, nested(18, text(1, 'bridge')), flags=0x600)", "link(17)"),
    "cgroup": ("cgroups: *pycontainer*leak", "cgroup().mkdir()", "cgroup().rmdir()"),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_fails_the_test_that_made_it(
    project: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult], leak: str
) -> None:
    source = SUITE_CONFTEST.read_text()
    for wide, narrow in NARROWER.items():
        assert wide in source
        source = source.replace(wide, narrow)
    project.makeconftest(source)
    report, leaks, undoes = LEAKS[leak]
    project.makepyfile(f"{IMPORTS}\ndef test_leaks():\n    {leaks}\ndef test_undoes():\n    {undoes}\n")
    result = run_pytest("-p", "no:randomly")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["left behind:", f"  {report}", "ERROR *::test_leaks - *left*"])
