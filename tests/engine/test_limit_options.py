"""What callers write for limits, and what docker would not take."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.engine.devices import parse_devices
from pytest_pycontainer.engine.limits import ULIMITS, parse_limits, parse_oom_score_adj, parse_shm_size, parse_ulimits
from pytest_pycontainer.engine.sysctls import parse_sysctls
from pytest_pycontainer.errors import InvalidSpecError
from pytest_pycontainer.kernel.bpf import DeviceRule
from pytest_pycontainer.runtime.cgroup_limits import DeviceLimit, Limits
from pytest_pycontainer.runtime.spec import BindMount

MEBIBYTE = 1 << 20


@pytest.fixture
def block_device(tmp_path: Path) -> Path:
    device = tmp_path / "disk"
    os.mknod(device, stat.S_IFBLK | 0o600, os.makedev(7, 3))
    return device


@pytest.mark.parametrize(
    ("options", "limits"),
    [
        ({}, Limits()),
        ({"memory": "64m"}, Limits(memory=64 * MEBIBYTE)),
        ({"memory": 0, "pids_limit": 0, "cpu_shares": 0, "cpus": 0, "blkio_weight": 0}, Limits()),
        ({"memory": "64m", "memory_swap": "128m"}, Limits(memory=64 * MEBIBYTE, memory_swap=128 * MEBIBYTE)),
        ({"memory": "64m", "memory_swap": "64m"}, Limits(memory=64 * MEBIBYTE, memory_swap=64 * MEBIBYTE)),
        ({"memory": "64m", "memory_swap": -1}, Limits(memory=64 * MEBIBYTE, memory_swap=-1)),
        ({"memory": "64m", "memory_swap": "-1"}, Limits(memory=64 * MEBIBYTE, memory_swap=-1)),
        ({"memory_reservation": "6m"}, Limits(memory_reservation=6 * MEBIBYTE)),
        ({"memory_swappiness": 0}, Limits(memory_swappiness=0)),
        ({"oom_kill_disable": True}, Limits(oom_kill_disable=True)),
        ({"cpus": 0.5}, Limits(cpu_period=100_000, cpu_quota=50_000)),
        ({"cpus": "0.01"}, Limits(cpu_period=100_000, cpu_quota=1_000)),
        ({"cpu_period": 50_000, "cpu_quota": 25_000}, Limits(cpu_period=50_000, cpu_quota=25_000)),
        ({"cpu_quota": -1}, Limits(cpu_quota=-1)),
        ({"cpu_shares": 512}, Limits(cpu_shares=512)),
        ({"cpuset_cpus": "0", "cpuset_mems": "0-0"}, Limits(cpuset_cpus="0", cpuset_mems="0-0")),
        ({"pids_limit": 10}, Limits(pids_limit=10)),
        ({"pids_limit": -1}, Limits(pids_limit=-1)),
        ({"blkio_weight": 10}, Limits(blkio_weight=10)),
    ],
)
def test_limits_as_docker_takes_them(options: Any, limits: Limits) -> None:
    assert parse_limits(options) == limits


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": "5m"}, "invalid memory '5m': wanted at least 6m"),
        ({"memory": "much"}, "invalid memory 'much'"),
        ({"memory": "9999999999t"}, "invalid memory"),
        ({"memory": 1 << 63}, "invalid memory"),
        ({"memory_swap": "64m"}, "wanted memory too"),
        ({"memory": "64m", "memory_swap": "32m"}, "wanted at least memory"),
        ({"memory": "64m", "memory_swap": -2}, "invalid memory_swap"),
        ({"memory": "64m", "memory_reservation": "65m"}, "wanted at most memory"),
        ({"memory_swappiness": 101}, "from 0 to 100"),
        ({"oom_kill_disable": "yes"}, "True or False"),
        ({"cpus": 0.001}, r"from 0\.01 to"),
        ({"cpus": 4096}, "the CPUs of this machine"),
        ({"cpus": "two"}, "invalid cpus \"'two'\""),
        ({"cpus": "nan"}, "invalid cpus"),
        ({"cpus": True}, "invalid cpus"),
        ({"cpus": 1, "cpu_quota": 1000}, "no cpu_period or cpu_quota beside it"),
        ({"cpu_period": 999}, "1000 to 1000000"),
        ({"cpu_quota": 999}, "at least 1000"),
        ({"cpu_shares": -1}, "from 0"),
        ({"cpuset_cpus": "zero"}, "0-2,7"),
        ({"cpuset_cpus": "4095"}, "of those that there are here: .*0"),
        ({"cpuset_cpus": "2-1"}, "invalid cpuset_cpus '2-1'"),
        ({"cpuset_cpus": "0-99999999999"}, "invalid cpuset_cpus"),
        ({"cpuset_mems": "4095"}, "of those that there are here: 0"),
        ({"cpuset_cpus": 0.5}, "invalid cpuset_cpus"),
        ({"pids_limit": -2}, "from -1"),
        ({"pids_limit": "10"}, "invalid pids_limit"),
        ({"blkio_weight": 9}, "from 10 to 1000"),
        ({"blkio_weight": 1001}, "from 0 to 1000"),
        ({"device_read_bps": "/dev/no-such-disk:1mb"}, "No such file"),
        ({"device_read_bps": "/dev/null:1mb"}, "and this is none"),
        ({"device_read_bps": "1mb"}, "DEVICE:VALUE"),
        ({"device_read_bps": {1: 2}}, "DEVICE:VALUE"),
    ],
)
def test_limits_that_docker_would_not_take(options: Any, message: str) -> None:
    with pytest.raises(InvalidSpecError, match=message):
        parse_limits(options)


def test_limits_of_block_devices(block_device: Path) -> None:
    options: Any = {
        "device_read_bps": f"{block_device}:1mb",
        "device_write_bps": [f"{block_device}:5"],
        "device_read_iops": {str(block_device): 100},
        "device_write_iops": {str(block_device): "7"},
        "blkio_weight_device": f"{block_device}:10",
    }
    assert parse_limits(options).device_limits == (
        DeviceLimit("blkio_weight_device", "7:3", 10),
        DeviceLimit("device_read_bps", "7:3", MEBIBYTE),
        DeviceLimit("device_write_bps", "7:3", 5),
        DeviceLimit("device_read_iops", "7:3", 100),
        DeviceLimit("device_write_iops", "7:3", 7),
    )
    for wrong in ({"device_read_iops": f"{block_device}:1mb"}, {"blkio_weight_device": f"{block_device}:9"}):
        with pytest.raises(InvalidSpecError, match="number"):
            parse_limits(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ulimits", "limits"),
    [
        (None, []),
        ("nofile=1024:2048", [("nofile", 7, 1024, 2048)]),
        (["nofile=1024", "core=0"], [("nofile", 7, 1024, 1024), ("core", 4, 0, 0)]),
        ({"nproc": 10, "stack": (1, 2), "cpu": "3:4"}, [("nproc", 6, 10, 10), ("stack", 3, 1, 2), ("cpu", 0, 3, 4)]),
        ("memlock=-1", [("memlock", 8, -1, -1)]),
        ("memlock=5:-1", [("memlock", 8, 5, -1)]),
        (["nofile=1", "nofile=2"], [("nofile", 7, 2, 2)]),
    ],
)
def test_ulimits_as_docker_takes_them(ulimits: Any, limits: list[tuple[str, int, int, int]]) -> None:
    assert [(limit.name, limit.number, limit.soft, limit.hard) for limit in parse_ulimits(ulimits)] == limits


@pytest.mark.parametrize(
    ("ulimits", "message"),
    [
        ("nofile=2048:1024", "a soft limit that is not above the hard one"),
        ("nofile=-1:1024", "a soft limit that is not above the hard one"),
        ("nofiles=1", "did you mean nofile or nproc or fsize|did you mean nofile"),
        ("nofile", "NAME=SOFT"),
        ("nofile=", "NAME=SOFT"),
        ("nofile=1:2:3", "SOFT or SOFT:HARD"),
        ("nofile=many", "SOFT or SOFT:HARD"),
        ("nofile=-2", "SOFT or SOFT:HARD"),
        ({"nofile": True}, "SOFT or SOFT:HARD"),
        ({"nofile": 1.5}, "SOFT or SOFT:HARD"),
        ({"nofile": ()}, "SOFT or SOFT:HARD"),
        ({7: 1}, "NAME=SOFT"),
        (7, "a text, or a sequence of texts"),
    ],
)
def test_ulimits_that_docker_would_not_take(ulimits: Any, message: str) -> None:
    with pytest.raises(InvalidSpecError, match=message):
        parse_ulimits(ulimits)


@given(st.sampled_from(sorted(ULIMITS)), st.integers(0, 2**62), st.integers(0, 2**62))
def test_texts_and_mappings_say_the_same(name: str, one: int, other: int) -> None:
    soft, hard = sorted((one, other))
    assert parse_ulimits(f"{name}={soft}:{hard}") == parse_ulimits({name: (soft, hard)})


@given(st.text())
def test_any_text_is_a_ulimit_or_refused(text: str) -> None:
    try:
        (limit,) = parse_ulimits(text)
    except InvalidSpecError:
        return
    assert limit.hard == -1 or 0 <= limit.soft <= limit.hard


@given(st.text() | st.from_regex(r"[0-9]{1,400}\.?[0-9]?[bkmgt,-]?[0-9]*", fullmatch=True))
def test_any_text_is_a_limit_or_refused(text: str) -> None:
    for name in ("memory", "memory_swap", "cpus", "cpuset_cpus", "cpuset_mems", "device_read_bps", "device_write_iops"):
        try:
            parse_limits({name: text})  # type: ignore[misc]
        except InvalidSpecError:
            continue


def test_numbers_with_bounds() -> None:
    assert [parse_oom_score_adj(score) for score in (None, -1000, 0, 1000)] == [None, -1000, 0, 1000]
    assert [parse_shm_size(size) for size in (None, 0, "1m")] == [None, None, MEBIBYTE]
    with pytest.raises(InvalidSpecError, match="from -1000 to 1000"):
        parse_oom_score_adj(1001)
    with pytest.raises(InvalidSpecError, match="shm_size"):
        parse_shm_size("-1")


def test_sysctls_of_namespaces_are_taken_by_both_spellings() -> None:
    assert parse_sysctls({"net.core.somaxconn": 512}) == (("net/core/somaxconn", "512"),)
    assert parse_sysctls(["kernel.sem=1 2 3 4", "fs.mqueue.msg_max=5", "kernel.domainname=a.example"]) == (
        ("kernel/sem", "1 2 3 4"),
        ("fs/mqueue/msg_max", "5"),
        ("kernel/domainname", "a.example"),
    )
    assert parse_sysctls("net/ipv4/conf/eth0.1/forwarding=1") == (("net/ipv4/conf/eth0.1/forwarding", "1"),)
    assert parse_sysctls("net.ipv4.conf.eth0/1.forwarding=1") == (("net/ipv4/conf/eth0.1/forwarding", "1"),)
    assert parse_sysctls(None) == ()


@pytest.mark.parametrize(
    ("sysctls", "message"),
    [
        ("kernel.panic=1", "this one is the whole machine's"),
        ("vm.overcommit_memory=1", "this one is the whole machine's"),
        ("kernel.hostname=x", "hostname= for that"),
        ("net.core.somaxconn", "NAME=VALUE"),
        ("=1", "a name such as"),
        ("net..core=1", "a name such as"),
        ("net/../kernel/panic=1", "a name such as"),
        ("net.//kernel=1", "a name such as"),
        ({"net.core.somaxconn": None}, "a text or a number"),
        ({1: 1}, "a name such as"),
    ],
)
def test_sysctls_that_are_refused(sysctls: Any, message: str) -> None:
    with pytest.raises(InvalidSpecError, match=message):
        parse_sysctls(sysctls)


def test_sysctls_need_namespaces_of_the_containers_own() -> None:
    with pytest.raises(InvalidSpecError, match="a network namespace of the container's own"):
        parse_sysctls("net.core.somaxconn=1", own_network=False)
    with pytest.raises(InvalidSpecError, match="an IPC namespace of the container's own"):
        parse_sysctls("kernel.shmmax=1", own_ipc=False)
    with pytest.raises(InvalidSpecError, match="a UTS namespace of the container's own"):
        parse_sysctls("kernel.domainname=x", own_uts=False)
    assert parse_sysctls("kernel.sem=1", own_network=False)


@given(st.text())
def test_no_sysctl_leads_out_of_its_directory(text: str) -> None:
    try:
        found = parse_sysctls(text)
    except InvalidSpecError:
        return
    for path, _ in found:
        assert os.path.normpath(path) == path
        assert path.split("/")[0] in ("net", "kernel", "fs")


def test_devices_as_docker_takes_them(tmp_path: Path) -> None:
    found = parse_devices(["/dev/null", "/dev/zero:/dev/nothing", "/dev/full:r", "/dev/tty:/dev/a/b:wm"], None)
    assert [(node.path, os.major(node.device), os.minor(node.device)) for node in found.nodes] == [
        ("/dev/null", 1, 3),
        ("/dev/nothing", 1, 5),
        ("/dev/full", 1, 7),
        ("/dev/a/b", 5, 0),
    ]
    assert found.rules == (
        DeviceRule("c", 1, 3),
        DeviceRule("c", 1, 5),
        DeviceRule("c", 1, 7, "r"),
        DeviceRule("c", 5, 0, "wm"),
    )
    link = tmp_path / "link"
    link.symlink_to("/dev/zero")
    (node,) = parse_devices(f"{link}:/dev/linked", None).nodes
    assert (node.path, node.device) == ("/dev/linked", os.makedev(1, 5))
    assert stat.S_IMODE(node.mode) == stat.S_IMODE(Path("/dev/zero").stat().st_mode)


def test_a_device_elsewhere_than_in_dev_is_mounted() -> None:
    found = parse_devices(["/dev/null:/dev/../opt/null:r", "/dev/null:/devices"], None)
    assert found.nodes == ()
    assert found.mounts == (BindMount("/dev/null", "/opt/null"), BindMount("/dev/null", "/devices"))
    assert found.rules == (DeviceRule("c", 1, 3, "r"), DeviceRule("c", 1, 3))


def test_a_directory_stands_for_the_devices_in_it(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "file").touch()
    os.mknod(tmp_path / "one", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod(tmp_path / "below/two", stat.S_IFBLK | 0o600, os.makedev(7, 1))
    found = parse_devices(f"{tmp_path}:/dev/all:r", None)
    assert [node.path for node in found.nodes] == ["/dev/all/below/two", "/dev/all/one"]
    assert found.rules == (DeviceRule("b", 7, 1, "r"), DeviceRule("c", 1, 3, "r"))


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("/dev/no-such-device", "No such file"),
        ("/etc/passwd:/dev/x", "and this is none"),
        ("/etc:/dev/x", "none in this directory"),
        ("dev/null", "absolute paths"),
        ("/dev/null:null", "absolute paths"),
        ("/dev/null:/dev/x:rx", "of r, w and m each once"),
        ("/dev/null:/dev/x:rr", "of r, w and m each once"),
        ("/dev/null:/dev/x:r:w", "of r, w and m each once"),
        ("", "absolute paths"),
    ],
)
def test_devices_that_docker_would_not_take(device: str, message: str) -> None:
    with pytest.raises(InvalidSpecError, match=message):
        parse_devices(device, None)


def test_device_rules_as_docker_takes_them() -> None:
    rules = ["c 1:3 rwm", "b 7:* r", "a *:* rwm", "c *:* m"]
    assert parse_devices(None, rules).rules == (
        DeviceRule("c", 1, 3),
        DeviceRule("b", 7, None, "r"),
        DeviceRule("a"),
        DeviceRule("c", None, None, "m"),
    )
    for wrong in ("c 1:3", "x 1:3 r", "c 1:3 rwmx", "c 1:3 x", "c 1 r", "a 1:3 r", " c 1:3 r"):
        with pytest.raises(InvalidSpecError, match="device_cgroup_rules"):
            parse_devices(None, wrong)
