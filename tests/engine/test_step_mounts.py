"""What a build's RUN sees: mounts of every kind, and that none of them stays in the layer."""

from __future__ import annotations

import os
import socket
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer import Engine
from pytest_pycontainer.build.steps import (
    AgentMount,
    Base,
    BindMount,
    CacheMount,
    CopySource,
    FileMount,
    Mount,
    Network,
    RunStep,
    SourceMissing,
    TmpfsMount,
)
from pytest_pycontainer.engine.steps import RuntimeSteps
from pytest_pycontainer.image import digest as digests

if TYPE_CHECKING:
    from tests.engine.conftest import ServeAgent

HOST = Base((), True)


@dataclass
class Ran:
    """How a step went: its exit code, what it printed, and what the layer would hold."""

    code: int = -1
    output: str = ""
    layer: dict[str, bytes | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Steps:
    """Runs shell commands as a build does."""

    executor: RuntimeSteps

    def run(self, command: str, *mounts: Mount, base: Base = HOST, user: str = "", network: Network = "default") -> Ran:
        step = RunStep(("sh", "-c", command), (), "/", user, mounts, network)
        ran = Ran()
        printed: list[str] = []
        with self.executor.run(base, step, printed.append) as result:
            ran.code = result.exit_code
            for path in sorted(result.upper.rglob("*")):
                content = path.read_bytes() if path.is_file() and not path.is_symlink() else None
                ran.layer[str(path.relative_to(result.upper))] = content
        ran.output = "".join(printed)
        return ran


@pytest.fixture
def steps(engine: Engine) -> Steps:
    return Steps(RuntimeSteps(engine._resources))


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """A stage's layer with a file, a directory, and a link that leads out of it."""
    directory = tmp_path / "layer"
    (directory / "data/sub").mkdir(parents=True)
    (directory / "data/file").write_text("from the stage\n")
    (directory / "data/sub/deep").write_text("deep\n")
    (directory / "out").symlink_to("/etc/hostname")
    return directory


def test_a_directory_of_another_stage_is_read_only_and_leaves_nothing(steps: Steps, layer: Path) -> None:
    mount = BindMount(Base((layer,), False), CopySource("data"), "/made/for/it")
    ran = steps.run("cat /made/for/it/file /made/for/it/sub/deep; touch /made/for/it/x; echo $?", mount)
    assert ran.output.startswith("from the stage\ndeep\n")
    assert "Read-only" in ran.output
    assert ran.layer == {}


def test_what_is_written_to_another_stages_directory_is_lost(steps: Steps, layer: Path) -> None:
    mount = BindMount(Base((layer,), False), CopySource("data"), "/mnt", read_only=False)
    ran = steps.run("echo new > /mnt/file; rm -r /mnt/sub; ls /mnt; cat /mnt/file", mount)
    assert (ran.code, ran.output, ran.layer) == (0, "file\nnew\n", {})
    assert (layer / "data/file").read_text() == "from the stage\n"
    assert (layer / "data/sub/deep").exists()


def test_the_whole_host_image_can_be_another_stage(steps: Steps) -> None:
    ran = steps.run("ls -d /mnt/etc/passwd; ls -A /mnt/proc /mnt/tmp", BindMount(HOST, CopySource(""), "/mnt"))
    assert ran.output.split() == ["/mnt/etc/passwd", "/mnt/proc:", "/mnt/tmp:"]


def test_a_link_in_a_stage_leads_nowhere_outside(steps: Steps, layer: Path) -> None:
    with pytest.raises(SourceMissing) as raised:
        steps.run("true", BindMount(Base((layer,), False), CopySource("out"), "/mnt"))
    assert raised.value.source == "out"


def test_a_directory_of_this_machine_is_roots_and_lacks_what_was_left_out(steps: Steps, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    for name in ("kept", "left-out"):
        (tmp_path / "dir" / name).write_text(f"{name}\n")
        os.chown(tmp_path / "dir" / name, 1234, 1234)
    mount = BindMount(tmp_path, CopySource("dir", ("kept",)), "/mnt", read_only=False)
    ran = steps.run("stat -c '%n %u:%g' /mnt/*; echo changed > /mnt/kept", mount)
    assert (ran.code, ran.output, ran.layer) == (0, "/mnt/kept 0:0\n", {})
    assert (tmp_path / "dir/kept").read_text() == "kept\n"


def test_one_file_of_this_machine(steps: Steps, tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text("{}\n")
    mount = BindMount(tmp_path, CopySource("package.json"), "/work/package.json")
    ran = steps.run("cd /work && cat package.json && touch made", mount)
    assert (ran.code, ran.output) == (0, "{}\n")
    # The directory stays, for what the command wrote into it; the place for the file goes.
    assert ran.layer == {"work": None, "work/made": b""}


def test_memory_is_limited_and_gone_afterwards(steps: Steps) -> None:
    ran = steps.run(
        "stat -f -c %T /scratch; dd if=/dev/zero of=/scratch/big bs=64k count=32 2>/dev/null; stat -c %s /scratch/big",
        TmpfsMount("/scratch", size=1 << 20),
    )
    assert (ran.output, ran.layer) == ("tmpfs\n1048576\n", {})


def test_a_secret_is_a_file_that_no_disk_has(steps: Steps) -> None:
    mounts = (
        FileMount("/run/secrets/token", b"hush\n"),
        FileMount("/root/mine", b"also\n", mode=0o440, uid=65534, gid=65534),
    )
    ran = steps.run("stat -c '%a %u:%g' /run/secrets/token /root/mine; cat /run/secrets/token /root/mine", *mounts)
    assert (ran.output, ran.layer) == ("400 0:0\n440 65534:65534\nhush\nalso\n", {})
    assert "hush" not in repr(mounts)
    refused = steps.run("echo x > /run/secrets/token; cp /bin/true /tmp/x", *mounts)
    assert "Read-only" in refused.output


def test_a_secret_is_not_for_everybody(steps: Steps) -> None:
    ran = steps.run("cat /run/secrets/token", FileMount("/run/secrets/token", b"hush\n"), user="nobody")
    assert ran.code != 0
    assert "hush" not in ran.output


def test_a_script_is_executed_and_leaves_nothing(steps: Steps) -> None:
    script = FileMount("/dev/pipes/EOF", b"#!/bin/sh\necho $0 runs\n", mode=0o755)
    ran = steps.run("/dev/pipes/EOF", script)
    assert (ran.output, ran.layer) == ("/dev/pipes/EOF runs\n", {})


def cache(name: str, **options: object) -> CacheMount:
    return CacheMount(digests.of(name.encode()), "/cache", **options)  # type: ignore[arg-type]


def test_a_cache_stays_and_is_in_no_layer(steps: Steps, tmp_path: Path) -> None:
    mount = cache(str(tmp_path), mode=0o750, uid=7, gid=8)
    first = steps.run("stat -c '%a %u:%g' /cache; echo kept > /cache/file", mount)
    assert (first.output, first.layer) == ("750 7:8\n", {})
    assert steps.run("cat /cache/file", mount).output == "kept\n"
    assert steps.run("ls /cache", cache(f"{tmp_path} another")).output == ""
    assert "Read-only" in steps.run("touch /cache/x", cache(str(tmp_path), read_only=True)).output


def test_a_cache_begins_as_a_stages_directory(steps: Steps, layer: Path) -> None:
    mount = cache(str(layer), root=Base((layer,), False), source="/data")
    assert steps.run("cat /cache/file; echo new > /cache/file", mount).output == "from the stage\n"
    assert steps.run("cat /cache/file /cache/sub/deep", mount).output == "new\ndeep\n"
    assert (layer / "data/file").read_text() == "from the stage\n"


def test_private_caches_are_two_when_two_want_them(steps: Steps, tmp_path: Path) -> None:
    mount = cache(str(tmp_path), sharing="private")
    step = RunStep(("sh", "-c", "echo first > /cache/file"), (), "/", "", (mount,))
    with steps.executor.run(HOST, step, lambda _: None):
        assert steps.run("ls /cache; echo second > /cache/file", mount).output == ""
    assert steps.run("cat /cache/file", mount).output == "first\n"


ASK = (
    "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/agent'); "
    "s.sendall(b'sign this'); print(s.recv(100).decode())"
)


def test_an_agent_answers_through_a_socket_of_its_own_owner(
    steps: Steps, serve_agent: ServeAgent, tmp_path: Path
) -> None:
    with serve_agent(tmp_path / "agent", bytes.upper):
        mount = AgentMount(tmp_path / "agent", "/run/agent", uid=65534, gid=65534)
        ran = steps.run(f'stat -c "%a %u:%g" /run/agent; python3 -c "{ASK}"', mount, user="nobody")
    assert (ran.output, ran.layer) == ("600 65534:65534\nSIGN THIS\n", {})
    assert stat.S_ISSOCK((tmp_path / "agent").stat().st_mode)


def test_an_agent_that_is_gone_is_a_closed_connection(steps: Steps, tmp_path: Path) -> None:
    listen = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/agent'); print(s.recv(100))"
    ran = steps.run(f'python3 -c "{listen}"', AgentMount(tmp_path / "nobody", "/run/agent"))
    assert ran.output == "b''\n"


def test_mounts_keep_their_order(steps: Steps) -> None:
    ran = steps.run("ls /a /a/b", TmpfsMount("/a"), FileMount("/a/b/file", b""))
    assert ran.output == "/a:\nb\n\n/a/b:\nfile\n"


def test_nothing_is_mounted_in_proc(steps: Steps) -> None:
    for target in ("/proc", "/proc/sys", "/tmp/../proc/self/attr"):
        ran = steps.run("true", TmpfsMount(target))
        assert ran.code == 125
        assert f"mount {target}: nothing may be mounted in /proc" in ran.output


def test_a_file_cannot_be_mounted_on_a_directory(steps: Steps) -> None:
    ran = steps.run("true", FileMount("/etc", b""))
    assert ran.code == 125
    assert "mount /etc" in ran.output


def test_the_network_is_none_or_the_machines(steps: Steps) -> None:
    names = "cat /proc/net/dev | sed -n 's/:.*//p' | tr -d ' ' | sort"
    assert steps.run(names, network="none").output == "lo\n"
    assert steps.run(names, network="default").output == "eth0\nlo\n"
    mine = sorted(name for _, name in socket.if_nameindex())
    assert steps.run("readlink /proc/self/ns/net", network="host").output.strip() == str(
        Path("/proc/self/ns/net").readlink()
    )
    assert set(mine) <= set(steps.run(names, network="host").output.split())


def test_a_step_has_a_fixed_host_name_and_files_that_it_cannot_change(steps: Steps) -> None:
    ran = steps.run("hostname; env | sort; echo x >> /etc/hosts; grep -c localhost /etc/hosts")
    assert ran.output.splitlines()[:4] == [
        "buildkitsandbox",
        "HOME=/root",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PWD=/",
    ]
    assert "Read-only" in ran.output
    assert ran.layer == {}


def test_an_image_without_directories_gets_none_from_a_run(steps: Steps, tmp_path: Path) -> None:
    """Made for it are /proc, /sys, /dev and /etc with its files; that is not what the command wrote."""
    base = tmp_path / "tiny"
    (base / "bin").mkdir(parents=True)
    program = base / "bin/true"
    program.write_bytes(STATIC_TRUE)
    program.chmod(0o755)
    step = RunStep(("/bin/true",), (), "/", "")
    with steps.executor.run(Base((base,), False), step, lambda _: None) as result:
        assert result.exit_code == 0
        assert list(result.upper.rglob("*")) == []


def test_what_a_command_writes_where_a_mount_point_was_made_stays(steps: Steps, tmp_path: Path) -> None:
    layer = tmp_path / "old"
    (layer / "srv/data").mkdir(parents=True)
    os.utime(layer / "srv", (1_000_000_000, 1_000_000_000))
    mount = TmpfsMount("/srv/data/mnt")
    base = Base((layer,), True)
    assert steps.run("stat -c %Y /srv", mount, base=base).layer == {}
    assert steps.run("stat -c %Y /srv", mount, base=base).output == "1000000000\n"
    kept = steps.run("touch /srv/data/file", mount, base=base).layer
    assert kept == {"srv": None, "srv/data": None, "srv/data/file": b""}
    # A directory that was only copied for us is the command's once it has changed it.
    assert steps.run("chmod 700 /srv", mount, base=base).layer == {"srv": None}


def test_a_link_put_in_a_mount_points_place_is_not_followed(steps: Steps, tmp_path: Path) -> None:
    victim = tmp_path / "victim/mnt"
    victim.mkdir(parents=True)
    ran = steps.run(f"mv /x /moved && ln -s {tmp_path}/victim /x", TmpfsMount("/x/mnt"))
    assert (ran.code, ran.layer) == (0, {"moved": None, "moved/mnt": None, "x": None})
    assert victim.is_dir()


def _static_true() -> bytes:
    """An ELF program for x86_64 that exits with 0 and needs nothing."""
    code = bytes.fromhex("b83c00000031ff0f05")  # mov eax, 60; xor edi, edi; syscall
    header = bytes.fromhex("7f454c4602010100000000000000000002003e0001000000")
    entry = 0x400078
    header += entry.to_bytes(8, "little") + (64).to_bytes(8, "little") + bytes(8) + bytes(4)
    header += b"".join(number.to_bytes(2, "little") for number in (64, 56, 1, 0, 0, 0))
    size = 0x78 + len(code)
    program = (1).to_bytes(4, "little") + (5).to_bytes(4, "little") + bytes(8)
    program += b"".join(number.to_bytes(8, "little") for number in (0x400000, 0x400000, size, size, 0x1000))
    return header + program + code


STATIC_TRUE = _static_true()
