"""docker's options for what a container may do."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pytest_pycontainer import Engine
from pytest_pycontainer.engine.defaults import CAPABILITIES
from pytest_pycontainer.engine.privileges import parse_privileges
from pytest_pycontainer.errors import ContainerStartError, InvalidSpecError
from pytest_pycontainer.kernel.credentials import capability_mask

DEFAULT = set(CAPABILITIES)


def output(engine: Engine, script: str, **options: Any) -> str:
    with engine.run("host", ["sh", "-c", script], **options) as c:
        c.wait(timeout=60)
        return c.logs()


def test_it_is_told_who_is_privileged(engine: Engine) -> None:
    for options, privileged in (({"privileged": True}, True), ({"security_opt": ["seccomp=unconfined"]}, False)):
        with engine.create("host", "true", network="none", stop_signal="SIGINT", **options) as c:
            told = c.inspect()
        assert told["HostConfig"]["Privileged"] is privileged
        assert told["Config"]["StopSignal"] == "SIGINT"


def status(engine: Engine, field: str, **options: Any) -> str:
    return output(engine, f"grep ^{field}: /proc/self/status", **options).split()[1]


def machines(field: str) -> str:
    return next(
        line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field)
    )


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"cap_add": ["NET_ADMIN"]}, DEFAULT | {"NET_ADMIN"}),
        ({"cap_add": "cap_net_admin"}, DEFAULT | {"NET_ADMIN"}),
        ({"cap_drop": ["CAP_CHOWN", "kill"]}, DEFAULT - {"CHOWN", "KILL"}),
        ({"cap_drop": "ALL"}, set()),
        ({"cap_drop": ["ALL"], "cap_add": ["KILL"]}, {"KILL"}),
        ({"cap_drop": ["KILL"], "cap_add": ["KILL"]}, DEFAULT),
    ],
)
def test_capabilities_are_added_and_dropped_as_in_docker(
    engine: Engine, options: dict[str, Any], wanted: set[str]
) -> None:
    assert int(status(engine, "CapEff", **options), 16) == capability_mask(wanted)
    assert int(status(engine, "CapBnd", **options), 16) == capability_mask(wanted)


def test_all_are_all_that_there_are(engine: Engine) -> None:
    everything = int(machines("CapBnd"), 16)
    assert int(status(engine, "CapEff", cap_add="ALL"), 16) == everything
    assert int(status(engine, "CapEff", cap_add="ALL", cap_drop="KILL"), 16) == everything & ~capability_mask(["KILL"])
    assert int(status(engine, "CapEff", privileged=True), 16) == everything


def test_what_a_capability_allows_the_filter_allows_too(engine: Engine) -> None:
    assert "denied" in output(engine, "mount -t tmpfs none /mnt 2>&1")
    assert output(engine, "mount -t tmpfs none /mnt && echo mounted", cap_add=["SYS_ADMIN"]) == "mounted\n"
    assert output(engine, "unshare --user true 2>&1 && echo made", cap_add=["SYS_ADMIN"]) == "made\n"


def test_exec_has_the_containers_privileges(engine: Engine) -> None:
    read = ["grep", "-E", "^(CapEff|Seccomp|NoNewPrivs|Groups):", "/proc/self/status"]
    options: dict[str, Any] = {"cap_drop": "ALL", "security_opt": ["no-new-privileges"], "group_add": [4711]}
    with engine.run("host", ["sleep", "1000"], **options) as c:
        fields = c.exec(read).stdout.split()
    assert fields == ["Groups:", "0", "4711", "CapEff:", "0" * 16, "NoNewPrivs:", "1", "Seccomp:", "2"]
    with engine.run("host", ["sleep", "1000"], privileged=True) as c:
        fields = c.exec(read).stdout.split()
    assert fields[3:] == [machines("CapBnd"), "NoNewPrivs:", "0", "Seccomp:", "0"]


@pytest.mark.parametrize("user", ["root", "nobody"])
@pytest.mark.parametrize("option", ["no-new-privileges", "no-new-privileges=true", "no-new-privileges:true"])
def test_no_new_privileges(engine: Engine, user: str, option: str) -> None:
    assert status(engine, "NoNewPrivs", user=user, security_opt=[option]) == "1"
    assert status(engine, "Seccomp", user=user, security_opt=option) == "2"
    assert status(engine, "NoNewPrivs", user=user, security_opt=["no-new-privileges=false"]) == "0"


def test_without_a_filter(engine: Engine) -> None:
    assert status(engine, "Seccomp", security_opt=["seccomp=unconfined"]) == "0"
    assert status(engine, "Seccomp", security_opt=["seccomp=unconfined", "seccomp=builtin"]) == "2"
    assert output(engine, "unshare --user true && echo made", security_opt=["seccomp=unconfined"]) == "made\n"


PROFILE = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    "syscalls": [{"names": ["mkdir", "mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EXDEV}],
}


def test_a_profile_of_ones_own(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "profile.json").write_text(json.dumps(PROFILE))
    monkeypatch.chdir(tmp_path)
    for profile in (json.dumps(PROFILE), tmp_path / "profile.json", "profile.json"):
        assert "cross-device" in output(engine, "mkdir /new 2>&1", security_opt=[f"seccomp={profile}"])
    assert "cross-device" in output(engine, "mkdir /new 2>&1", privileged=True, security_opt="seccomp=profile.json")


def test_a_profile_too_strict_to_start_anything_is_the_containers_failure(engine: Engine) -> None:
    no_execve = PROFILE | {"syscalls": [{"name": "execve", "action": "SCMP_ACT_ERRNO"}]}
    with pytest.raises(ContainerStartError, match="not permitted"):
        engine.run("host", ["true"], security_opt=[f"seccomp={json.dumps(no_execve)}"])


def test_privileged_has_no_masks_and_all_devices(engine: Engine) -> None:
    with engine.run("host", ["sleep", "1000"], privileged=True) as c:
        mounts = {line.split()[4]: line.split()[5] for line in c.exec("cat /proc/self/mountinfo").stdout.splitlines()}
        places = set(mounts)
        assert not [place for place in places if place.startswith("/proc/") or place == "/sys/firmware"]
        assert mounts["/sys"].startswith("rw,")
        assert mounts["/sys/fs/cgroup"].startswith("rw,")
        nodes = {
            str(path)
            for path in Path("/dev").iterdir()
            if (path.is_block_device() or path.is_char_device()) and path.name != "console"
        }
        assert nodes <= set(c.exec(["sh", "-c", "echo /dev/*"]).stdout.split())
        assert c.exec("mount -t tmpfs none /mnt").exit_code == 0
    assert "/proc/sys" in output(engine, "cat /proc/self/mountinfo")


@pytest.mark.parametrize("device", ["/dev/loop-control", "/dev/fuse", "/dev/kmsg"])
def test_privileged_opens_what_others_may_not(engine: Engine, device: str) -> None:
    try:
        os.close(os.open(device, os.O_RDONLY))
        number = Path(device).stat().st_rdev
    except OSError as error:
        pytest.skip(f"{device} can't be opened on this machine: {error.strerror}")
    script = f"mknod /made c {os.major(number)} {os.minor(number)}; : < /made && echo opened"
    assert output(engine, f"{script}; : < {device} && echo opened", privileged=True) == "opened\nopened\n"
    assert "Operation not permitted" in output(engine, script, cap_add="ALL")


def test_system_paths_without_masks(engine: Engine) -> None:
    mounts = output(engine, "cat /proc/self/mountinfo", security_opt=["systempaths=unconfined"])
    assert " /proc/" not in mounts
    assert " /sys ro," in mounts
    assert int(status(engine, "CapEff", security_opt="systempaths=unconfined"), 16) == capability_mask(DEFAULT)


def test_the_next_container_is_an_ordinary_one(engine: Engine) -> None:
    with engine.run("host", ["true"], privileged=True):
        assert int(status(engine, "CapEff"), 16) == capability_mask(DEFAULT)
        assert "/proc/sys" in output(engine, "cat /proc/self/mountinfo")


def test_a_read_only_root(engine: Engine) -> None:
    with engine.run("host", ["sleep", "1000"], read_only=True, workdir="/made", tmpfs={"/t": ""}) as c:
        for place in ("/", "/etc", "/made"):
            assert "Read-only file system" in c.exec(["touch", f"{place}/x"]).stderr
        for place in ("/t", "/dev/shm", "/proc/self/oom_score_adj"):
            assert c.exec(["sh", "-c", f"[ -d {place} ] && touch {place}/x || echo 0 > {place}"]).exit_code == 0
        assert c.exec("pwd").stdout == "/made\n"
        assert "Read-only file system" in c.exec(["touch", "/etc/hosts"]).stderr
    assert output(engine, "touch /x && echo written") == "written\n"


def test_a_read_only_root_can_not_be_made_writable_again(engine: Engine) -> None:
    assert "denied" in output(engine, "mount -o remount,rw / 2>&1", read_only=True)


def test_groups_by_name_and_number(engine: Engine) -> None:
    adm = next(line.split(":")[2] for line in Path("/etc/group").read_text().splitlines() if line.startswith("adm:"))
    assert set(output(engine, "id -G", group_add=["adm", "4711", 12]).split()) == {"0", adm, "4711", "12"}
    assert output(engine, "id -G", user="nobody:7", group_add="adm").split() == ["7", adm]
    with pytest.raises(ContainerStartError, match=r"'no-such-group'.*no such group"):
        engine.run("host", ["true"], group_add=["no-such-group"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cap_add": ["NET_ADMN"]}, "cap_add 'NET_ADMN'.*did you mean NET_ADMIN"),
        ({"cap_drop": "x"}, "cap_drop 'x'.*or ALL"),
        ({"cap_add": 7}, "cap_add '7'"),
        ({"cap_add": [7]}, "cap_add"),
        ({"security_opt": ["secomp=unconfined"]}, "secomp.*did you mean seccomp"),
        ({"security_opt": ["seccomp"]}, "security_opt 'seccomp'"),
        ({"security_opt": ["seccomp="]}, "seccomp="),
        ({"security_opt": ["no-new-privileges=maybe"]}, "maybe"),
        ({"security_opt": ["apparmor=mine"]}, "apparmor=mine"),
        ({"security_opt": ["seccomp=/no/such/file"]}, "/no/such/file.*No such file"),
        ({"security_opt": ["seccomp={"]}, "JSON"),
        ({"privileged": "yes"}, "privileged.*True or False"),
        ({"read_only": 1}, "read_only.*True or False"),
        ({"group_add": [""]}, "group_add"),
        ({"group_add": 1.5}, "group_add"),
    ],
    ids=repr,
)
def test_what_makes_no_sense_is_refused(engine: Engine, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSpecError, match=said):
        engine.create("host", ["true"], **options)


@pytest.mark.parametrize("option", ["label=disable", "label:disable"])
def test_what_is_so_anyway_may_be_asked_for(option: str) -> None:
    assert parse_privileges(False, None, None, [option]) == parse_privileges(False, None, None, None)


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ("[]", "at the top|JSON|path"),
        ({}, "a text at defaultAction"),
        ({"defaultAction": "ALLOW"}, r"one of SCMP_ACT_ALLOW.*at defaultAction, not \"ALLOW\""),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "SCMP_ACT_NOTIFY"),
        ({"syscalls": {}}, "a list at syscalls"),
        ({"syscalls": [{"names": ["read"]}]}, r"syscalls\[0\].action"),
        ({"syscalls": [{"names": [1], "action": "SCMP_ACT_LOG"}]}, r"a text at syscalls\[0\].names\[0\], not 1"),
        ({"syscalls": [{"action": "SCMP_ACT_LOG", "args": [{"index": 6}]}]}, "from 0 to 5.*index, not 6"),
        ({"syscalls": [{"action": "SCMP_ACT_LOG", "args": [{"index": 0, "op": "EQ"}]}]}, "SCMP_CMP_EQ.*op"),
        ({"syscalls": [{"action": "SCMP_ACT_LOG", "includes": {"minKernel": "new"}}]}, "minKernel"),
        ({"defaultErrnoRet": -1}, "from 0 to 4095"),
        ({"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO",
                        "args": [{"index": 0, "value": n, "op": "SCMP_CMP_EQ"} for n in range(2000)]}]}, "4096"),
    ],
)  # fmt: skip
def test_a_profile_that_is_none_is_told_where(profile: object, said: str) -> None:
    if isinstance(profile, dict) and profile and "defaultAction" not in profile:
        profile = {"defaultAction": "SCMP_ACT_ALLOW"} | profile
    text = profile if isinstance(profile, str) else json.dumps(profile)
    with pytest.raises(InvalidSpecError, match=said):
        parse_privileges(False, None, None, [f"seccomp={text}"])
