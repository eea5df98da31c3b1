"""Containers that reach each of their limits."""

from __future__ import annotations

import os
import stat
from itertools import islice
from pathlib import Path

import pytest

from pytest_pycontainer import Engine, wait
from pytest_pycontainer.errors import (
    ContainerExitedError,
    ContainerStartError,
    InvalidSpecError,
    UnsupportedLimitError,
)
from pytest_pycontainer.runtime.cgroup_hierarchies import Cgroups

GROW = "x = []\nwhile True: x.append(b'x' * (1 << 20))"
TIMEOUT = 60


@pytest.fixture
def machine(engine: Engine) -> Cgroups:
    return engine._resources.cgroups


def needs(machine: Cgroups, controller: str) -> None:
    """A machine may lack a controller; this one is told apart by what it says itself."""
    if not {controller, {"blkio": "io"}.get(controller, controller)} & set(machine.controllers):
        pytest.skip(f"this machine's cgroups hand us no controller {controller!r}: {machine.controllers}")


def file_of(machine: Cgroups, container_id: str, *names: str) -> str:
    """The content of the container's cgroup file of one of these names, those of version 1 and of version 2."""
    for directory in machine.directories(container_id):
        for name in names:
            path = Path(directory, name)
            if path.exists():
                return path.read_text().strip()
    raise AssertionError(f"none of {names}")


def output_of(engine: Engine, command: str, **options: object) -> str:
    with engine.run("host", ["sh", "-c", command], **options) as c:  # type: ignore[arg-type]
        c.wait(timeout=TIMEOUT)
        return c.logs()


# Memory


def test_a_child_that_runs_out_of_memory_counts_while_the_first_process_lives_on(
    engine: Engine, machine: Cgroups
) -> None:
    needs(machine, "memory")
    script = f'python3 -c "{GROW}"; echo it ended with $?'
    with engine.run("host", ["sh", "-c", script], memory="40m", memory_swap="40m") as c:
        assert c.wait(timeout=TIMEOUT) == 0
        assert c.logs(stderr=False) == "it ended with 137\n"
        assert c.out_of_memory


def test_who_waits_for_a_container_is_told_that_it_ran_out_of_memory(engine: Engine, machine: Cgroups) -> None:
    needs(machine, "memory")
    with pytest.raises(ContainerExitedError, match=r"with code 137, out of memory \(.*memory=\), before"):
        engine.run("host", ["python3", "-c", GROW], memory="40m", memory_swap="40m", wait=wait.log("never"))


def test_memory_and_swap_are_limited_together(engine: Engine, machine: Cgroups) -> None:
    needs(machine, "memory")
    with engine.run("host", ["sleep", "60"], memory="64m", memory_swap="96m", memory_reservation="32m") as c:
        assert file_of(machine, c.id, "memory.limit_in_bytes", "memory.max") == str(64 << 20)
        both = {str(96 << 20), str(32 << 20)}
        assert file_of(machine, c.id, "memory.memsw.limit_in_bytes", "memory.swap.max") in both
        assert file_of(machine, c.id, "memory.soft_limit_in_bytes", "memory.low") == str(32 << 20)


def test_what_only_version_1_has_is_set_or_refused(engine: Engine, machine: Cgroups) -> None:
    needs(machine, "memory")
    unified = any("memory" in hierarchy.controllers and hierarchy.unified for hierarchy in machine.hierarchies)
    options = {"memory": "64m", "memory_swappiness": 0, "oom_kill_disable": True}
    if unified:
        with pytest.raises(UnsupportedLimitError, match="has no such limit"):
            engine.run("host", ["true"], **options)  # type: ignore[arg-type]
        return
    with engine.run("host", ["sleep", "60"], **options) as c:  # type: ignore[arg-type]
        assert file_of(machine, c.id, "memory.swappiness") == "0"
        assert "oom_kill_disable 1" in file_of(machine, c.id, "memory.oom_control")


# Processes


def test_a_fork_bomb_reaches_its_limit_and_nothing_else(engine: Engine, machine: Cgroups) -> None:
    needs(machine, "pids")
    bomb = "import os\ntry:\n  while True:\n    os.fork()\nexcept OSError as error:\n  print(error.strerror)"
    with engine.run("host", ["python3", "-c", bomb], pids_limit=20) as c:
        c.wait(timeout=TIMEOUT)
        assert "Resource temporarily unavailable" in c.logs()


def test_a_limit_that_leaves_no_room_for_the_command_says_so(engine: Engine, machine: Cgroups) -> None:
    needs(machine, "pids")
    with (
        engine.create("host", ["true"], pids_limit=1, init=True) as c,
        pytest.raises(ContainerStartError, match="fork the command: Resource temporarily unavailable"),
    ):
        c.start()


# CPUs


def test_a_cpu_quota_throttles(engine: Engine, machine: Cgroups) -> None:
    needs(machine, "cpu")
    with engine.run("host", ["sh", "-c", "while :; do :; done"], cpus=0.2) as c:
        quota = file_of(machine, c.id, "cpu.cfs_quota_us", "cpu.max")
        assert quota in ("20000", "20000 100000")
        # The kernel counts a period when it begins to hold the container back, and how long when it lets go.
        followed = (stats.cpu for stats in islice(c.follow_stats(0.1), 10 * TIMEOUT))
        assert any(cpu.throttled_periods > 0 and cpu.throttled > 0 for cpu in followed)


def test_cpu_shares_period_and_quota(engine: Engine, machine: Cgroups) -> None:
    needs(machine, "cpu")
    with engine.run("host", ["sleep", "60"], cpu_shares=512, cpu_period=50_000, cpu_quota=25_000) as c:
        assert file_of(machine, c.id, "cpu.shares", "cpu.weight") in ("512", "59")
        assert file_of(machine, c.id, "cpu.cfs_period_us", "cpu.max") in ("50000", "25000 50000")


def test_a_container_has_the_cpus_that_it_was_given(engine: Engine, machine: Cgroups) -> None:
    needs(machine, "cpuset")
    (first, *_) = sorted(os.sched_getaffinity(0))
    assert output_of(engine, "grep Cpus_allowed_list /proc/self/status", cpuset_cpus=str(first), cpuset_mems="0") == (
        f"Cpus_allowed_list:\t{first}\n"
    )


# Block devices


def test_block_devices_are_weighed_and_throttled(engine: Engine, machine: Cgroups) -> None:
    needs(machine, "blkio")
    disk = next((path for path in sorted(Path("/dev").glob("[vs]d[a-z]")) if path.is_block_device()), None)
    if disk is None:
        pytest.skip("this machine has no disk in /dev")
    limits = {
        f"device_{direction}_{unit}": f"{disk}:1000000" for direction in ("read", "write") for unit in ("bps", "iops")
    }
    number = f"{os.major(disk.stat().st_rdev)}:{os.minor(disk.stat().st_rdev)}"
    with engine.run("host", ["sleep", "60"], **limits) as c:  # type: ignore[arg-type]
        for direction in ("read", "write"):
            for unit in ("bps", "iops"):
                text = file_of(machine, c.id, f"blkio.throttle.{direction}_{unit}_device", "io.max")
                assert text == f"{number} 1000000" or f"{direction[0]}{unit}=1000000" in text


def test_a_block_weight_is_set_where_the_scheduler_takes_one(engine: Engine, machine: Cgroups) -> None:
    needs(machine, "blkio")
    weights = ("blkio.weight", "blkio.bfq.weight", "io.bfq.weight", "io.weight")
    with engine.run("host", ["sleep", "60"]) as c:
        has_weights = any(Path(directory, name).exists() for directory in machine.directories(c.id) for name in weights)
    if not has_weights:
        with pytest.raises(UnsupportedLimitError, match="blkio_weight"):
            engine.run("host", ["true"], blkio_weight=300)
        return
    with engine.run("host", ["sleep", "60"], blkio_weight=300) as c:
        assert file_of(machine, c.id, *weights).split()[-1] in ("300", "2930")


# Each process


def test_ulimits_are_every_processs(engine: Engine) -> None:
    show = "ulimit -Sn; ulimit -Hn; ulimit -c"
    with engine.run("host", ["sh", "-c", f"{show}; sleep 60"], ulimits=["nofile=64:128", "core=0"]) as c:
        assert c.exec(["sh", "-c", show]).stdout == "64\n128\n0\n"
        assert c.logs() == "64\n128\n0\n"


def test_a_process_gets_no_more_files_than_its_ulimit(engine: Engine) -> None:
    script = "import os\ntry:\n  while True: last = os.dup(0)\nexcept OSError as e: print(last, e.strerror)"
    with engine.run("host", ["python3", "-c", script], ulimits={"nofile": 20}) as c:
        c.wait(timeout=TIMEOUT)
        assert c.logs() == "19 Too many open files\n"


def test_a_ulimit_above_ours_needs_privilege(engine: Engine) -> None:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    sys_resource = 24
    if int(status["CapEff"], 16) >> sys_resource & 1:
        assert output_of(engine, "ulimit -Hn", ulimits="nofile=100:900000") == "900000\n"
        return
    with (
        engine.create("host", ["true"], ulimits="nofile=100:900000") as c,
        pytest.raises(ContainerStartError, match=r"set the limit nofile to 100:900000: .*CAP_SYS_RESOURCE"),
    ):
        c.start()


def test_processes_say_how_soon_they_are_to_be_ended(engine: Engine) -> None:
    with engine.run("host", ["sh", "-c", "cat /proc/self/oom_score_adj; sleep 60"], oom_score_adj=500) as c:
        assert c.exec(["cat", "/proc/self/oom_score_adj"]).stdout == "500\n"
        assert c.logs() == "500\n"


def test_shared_memory_is_as_large_as_it_was_asked_for(engine: Engine) -> None:
    script = "head -c 3m /dev/zero > /dev/shm/x; stat -c %s /dev/shm/x; df --output=size -B1 /dev/shm | tail -1"
    shown = output_of(engine, f"exec 2>&1; {script}", shm_size="2m").splitlines()
    assert "No space left on device" in shown[0]
    assert [line.strip() for line in shown[1:]] == [str(2 << 20)] * 2


# Devices


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A device that no container may open unless it is told to, and whose opening does no harm."""
    for candidate in ("/dev/fuse", "/dev/loop0", "/dev/vda", "/dev/sda"):
        try:
            os.close(os.open(candidate, os.O_RDONLY))
        except OSError:
            continue
        status = Path(candidate).stat()
        path = tmp_path / "node"
        os.mknod(path, stat.S_IFMT(status.st_mode) | 0o640, status.st_rdev)
        os.chown(path, 7, 8)
        return path
    pytest.skip("this machine has no device that could be handed on")


def test_a_device_is_there_and_can_be_used(engine: Engine, node: Path) -> None:
    device = node.stat().st_rdev
    script = "exec 2>&1; stat -c '%t:%T %a %u:%g' /dev/x; (: < /dev/x) && echo read; (: > /dev/x) || echo refused"
    assert output_of(engine, script, devices=f"{node}:/dev/x:r").splitlines() == [
        f"{os.major(device):x}:{os.minor(device):x} 640 7:8",
        "read",
        "sh: 1: cannot create /dev/x: Operation not permitted",
        "refused",
    ]


def test_a_device_can_be_elsewhere_than_in_dev(engine: Engine, node: Path) -> None:
    kind = "character" if node.is_char_device() else "block"
    script = "exec 2>&1; stat -c %F /opt/a/x; (: < /opt/a/x) && echo read"
    shown = output_of(engine, script, devices=f"{node}:/opt/a/x").splitlines()
    assert shown == [f"{kind} special file", "read"]


def test_without_a_rule_a_node_can_be_made_and_not_opened(engine: Engine, node: Path) -> None:
    kind = "c" if node.is_char_device() else "b"
    major, minor = os.major(node.stat().st_rdev), os.minor(node.stat().st_rdev)
    script = f"exec 2>&1; mknod /dev/x {kind} {major} {minor} && echo made; : < /dev/x && echo opened"
    assert output_of(engine, script).splitlines() == ["made", "sh: 1: cannot open /dev/x: Operation not permitted"]
    assert output_of(engine, script, device_cgroup_rules=[f"{kind} {major}:* r"]).splitlines() == ["made", "opened"]


def test_a_directory_of_devices(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name, minor in (("zero", 5), ("below/full", 7)):
        os.mknod(tmp_path / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
    script = "head -c 1 /dev/more/zero | od -An -tx1; stat -c %t:%T /dev/more/below/full"
    assert output_of(engine, script, devices=f"{tmp_path}:/dev/more") == " 00\n1:7\n"


def test_a_container_that_starts_again_has_the_same_limits(engine: Engine, node: Path) -> None:
    show = "ulimit -n; (: < /dev/x) && echo read; cat /proc/sys/net/core/somaxconn; stat -fc %b /dev/shm"
    with engine.run(
        "host",
        ["sh", "-c", f"exec 2>&1; {show}"],
        ulimits="nofile=64",
        devices=f"{node}:/dev/x:r",
        sysctls="net.core.somaxconn=77",
        shm_size="1m",
    ) as c:
        c.wait(timeout=TIMEOUT)
        first = c.logs()
        assert "read\n77\n256\n" in first
        c.start()
        c.wait(timeout=TIMEOUT)
        assert c.logs() == first * 2


# Parameters of the kernel


def test_sysctls_are_the_containers_own(engine: Engine) -> None:
    sysctls = {
        "net.core.somaxconn": 77,
        "kernel.msgmax": 8191,
        "fs.mqueue.msg_max": 9,
        "kernel.domainname": "a.example",
    }
    paths = " ".join(f"/proc/sys/{name.replace('.', '/')}" for name in sysctls)
    before = Path("/proc/sys/net/core/somaxconn").read_text()
    assert output_of(engine, f"cat {paths}", sysctls=sysctls).split() == ["77", "8191", "9", "a.example"]
    assert Path("/proc/sys/net/core/somaxconn").read_text() == before != "77\n"


def test_sysctls_of_the_containers_interface(engine: Engine) -> None:
    assert (
        output_of(engine, "cat /proc/sys/net/ipv4/conf/eth0/log_martians", sysctls="net.ipv4.conf.eth0.log_martians=1")
        == "1\n"
    )


def test_a_sysctl_that_is_not_there_fails_the_start(engine: Engine) -> None:
    with (
        engine.create("host", ["true"], sysctls="net.no_such_thing=1") as c,
        pytest.raises(ContainerStartError, match=r"set the sysctl net\.no_such_thing to '1': No such file"),
    ):
        c.start()


def test_a_machine_wide_sysctl_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidSpecError, match="the whole machine's"):
        engine.create("host", ["true"], sysctls="vm.swappiness=1")


# What can't be limited


def test_a_limit_without_its_controller_is_refused_before_anything_is_made(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.settle()
    monkeypatch.setitem(engine._resources.__dict__, "cgroups", Cgroups(()))
    with pytest.raises(
        UnsupportedLimitError, match=r"cannot set pids_limit to 5: .* no controller 'pids' \(available: none\)"
    ):
        engine.create("host", ["true"], pids_limit=5)
    assert engine.containers() == []
    assert output_of(engine, "echo fine") == "fine\n"
    engine.settle()
