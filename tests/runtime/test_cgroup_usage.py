"""What a cgroup has used, from recorded files of both versions."""

from __future__ import annotations

from pathlib import Path

from pytest_pycontainer.runtime.cgroup_usage import (
    BlockDeviceUsage,
    CgroupUsage,
    CpuUsage,
    MemoryUsage,
    PidsUsage,
    read_usage,
)

VERSION_1 = {
    "cpuacct/cpuacct.usage": "3500000000",
    "cpuacct/cpuacct.usage_user": "3000000000",
    "cpuacct/cpuacct.usage_sys": "500000000",
    "cpuacct/cpuacct.usage_percpu": "1500000000 2000000000 ",
    "cpu/cpu.stat": "nr_periods 12\nnr_throttled 10\nthrottled_time 250000000\nwait_sum 5",
    "memory/memory.usage_in_bytes": "1000",
    "memory/memory.memsw.usage_in_bytes": "1200",
    "memory/memory.max_usage_in_bytes": "5000",
    "memory/memory.limit_in_bytes": "9223372036854771712",
    "memory/memory.stat": "cache 1\ninactive_file 2\ntotal_cache 400\ntotal_inactive_file 300",
    "pids/pids.current": "7",
    "pids/pids.max": "max",
    "blkio/blkio.throttle.io_service_bytes_recursive": "8:0 Read 4096\n8:0 Write 8192\n8:0 Total 12288\nTotal 12288",
    "blkio/blkio.throttle.io_serviced_recursive": "8:0 Read 1\n8:0 Write 2\n8:0 Total 3\nTotal 3",
}
VERSION_2 = {
    "cpu.stat": "usage_usec 3500000\nuser_usec 3000000\nsystem_usec 500000\nnr_periods 12\nnr_throttled 10\n"
    "throttled_usec 250000",
    "memory.current": "1000",
    "memory.swap.current": "200",
    "memory.peak": "5000",
    "memory.max": "max",
    "memory.stat": "anon 600\nfile 400\ninactive_file 300",
    "pids.current": "7",
    "pids.max": "20",
    "io.stat": "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n259:0 ",
}


def record(directory: Path, files: dict[str, str]) -> list[str]:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return sorted({str((directory / name).parent) for name in files})


def test_version_1(tmp_path: Path) -> None:
    assert read_usage(record(tmp_path, VERSION_1)) == CgroupUsage(
        CpuUsage(3.5, 3.0, 0.5, (1.5, 2.0), 0.25, 10),
        MemoryUsage(usage=700, cache=400, swap=200, peak=5000, limit=None),
        PidsUsage(7, None),
        (BlockDeviceUsage("8:0", 4096, 8192, 1, 2),),
    )


def test_version_2(tmp_path: Path) -> None:
    assert read_usage(record(tmp_path, VERSION_2)) == CgroupUsage(
        CpuUsage(3.5, 3.0, 0.5, (), 0.25, 10),
        MemoryUsage(usage=700, cache=400, swap=200, peak=5000, limit=None),
        PidsUsage(7, 20),
        (BlockDeviceUsage("8:0", 4096, 8192, 1, 2), BlockDeviceUsage("259:0")),
    )


def test_a_hybrid_machine_has_a_cpu_stat_in_each_version(tmp_path: Path) -> None:
    unified = {"unified/cpu.stat": "usage_usec 1\nuser_usec 1\nsystem_usec 0\nnr_throttled 0\nthrottled_usec 0"}
    directories = record(tmp_path / "a", VERSION_1) + record(tmp_path / "b", unified)
    usage = read_usage(directories)
    assert (usage.cpu.total, usage.cpu.throttled) == (3.5, 0.25)
    assert read_usage(directories[::-1]) == usage


def test_what_no_controller_counts_is_unknown(tmp_path: Path) -> None:
    assert read_usage([str(tmp_path)]) == CgroupUsage(CpuUsage(), None, None, ())
    assert read_usage([]) == CgroupUsage(CpuUsage(), None, None, ())


def test_more_inactive_cache_than_memory_is_not_subtracted(tmp_path: Path) -> None:
    files = {"memory.current": "100", "memory.stat": "inactive_file 200"}
    memory = read_usage(record(tmp_path, files)).memory
    assert memory == MemoryUsage(usage=100)
