"""From limits to what is written into a cgroup's files, in both versions."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.errors import UnsupportedLimitError
from pytest_pycontainer.runtime.cgroup_hierarchies import Cgroups, Hierarchy
from pytest_pycontainer.runtime.cgroup_limits import (
    DeviceLimit,
    Limits,
    Setting,
    apply,
    settings_of,
    weight_of_block_weight,
    weight_of_shares,
)

CONTROLLERS = ("blkio", "cpu", "cpuset", "memory", "pids")
VERSION_1 = Cgroups(tuple(Hierarchy(f"/v1/{name}", frozenset({name})) for name in CONTROLLERS))
VERSION_2 = Cgroups(
    (
        Hierarchy(
            "/v2", frozenset({"cpu", "cpuset", "io", "memory", "pids"}), unified=True, handed_on=frozenset({"pids"})
        ),
    )
)


def written(cgroups: Cgroups, limits: Limits) -> list[str]:
    """Each setting as FILE=VALUE, with what is written instead where there is no such file."""

    def text(setting: Setting) -> str:
        shown = f"{setting.path.replace('/pycontainer-id', '')}={setting.value}"
        return shown if setting.otherwise is None else f"{shown} or {text(setting.otherwise)}"

    return [text(setting) for setting in settings_of(cgroups, "id", limits)]


BOTH_VERSIONS = [
    (
        Limits(memory=1000),
        ["/v1/memory/memory.limit_in_bytes=1000", "/v1/memory/memory.memsw.limit_in_bytes=2000"],
        ["/v2/cgroup.subtree_control=+memory", "/v2/memory.max=1000", "/v2/memory.swap.max=1000"],
    ),
    (
        Limits(memory=1000, memory_swap=1000),
        ["/v1/memory/memory.limit_in_bytes=1000", "/v1/memory/memory.memsw.limit_in_bytes=1000"],
        ["/v2/cgroup.subtree_control=+memory", "/v2/memory.max=1000", "/v2/memory.swap.max=0"],
    ),
    (
        Limits(memory=1000, memory_swap=-1),
        ["/v1/memory/memory.limit_in_bytes=1000", "/v1/memory/memory.memsw.limit_in_bytes=-1"],
        ["/v2/cgroup.subtree_control=+memory", "/v2/memory.max=1000", "/v2/memory.swap.max=max"],
    ),
    (
        Limits(memory_reservation=500),
        ["/v1/memory/memory.soft_limit_in_bytes=500"],
        ["/v2/cgroup.subtree_control=+memory", "/v2/memory.low=500"],
    ),
    (
        Limits(cpu_period=100000, cpu_quota=150000),
        ["/v1/cpu/cpu.cfs_period_us=100000", "/v1/cpu/cpu.cfs_quota_us=150000"],
        ["/v2/cgroup.subtree_control=+cpu", "/v2/cpu.max=150000 100000"],
    ),
    (
        Limits(cpu_quota=20000),
        ["/v1/cpu/cpu.cfs_quota_us=20000"],
        ["/v2/cgroup.subtree_control=+cpu", "/v2/cpu.max=20000"],
    ),
    (
        Limits(cpu_period=50000),
        ["/v1/cpu/cpu.cfs_period_us=50000"],
        ["/v2/cgroup.subtree_control=+cpu", "/v2/cpu.max=max 50000"],
    ),
    (Limits(cpu_shares=512), ["/v1/cpu/cpu.shares=512"], ["/v2/cgroup.subtree_control=+cpu", "/v2/cpu.weight=59"]),
    (
        Limits(cpuset_cpus="0-1", cpuset_mems="0"),
        ["/v1/cpuset/cpuset.cpus=0-1", "/v1/cpuset/cpuset.mems=0"],
        ["/v2/cgroup.subtree_control=+cpuset", "/v2/cpuset.cpus=0-1", "/v2/cpuset.mems=0"],
    ),
    (Limits(pids_limit=5), ["/v1/pids/pids.max=5"], ["/v2/pids.max=5"]),
    (Limits(pids_limit=-1), ["/v1/pids/pids.max=max"], ["/v2/pids.max=max"]),
    (
        Limits(blkio_weight=500),
        ["/v1/blkio/blkio.weight=500 or /v1/blkio/blkio.bfq.weight=500"],
        ["/v2/cgroup.subtree_control=+io", "/v2/io.bfq.weight=500 or /v2/io.weight=4950"],
    ),
    (
        Limits(
            device_limits=(DeviceLimit("device_read_bps", "8:0", 1 << 20), DeviceLimit("device_write_iops", "8:0", 7))
        ),
        ["/v1/blkio/blkio.throttle.read_bps_device=8:0 1048576", "/v1/blkio/blkio.throttle.write_iops_device=8:0 7"],
        ["/v2/cgroup.subtree_control=+io", "/v2/io.max=8:0 rbps=1048576", "/v2/io.max=8:0 wiops=7"],
    ),
    (
        Limits(device_limits=(DeviceLimit("blkio_weight_device", "8:0", 10),)),
        ["/v1/blkio/blkio.weight_device=8:0 10 or /v1/blkio/blkio.bfq.weight_device=8:0 10"],
        ["/v2/cgroup.subtree_control=+io", "/v2/io.bfq.weight=8:0 10 or /v2/io.weight=8:0 1"],
    ),
    (Limits(), [], []),
]


@pytest.mark.parametrize(("limits", "version_1", "version_2"), BOTH_VERSIONS)
def test_what_is_written(limits: Limits, version_1: list[str], version_2: list[str]) -> None:
    assert written(VERSION_1, limits) == version_1
    assert written(VERSION_2, limits) == version_2


def test_a_hybrid_machine_has_each_limit_where_its_controller_is() -> None:
    hybrid = Cgroups((Hierarchy("/v1/memory", frozenset({"memory"})), *VERSION_2.hierarchies))
    assert written(hybrid, Limits(memory=1000, pids_limit=3, blkio_weight=10)) == [
        "/v1/memory/memory.limit_in_bytes=1000",
        "/v1/memory/memory.memsw.limit_in_bytes=2000",
        "/v2/pids.max=3",
        "/v2/cgroup.subtree_control=+io",
        "/v2/io.bfq.weight=10 or /v2/io.weight=1",
    ]


@pytest.mark.parametrize("limits", [Limits(memory_swappiness=60), Limits(oom_kill_disable=True)])
def test_what_version_2_has_no_file_for_is_refused(limits: Limits) -> None:
    assert len(written(VERSION_1, limits)) == 1
    with pytest.raises(UnsupportedLimitError, match="this kernel's cgroup controller 'memory' has no such limit"):
        settings_of(VERSION_2, "id", limits)


def test_a_missing_controller_is_named_with_the_limit() -> None:
    machine = Cgroups(
        (Hierarchy("/v1/pids", frozenset({"pids"})), Hierarchy("/v1/systemd", frozenset({"name=systemd"})))
    )
    with pytest.raises(UnsupportedLimitError) as refused:
        settings_of(machine, "id", Limits(memory=1 << 30))
    with pytest.raises(UnsupportedLimitError, match=r"no controller 'blkio' \(available: pids\)"):
        settings_of(machine, "id", Limits(blkio_weight=10))
    with pytest.raises(UnsupportedLimitError, match=r"no controller 'io' \(available: memory\)"):
        settings_of(Cgroups((Hierarchy("/v2", frozenset({"memory"}), unified=True),)), "id", Limits(blkio_weight=10))
    assert "cannot set memory to 1073741824" in str(refused.value)
    assert "no controller 'memory' (available: pids)" in str(refused.value)


@pytest.mark.parametrize(("shares", "weight"), [(0, 1), (2, 1), (1024, 100), (262144, 10000), (999999, 10000)])
def test_shares_become_weights_with_the_same_ends_and_the_same_default(shares: int, weight: int) -> None:
    assert weight_of_shares(shares) == weight


@given(st.integers(2, 262144), st.integers(2, 262144))
def test_more_shares_are_no_smaller_a_weight(one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert 1 <= weight_of_shares(low) <= weight_of_shares(high) <= 10000


def test_block_weights_keep_their_ends() -> None:
    assert [weight_of_block_weight(weight) for weight in (10, 100, 1000)] == [1, 910, 10000]


def setting(directory: Path, file: str, *, optional: bool = False, otherwise: Setting | None = None) -> Setting:
    return Setting("blkio_weight", str(directory / file), "7", optional, otherwise)


def test_of_several_files_the_first_that_is_there_is_written(tmp_path: Path) -> None:
    (tmp_path / "second").touch()
    apply([setting(tmp_path, "first", otherwise=setting(tmp_path, "second"))])
    assert (tmp_path / "second").read_text() == "7"
    (tmp_path / "first").touch()
    (tmp_path / "second").write_text("")
    apply([setting(tmp_path, "first", otherwise=setting(tmp_path, "second"))])
    assert [(tmp_path / name).read_text() for name in ("first", "second")] == ["7", ""]


def test_a_file_that_is_missing_is_an_error_unless_it_is_optional(tmp_path: Path) -> None:
    apply([setting(tmp_path, "memory.memsw", optional=True)])
    with pytest.raises(UnsupportedLimitError, match=r"cannot set blkio_weight to 7: .*'blkio' has no such limit"):
        apply([setting(tmp_path, "blkio.weight")])


def test_what_the_kernel_refuses_is_told_with_file_and_value(tmp_path: Path) -> None:
    (tmp_path / "pids.max").mkdir()
    with pytest.raises(OSError, match=r"writing '7' to .*/pids\.max"):
        apply([setting(tmp_path, "pids.max")])
