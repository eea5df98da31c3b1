"""What a container sees, and what it can't do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_pycontainer import Engine, Image, Settings

# What nohup and a shell's "&" do to what they start.
IGNORING = """
import signal, sys
from pathlib import Path
from pytest_pycontainer import Engine, Settings, wait
for number in signal.SIGHUP, signal.SIGINT, signal.SIGQUIT:
    signal.signal(number, signal.SIG_IGN)
command = ["sh", "-c", "grep SigIgn /proc/self/status; exec sleep 1000"]
with Engine(Settings(root=Path(sys.argv[1]), state=Path(sys.argv[2]))) as engine:
    with engine.run("host", command, wait=wait.log("SigIgn")) as container:
        print(container.exec(["grep", "SigIgn", "/proc/self/status"]).stdout, end="")
        print(container.logs(), end="")
"""


def output(engine: Engine, script: str, **options: object) -> str:
    return output_of(engine, "host", script, **options)


def output_of(engine: Engine, image: Image | str, script: str, **options: object) -> str:
    with engine.run(image, ["sh", "-c", script], **options) as c:  # type: ignore[arg-type]
        c.wait(timeout=60)
        return c.logs()


def test_every_namespace_is_its_own(engine: Engine) -> None:
    kinds = ("mnt", "net", "ipc", "uts", "pid", "cgroup")
    inside = output(engine, f"cd /proc/self/ns; readlink {' '.join(kinds)}").split()
    outside = [str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in kinds]
    assert len(inside) == len(kinds)
    assert not set(inside) & set(outside)


def test_capabilities_are_dockers(engine: Engine) -> None:
    lines = output(engine, "grep Cap /proc/self/status").split()
    assert dict(zip(lines[::2], lines[1::2], strict=True)) == {
        "CapInh:": "0000000000000000",
        "CapPrm:": "00000000a80425fb",
        "CapEff:": "00000000a80425fb",
        "CapBnd:": "00000000a80425fb",
        "CapAmb:": "0000000000000000",
    }


def test_an_ordinary_user_has_no_capability_and_none_comes_back(engine: Engine) -> None:
    lines = output(engine, "grep -E 'CapPrm|CapEff|CapBnd' /proc/self/status", user="nobody").split()
    assert lines[1::2] == ["0000000000000000", "0000000000000000", "00000000a80425fb"]


def test_supplementary_groups_hold_the_primary_one(engine: Engine) -> None:
    assert output(engine, "grep Groups /proc/self/status").split() == ["Groups:", "0"]
    assert output(engine, "grep Groups /proc/self/status", user="nobody:7").split() == ["Groups:", "7"]


def test_only_the_standard_descriptors_are_open(engine: Engine) -> None:
    assert output(engine, "exec ls /proc/self/fd").split() == ["0", "1", "2", "3"]


def test_devices_are_dockers_and_the_machines_stay_closed(engine: Engine) -> None:
    names = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
    assert output(engine, "ls /dev").split() == names.split()
    modes = output(engine, "stat -c '%a %t:%T' /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty")
    assert modes.splitlines() == [*(f"666 1:{minor}" for minor in (3, 5, 7, 8, 9)), "666 5:0"]
    root = Path("/").stat().st_dev
    opened = output(engine, f"mknod /disk b {os.major(root)} {os.minor(root)} && head -c 1 /disk")
    assert "Operation not permitted" in opened


@pytest.mark.parametrize("path", ["/proc/sys/kernel/hostname", "/proc/sys/vm/swappiness", "/sys/x", "/sys/fs/cgroup/x"])
def test_the_system_can_not_be_written_to(engine: Engine, path: str) -> None:
    assert "ead-only file system" in output(engine, f"touch {path}")


@pytest.mark.parametrize("path", ["/proc/keys", "/proc/timer_list", "/proc/interrupts", "/proc/acpi", "/sys/firmware"])
def test_what_docker_masks_is_empty(engine: Engine, path: str) -> None:
    if not Path(path).exists():
        pytest.skip(f"this machine has no {path}")
    assert output(engine, f"[ -d {path} ] && ls -A {path} || cat {path}") == ""


def test_mounting_is_not_allowed(engine: Engine) -> None:
    assert "permission denied" in output(engine, "mount -t tmpfs none /mnt")


def test_shared_memory_and_terminals_work(engine: Engine) -> None:
    program = (
        "import os, pty; from multiprocessing import shared_memory as m; "
        "block = m.SharedMemory(create=True, size=4096); block.close(); block.unlink(); "
        "print(os.ttyname(pty.openpty()[1]))"
    )
    terminal, size = output(engine, f"python3 -c '{program}'; df --output=size /dev/shm | tail -1").split()
    assert terminal == "/dev/pts/0"
    assert int(size) == 64 * 1024


def test_the_container_is_alone(engine: Engine) -> None:
    with engine.run("host", ["sleep", "1000"]):
        assert len(output(engine, "exec ps ax -o comm=").split()) == 1


def test_its_cgroup_is_all_that_it_sees(engine: Engine) -> None:
    lines = output(engine, "grep -E 'memory|pids|devices' /proc/self/cgroup").split()
    assert {line.rpartition(":")[2] for line in lines} <= {"/"}
    assert (
        output(engine, "cat /sys/fs/cgroup/pids/cgroup.procs /sys/fs/cgroup/cgroup.procs 2>/dev/null | head -1")
        == "1\n"
    )


def test_dockers_files_are_there(engine: Engine) -> None:
    script = "cat /etc/hostname /etc/hosts /etc/resolv.conf; echo >> /etc/hosts"
    with engine.run("host", ["sh", "-c", script]) as c:
        assert c.wait(timeout=30) == 0
        assert c.logs().startswith(f"{c.short_id}\n")
        assert f"{c.ip_address}\t{c.short_id}" in c.logs()
        assert "nameserver" in c.logs()


@pytest.mark.parametrize("directory", ["/etc", "/usr/bin", "/var/lib", "/root", "/new"])
def test_nothing_that_is_written_reaches_the_machine(engine: Engine, directory: str) -> None:
    mark = f"{directory}/written-in-a-container"
    assert output(engine, f"mkdir -p {directory} && echo x > {mark} && cat {mark}") == "x\n"
    assert not Path(mark).exists()
    assert output(engine, f"ls {mark} 2>/dev/null") == ""


def test_files_can_be_removed_without_the_machine_noticing(engine: Engine) -> None:
    before = Path("/etc/passwd").read_bytes()
    assert output(engine, "rm /etc/passwd; rm -rf /etc/apt; ls /etc/passwd /etc/apt 2>&1 | grep -c 'No such'") == "2\n"
    assert Path("/etc/passwd").read_bytes() == before
    assert Path("/etc/apt").is_dir()


def test_the_host_image_has_places_of_its_own(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    assert output(engine, "ls -A /tmp") == ""
    assert output(engine, "ls -A /run") == "lock\n"
    assert output(engine, "stat -c %a /tmp /run /dev") == "1777\n755\n755\n"


def test_the_store_is_not_in_sight(engine: Engine) -> None:
    place = Path("/var/lib/pycontainer-test-of-sight")
    try:
        with Engine(Settings(root=place / "store", state=engine.settings.state)) as own:
            assert "No such file" in output(own, f"ls {place}/store 2>&1")
            assert output(own, f"stat -c '%a %U' {place} /var/lib") == "755 root\n755 root\n"
            assert (place / "store").stat().st_mode & 0o777 == 0o700
    finally:
        shutil.rmtree(place, ignore_errors=True)


def test_our_interpreter_can_not_be_overwritten_from_inside(engine: Engine) -> None:
    """CVE-2019-5736: the reaper is a program of this machine that the container can see."""
    seen = output(engine, "readlink /proc/1/exe || echo hidden; (: > /proc/1/exe) || echo refused", init=True)
    assert seen.count("hidden") == 1
    assert "refused" in seen


def test_executing_itself_gives_no_way_to_the_machines_file(engine: Engine) -> None:
    """CVE-2019-5736: a command that is a link to /proc/self/exe runs our interpreter; its file can't be written."""
    program = "import os; print(os.open('/proc/self/exe', os.O_WRONLY))"
    with engine.run("host", ["sleep", "1000"]) as c:
        assert c.exec("ln -s /proc/self/exe /usr/bin/trap").exit_code == 0
        result = c.exec(["/usr/bin/trap", "-I", "-c", program])
        assert "Read-only file system" in result.stderr or "Text file busy" in result.stderr


def test_what_dockers_init_layer_adds_is_there_and_is_no_change(engine: Engine) -> None:
    image = engine.build(dockerfile="FROM host\nRUN rm -f /etc/mtab /.dockerenv\n")
    with engine.run(
        image, ["sh", "-c", "stat -c '%A %u %s' /.dockerenv; readlink /etc/mtab; cmp /etc/mtab /proc/mounts"]
    ) as c:
        assert c.wait(30) == 0
        assert c.logs().splitlines() == ["-rwxr-xr-x 0 0", "/proc/mounts"]
        assert c.diff() == []
    image = engine.build(dockerfile="FROM host\nRUN rm -f /etc/mtab /.dockerenv; echo mine > /etc/mtab\n")
    assert output_of(engine, image, "cat /etc/mtab") == "mine\n"


def test_only_the_loopback_interface_has_an_ipv6_address(engine: Engine) -> None:
    """CVE-2024-32473: by a link-local address it would hear neighbours and routers of a network that has no IPv6."""
    lines = output(engine, "cat /proc/net/if_inet6").splitlines()
    assert {line.split()[-1] for line in lines} <= {"lo"}
    if Path("/proc/net/if_inet6").exists():
        assert output(engine, "cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6") == "1\n"


def test_a_read_only_containers_own_files_are_read_only_too(engine: Engine) -> None:
    script = "for name in hosts hostname resolv.conf; do (echo >> /etc/$name) 2>&1 | grep -c 'ead-only'; done"
    assert output(engine, script, read_only=True).split() == ["1", "1", "1"]


def test_with_the_machines_network_sys_shows_its_interfaces(engine: Engine) -> None:
    names = set(output(engine, "ls /sys/class/net", network="host").split())
    assert {path.name for path in Path("/sys/class/net").iterdir() if not path.name.startswith("pyc")} <= names
    assert "/sys/firmware" in output(engine, "cat /proc/self/mountinfo", network="host")


def test_signals_that_whoever_started_us_ignores_are_not_ignored_inside(engine: Engine, tmp_path: Path) -> None:
    command = [sys.executable, "-c", IGNORING, str(tmp_path / "store"), str(engine.settings.state)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    none = "SigIgn:\t0000000000000000\n"
    assert finished.stdout == none * 2, finished.stderr
