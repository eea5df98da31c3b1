"""What containers use and may use, as the kernel tells it."""

from __future__ import annotations

import os
import pickle
import socket
import time
from pathlib import Path

import pytest

from pytest_pycontainer import Engine
from pytest_pycontainer.engine.limits_in_force import ContainerLimits, read_limits
from pytest_pycontainer.engine.stats import ContainerStats, NetworkUsage, parse_interfaces
from pytest_pycontainer.errors import (
    ContainerNotFoundError,
    ContainerNotRunningError,
    ContainerUpdateError,
    InvalidSpecError,
    UnsupportedLimitError,
)
from pytest_pycontainer.runtime.cgroup_usage import CpuUsage

TIMEOUT = 60


def needs(engine: Engine, *controllers: str) -> None:
    available = engine._resources.cgroups.controllers
    if missing := set(controllers) - set(available):
        pytest.skip(f"this machine's cgroups hand us no {missing} (but {available})")


# Stats


def test_memory_and_processes_are_counted(engine: Engine) -> None:
    needs(engine, "memory", "pids")
    hold = (
        "import threading, time; b = bytearray(64 << 20)\n"
        "threading.Thread(target=time.sleep, args=[60]).start(); print(1)"
    )
    with engine.run("host", ["python3", "-uc", hold], memory="256m", pids_limit=20) as c:
        next(c.follow(TIMEOUT))
        stats = c.stats()
        assert stats.memory is not None
        assert stats.pids is not None
        assert 64 << 20 < stats.memory.usage < 128 << 20
        assert stats.memory.limit == 256 << 20
        assert stats.memory.peak is None or stats.memory.peak >= stats.memory.usage
        assert (stats.pids.current, stats.pids.limit) == (2, 20)


def test_cpu_time_is_counted_and_shown_as_docker_does(engine: Engine) -> None:
    work = "import os\nwhile sum(os.times()[:2]) < 0.3: pass\nprint(1, flush=True)\nimport time; time.sleep(60)"
    with engine.run("host", ["python3", "-c", work]) as c:
        before = c.stats()
        next(c.follow(TIMEOUT))
        after = c.stats()
        assert 0.25 < after.cpu.total - before.cpu.total < 5
        assert 0 < after.cpu.user + after.cpu.system < 5
        assert after.cpu_percent_since(before) > 0
        assert abs(after.time - time.time()) < TIMEOUT
        assert sum(after.cpu.per_cpu) in (0, pytest.approx(after.cpu.total, rel=0.2))


def test_percent_are_of_one_cpu() -> None:
    earlier, later = (ContainerStats(0, now, CpuUsage(cpu), None, None, (), ()) for now, cpu in ((10, 1), (12, 5)))
    assert later.cpu_percent_since(earlier) == 200
    assert later.cpu_percent_since(later) == 0
    assert pickle.loads(pickle.dumps(later)) == later


def test_what_was_sent_and_received_is_counted(engine: Engine) -> None:
    server = (
        "import socket\ns = socket.create_server(('', 80))\nprint(1, flush=True)\nc, _ = s.accept()\n"
        "while c.recv(65536): pass\nc.send(b'x'); s.accept()"
    )
    with engine.run("host", ["python3", "-c", server], ports=[80]) as c:
        next(c.follow(TIMEOUT))
        with socket.create_connection(c.address(80), timeout=TIMEOUT) as client:
            client.sendall(bytes(100_000))
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b"x"
        (eth0,) = c.stats().networks
        assert eth0.interface == "eth0"
        assert 100_000 < eth0.received_bytes < 300_000
        assert eth0.sent_packets > 0
        assert (eth0.received_errors, eth0.sent_errors) == (0, 0)


def test_interfaces_as_the_kernel_writes_them() -> None:
    text = (
        "Inter-|   Receive  |  Transmit\n"
        " face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier x\n"
        "    lo:       9       9    9    9    9     9    9   9    9   9    9   9   9   9   9   9\n"
        "eth0.1:1 2 3 4 5 6 7 8 11 12 13 14 15 16 17 18\n"
    )
    assert parse_interfaces(text) == (NetworkUsage("eth0.1", 1, 2, 3, 4, 11, 12, 13, 14),)


def test_what_was_written_to_a_disk_is_counted(engine: Engine) -> None:
    needs(engine, "blkio" if "blkio" in engine._resources.cgroups.controllers else "io")
    with engine.run("host", ["dd", "if=/dev/zero", "of=/x", "bs=1M", "count=4", "oflag=direct"]) as c:
        if c.wait(timeout=TIMEOUT) != 0:
            pytest.skip(f"direct writing is not possible where the store is: {c.logs()}")
        written = sum(device.write_bytes for device in c.stats().block_devices)
        operations = sum(device.write_operations for device in c.stats().block_devices)
    if written == 0 and not any(Path("/sys/block").glob("*/device")):
        pytest.skip("the store is on no disk")
    assert 4 << 20 <= written < 64 << 20
    assert operations >= 4


def test_what_an_exited_container_has_used_stays_known(engine: Engine) -> None:
    work = "import os\nwhile sum(os.times()[:2]) < 0.2: pass"
    with engine.run("host", ["python3", "-c", work]) as c:
        c.wait(timeout=TIMEOUT)
        stats = c.stats()
        assert stats.cpu.total >= 0.2
        assert stats.networks == ()
        assert stats.pids is None or stats.pids.current == 0


def test_stats_can_be_followed_to_the_end(engine: Engine) -> None:
    seen = []
    with engine.run("host", ["sleep", "60"]) as c:
        for stats in c.follow_stats(0.01):
            seen.append(stats)
            if len(seen) == 3:
                c.kill()
    assert len(seen) >= 3
    assert [stats.monotonic for stats in seen] == sorted(stats.monotonic for stats in seen)


def test_stats_before_the_start_and_after_the_removal(engine: Engine) -> None:
    with engine.create("host", ["true"]) as c:
        assert c.stats().cpu.total >= 0
        with pytest.raises(ContainerNotRunningError):
            next(c.follow_stats())
    for ask in (c.stats, c.limits, c.cgroup, c.update):
        with pytest.raises(ContainerNotFoundError):
            ask()


# Limits


def test_limits_are_read_back_from_the_kernel(engine: Engine) -> None:
    needs(engine, "memory", "pids", "cpu", "cpuset")
    with engine.run(
        "host",
        ["sleep", "60"],
        memory="64m",
        memory_swap="96m",
        memory_reservation="32m",
        cpus=0.5,
        cpu_shares=512,
        pids_limit=30,
        cpuset_cpus=str(min(os.sched_getaffinity(0))),
        ulimits=["nofile=64:128", "core=0"],
        shm_size="1m",
        oom_score_adj=300,
        user="daemon",
    ) as c:
        limits = c.limits()
        assert (limits.memory, limits.memory_swap, limits.memory_reservation) == (64 << 20, 96 << 20, 32 << 20)
        assert (limits.cpus, limits.cpu_period, limits.cpu_quota, limits.cpu_shares) == (0.5, 100_000, 50_000, 512)
        assert (limits.pids_limit, limits.cpuset_cpus) == (30, str(min(os.sched_getaffinity(0))))
        assert (limits.ulimit("nofile"), limits.ulimit("core")) == ((64, 128), (0, 0))
        assert (limits.shm_size, limits.oom_score_adj) == (1 << 20, 300)
        assert pickle.loads(pickle.dumps(limits)) == limits
    with engine.run("host", ["sleep", "60"]) as c:
        limits = c.limits()
        assert (limits.memory, limits.memory_swap, limits.cpus, limits.pids_limit) == (None, None, None, None)
        assert limits.shm_size == 64 << 20
        c.kill()
        c.wait(timeout=TIMEOUT)
        assert (c.limits().ulimits, c.limits().shm_size, c.limits().oom_score_adj) == ((), None, None)


def test_limits_of_version_2(tmp_path: Path) -> None:
    files = {
        "memory.max": "1000",
        "memory.swap.max": "500",
        "memory.low": "0",
        "cpu.max": "50000 100000",
        "cpu.weight": "59",
        "cpuset.cpus.effective": "0-3",
        "pids.max": "max",
        "io.weight": "default 2930",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(f"{content}\n")
    assert read_limits([str(tmp_path)], 0) == ContainerLimits(
        memory=1000,
        memory_swap=1500,
        cpus=0.5,
        cpu_period=100_000,
        cpu_quota=50_000,
        cpu_shares=512,
        cpuset_cpus="0-3",
        blkio_weight=300,
    )
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert read_limits([str(tmp_path)], 0).cpus is None


# Where it is


def test_cgroups_are_named_and_each_containers_own(engine: Engine) -> None:
    with engine.run("host", ["sleep", "60"]) as one, engine.run("host", ["sleep", "60"]) as other:
        places = one.cgroup()
        assert places
        assert not set(places.values()) & set(other.cgroup().values())
        for directory in places.values():
            assert str(one.pid) in Path(directory, "cgroup.procs").read_text().split()
        for controller in engine._resources.cgroups.controllers:
            if controller in places:
                assert one.id in places[controller]


# Changing them


def test_a_running_container_gets_other_limits(engine: Engine) -> None:
    needs(engine, "memory", "pids", "cpu")
    with engine.run("host", ["sleep", "60"], memory="64m", pids_limit=10) as c:
        c.update(cpus=0.25, pids_limit=20)
        limits = c.limits()
        assert (limits.cpus, limits.pids_limit, limits.memory) == (0.25, 20, 64 << 20)
        c.update(cpu_period=50_000)
        assert (c.limits().cpu_period, c.limits().cpu_quota) == (50_000, 25_000)
        c.update(memory="32m")
        assert c.limits().memory == 32 << 20
        c.update(memory="512m", memory_swap="600m")
        assert (c.limits().memory, c.limits().memory_swap) == (512 << 20, 600 << 20)
        c.update(memory="16m", memory_swap="16m")
        assert (c.limits().memory, c.limits().memory_swap) == (16 << 20, 16 << 20)
        c.update(memory_swap="20m")
        assert (c.limits().memory, c.limits().memory_swap) == (16 << 20, 20 << 20)
        c.update(pids_limit=-1, cpu_quota=-1)
        assert (c.limits().pids_limit, c.limits().cpus) == (None, None)
        with pytest.raises(InvalidSpecError, match="memory_swap too, which is 20971520 now"):
            c.update(memory="64m")
        with pytest.raises(TypeError, match="unexpected keyword argument 'shm_size'"):
            c.update(shm_size="1m")  # type: ignore[call-arg]


def test_an_unlimited_container_is_limited_without_touching_its_swap(engine: Engine) -> None:
    needs(engine, "memory")
    with engine.run("host", ["sleep", "60"]) as c:
        c.update(memory="64m")
        assert (c.limits().memory, c.limits().memory_swap) == (64 << 20, None)


def test_other_limits_hold_over_a_restart(engine: Engine) -> None:
    needs(engine, "pids")
    with engine.run("host", ["sleep", "60"], pids_limit=10) as c:
        c.update(pids_limit=20)
        c.restart(timeout=0)
        assert c.limits().pids_limit == 20


def test_another_restart_policy(engine: Engine) -> None:
    with engine.run("host", ["sh", "-c", "echo x; sleep 0.05; exit 3"]) as c:
        c.update(restart="on-failure:2")
        assert c.wait(timeout=TIMEOUT) == 3
        assert (c.restart_count, c.logs()) == (2, "x\nx\nx\n")
        with pytest.raises(InvalidSpecError, match="invalid restart 'often'"):
            c.update(restart="often")


def test_a_container_that_may_not_lose_a_process_stands_still_until_it_gets_memory(engine: Engine) -> None:
    needs(engine, "memory")
    hold = "b = bytearray(64 << 20); print('held')"
    options = {"memory": "40m", "memory_swap": "40m", "oom_kill_disable": True}
    try:
        c = engine.run("host", ["python3", "-c", hold], **options)  # type: ignore[arg-type]
    except UnsupportedLimitError as error:
        pytest.skip(str(error))
    with c:
        assert not c.exited_within(0.3)
        c.update(memory="128m", memory_swap="128m")
        assert c.wait(timeout=TIMEOUT) == 0
        assert c.logs() == "held\n"
        assert not c.out_of_memory


def test_what_the_kernel_refuses_is_told(engine: Engine) -> None:
    needs(engine, "memory")
    hold = "b = bytearray(64 << 20); print(1, flush=True); import time; time.sleep(60)"
    with engine.run("host", ["python3", "-c", hold], memory="128m", memory_swap="128m") as c:
        next(c.follow(TIMEOUT))
        if Path(c.cgroup()["memory"], "memory.high").exists():
            pytest.skip("version 2 ends processes instead of refusing")
        with pytest.raises(ContainerUpdateError, match=r"cannot change the limits of .*memory"):
            c.update(memory="8m", memory_swap="8m")
