"""Asserting that containers are isolated: files, processes, namespaces, cgroups, limits, capabilities, users."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_pycontainer import Container, Engine, container

MEBIBYTE = 1024 * 1024

first = container("host", ["sleep", "infinity"], memory="64m", pids_limit=50, cpus=0.5)
second = container("host", ["sleep", "infinity"], memory="32m", pids_limit=20)
restricted = container("host", ["sleep", "infinity"], user="1000", cap_drop="ALL", security_opt="no-new-privileges")
remapped = container("host", ["sleep", "infinity"], userns="auto")


def test_they_do_not_see_each_others_files(first: Container, second: Container) -> None:
    first.write("/etc/secret", "of the first one")

    assert first.exec(["cat", "/etc/secret"]).stdout == "of the first one"
    assert second.exec(["cat", "/etc/secret"]).exit_code != 0
    assert not Path("/etc/secret").exists()


def test_they_do_not_see_each_others_processes(first: Container, second: Container) -> None:
    processes = "for process in /proc/[0-9]*; do cat $process/comm; done"

    with first.popen(["sleep", "60"]):
        assert first.exec(["sh", "-c", processes]).stdout.split().count("sleep") == 2
        assert second.exec(["sh", "-c", processes]).stdout.split().count("sleep") == 1


def test_they_cannot_signal_each_other(first: Container, second: Container) -> None:
    # The machine's number of the second one's process is no process of the first one's.
    assert first.exec(["sh", "-c", f"kill -9 {second.pid}"]).exit_code != 0
    assert second.status == "running"


@pytest.mark.parametrize("kind", ["cgroup", "ipc", "mnt", "net", "pid", "uts"])
def test_each_has_namespaces_of_its_own(first: Container, second: Container, kind: str) -> None:
    machine = str(Path(f"/proc/self/ns/{kind}").readlink())

    assert len({first.namespaces()[kind], second.namespaces()[kind], machine}) == 3


def test_unless_they_are_to_share_one(pycontainer: Engine, first: Container) -> None:
    with pycontainer.run("host", ["sleep", "infinity"], pid=f"container:{first.name}") as sidecar:
        assert sidecar.namespaces()["pid"] == first.namespaces()["pid"]
        assert sidecar.exec(["cat", "/proc/1/comm"]).stdout == "sleep\n"


def test_each_has_a_cgroup_of_its_own(first: Container, second: Container) -> None:
    assert not set(first.cgroup().values()) & set(second.cgroup().values())
    for directory in first.cgroup().values():
        members = Path(directory, "cgroup.procs").read_text().split()
        assert str(first.pid) in members
        assert str(second.pid) not in members


def test_each_has_its_limits(first: Container, second: Container) -> None:
    assert first.limits().memory == 64 * MEBIBYTE
    assert first.limits().pids_limit == 50
    assert first.limits().cpus == pytest.approx(0.5)
    assert second.limits().memory == 32 * MEBIBYTE
    assert second.limits().pids_limit == 20
    assert second.limits().cpus is None


def test_it_may_do_what_docker_lets_it(first: Container) -> None:
    may = first.capabilities().effective

    assert {"CHOWN", "NET_BIND_SERVICE", "SETUID"} <= may
    assert not {"SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "SYS_MODULE"} & may
    assert first.seccomp() == "filter"


def test_or_less(restricted: Container) -> None:
    assert restricted.user().uid == 1000
    assert not restricted.capabilities().bounding
    assert restricted.no_new_privileges()


def test_its_root_can_be_nobody_outside(remapped: Container) -> None:
    assert remapped.exec(["id", "-u"]).stdout == "0\n"
    assert (ids := remapped.id_map()) is not None
    assert Path(f"/proc/{remapped.pid}").stat().st_uid == ids.uid != 0
