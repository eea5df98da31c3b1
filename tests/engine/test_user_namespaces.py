"""Containers whose root is nobody on this machine."""

from __future__ import annotations

import io
import os
import resource
import signal
import socket
import struct
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from pytest_pycontainer import Container, Engine, Settings
from pytest_pycontainer.errors import ContainerFileError, ContainerStartError
from pytest_pycontainer.kernel import mount

_SECONDS = 20.0
_COUNT = 65536
_NET_RAW = 13


def run(engine: Engine, script: str, **options: Any) -> str:
    """What a shell in a container with a user namespace says."""
    with engine.run("host", ["sh", "-ec", script], userns="auto", **options) as container:
        assert container.wait(_SECONDS) == 0, container.logs()
        return container.logs()


def test_root_is_nobody_outside(engine: Engine) -> None:
    with engine.run("host", ["sleep", "60"], userns="auto") as container:
        ids = container.id_map()
        assert ids is not None
        assert ids.count == _COUNT
        assert Path(f"/proc/{container.pid}").stat().st_uid == ids.uid >= _COUNT
        assert container.exec(["id", "-u"]).stdout == "0\n"
        assert container.exec(["cat", "/proc/self/uid_map"]).stdout.split() == ["0", str(ids.uid), str(_COUNT)]
        assert container.exec(["cat", "/proc/self/gid_map"]).stdout.split() == ["0", str(ids.gid), str(_COUNT)]
        assert container.user().uid == 0
        assert container.namespaces()["user"] != str(Path("/proc/self/ns/user").readlink())


def test_each_has_users_of_its_own(engine: Engine) -> None:
    with (
        engine.run("host", ["sleep", "60"], userns="auto") as first,
        engine.run("host", ["sleep", "60"], userns="auto") as second,
    ):
        maps = first.id_map(), second.id_map()

        assert maps[0] is not None
        assert maps[1] is not None
        assert abs(maps[0].uid - maps[1].uid) >= _COUNT
        assert abs(maps[0].gid - maps[1].gid) >= _COUNT


def test_its_namespaces_are_its_own_to_rule(engine: Engine) -> None:
    script = """
        hostname other
        ip link set lo mtu 1500
        mkdir -p /tmp/proc /tmp/memory
        mount -t tmpfs none /tmp/memory
        mount -t proc none /tmp/proc
        hostname
    """

    assert run(engine, script, cap_add=["SYS_ADMIN", "NET_ADMIN"], security_opt="seccomp=unconfined") == "other\n"


def test_its_capabilities_and_filter_are_dockers(engine: Engine) -> None:
    fields = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
    script = f"grep -E '{'|'.join(f'^{field}:' for field in fields)}' /proc/self/status"

    with engine.run("host", ["sh", "-c", script]) as container:
        container.wait(_SECONDS)
        assert run(engine, script) == container.logs()


def test_files_are_roots_there_and_on_disk(engine: Engine) -> None:
    shown = "/ /etc/passwd /etc/hosts /directory /dev /dev/null /dev/pts /dev/pts/ptmx /dev/mqueue /made"
    script = f"touch /made; chown 3:4 /made; mkdir /directory; stat -c '%n %u %g' {shown}"

    with engine.run("host", ["sh", "-c", script], userns="auto") as container:
        container.wait(_SECONDS)
        *roots, made = container.logs().splitlines()
        assert made == "/made 3 4"
        assert [line.split()[1:] for line in roots] == [["0", "0"]] * 9
        assert (container.upper / "made").stat().st_uid == 3
        assert (container.upper / "directory").stat().st_uid == 0
        assert {"A /made", "A /directory"} <= {f"{change.kind} {change.path}" for change in container.diff()}


def test_what_it_changes_of_the_image_keeps_its_owner(engine: Engine) -> None:
    script = "echo more >> /etc/passwd; stat -c '%u %g %a' /etc/passwd"

    with engine.run("host", ["sh", "-c", script], userns="auto") as container:
        container.wait(_SECONDS)
        assert container.logs() == "0 0 644\n"
        assert (container.upper / "etc/passwd").stat().st_uid == 0


def test_its_image_is_like_any_other(engine: Engine) -> None:
    with engine.run("host", ["sh", "-c", "install -o 3 -g 4 /etc/passwd /made"], userns="auto") as container:
        assert container.wait(_SECONDS) == 0
        image = container.commit()

    with engine.run(image, ["stat", "-c", "%u %g", "/made"]) as container:
        assert container.wait(_SECONDS) == 0
        assert container.logs() == "3 4\n"
    with engine.run(image, ["stat", "-c", "%u %g", "/made"], userns="auto") as container:
        assert container.wait(_SECONDS) == 0
        assert container.logs() == "3 4\n"


def test_of_this_machine_it_may_only_what_everybody_may(engine: Engine, tmp_path: Path) -> None:
    secret, public = tmp_path / "secret", tmp_path / "public"
    secret.write_text("secret")
    public.write_text("public")
    secret.chmod(0o600)
    public.chmod(0o644)
    volumes = {str(secret): "/secret", str(public): "/public"}

    said = run(engine, "cat /public; cat /secret 2>&1 || true; stat -c ' %u %g' /secret", volumes=volumes)

    assert said == "publiccat: /secret: Permission denied\n 65534 65534\n"


def test_a_volume_has_the_containers_owners(engine: Engine) -> None:
    script = "stat -c '%u %g' /var/cache/debconf/*; install -o 7 /etc/passwd /var/cache/debconf/made"

    with engine.volume() as volume:
        volumes = {volume.name: "/var/cache/debconf"}
        assert set(run(engine, script, volumes=volumes).splitlines()) == {"0 0"}

        with engine.run("host", ["stat", "-c", "%u", "/var/cache/debconf/made"], volumes=volumes) as container:
            container.wait(_SECONDS)
            assert container.logs() == "7\n"


def test_memory_has_the_containers_owners(engine: Engine) -> None:
    said = run(engine, "stat -c '%u %g' /a /b /dev/shm", tmpfs={"/a": "", "/b": "uid=5,gid=6"})

    assert said.splitlines() == ["0 0", "5 6", "0 0"]


def test_a_user_may_open_its_output(engine: Engine) -> None:
    assert run(engine, "id -u > /dev/stdout; echo err > /dev/stderr", user="1000") == "1000\nerr\n"


def test_exec_is_in_it(engine: Engine) -> None:
    with engine.run("host", ["sleep", "60"], userns="auto") as container:
        script = "touch /made; stat -c %u /made; echo out > /dev/stdout; cat; id -u"
        assert container.exec(["sh", "-c", script], stdin="in\n").stdout == "0\nout\nin\n0\n"
        assert container.exec(["id", "-u"], user="1000").stdout == "1000\n"
        own = container.exec(["readlink", "/proc/self/ns/user"]).stdout.strip()
        assert own == container.namespaces()["user"]


def test_it_starts_again(engine: Engine) -> None:
    script = "echo line >> /file; stat -c %u /file; cat /file; ip -4 addr show eth0 | grep -c inet"

    with engine.run("host", ["sh", "-c", script], userns="auto") as container:
        assert container.wait(_SECONDS) == 0
        container.start()
        assert container.wait(_SECONDS) == 0
        assert container.logs().splitlines() == ["0", "line", "1", "0", "line", "line", "1"]


def test_its_restart_policy_starts_it_again(engine: Engine) -> None:
    with engine.run("host", ["sh", "-c", "echo begun; sleep 60"], userns="auto", restart="always") as container:
        users = container.id_map()
        os.kill(container.pid, signal.SIGKILL)
        wait_until(lambda: container.restart_count == 1 and container.status == "running")

        assert container.exec(["id", "-u"]).stdout == "0\n"
        assert container.id_map() == users
        assert container.user().uid == 0


def test_others_are_found_by_name(engine: Engine) -> None:
    with (
        engine.network("mapped") as network,
        engine.run("host", ["sleep", "60"], network=network.name, name="mapped-peer") as peer,
        engine.run("host", ["sleep", "60"], network=network.name, userns="auto") as container,
    ):
        assert container.exec(["getent", "hosts", "mapped-peer"]).stdout.split() == [peer.ip_address, "mapped-peer"]


def test_its_ports_are_reached(engine: Engine) -> None:
    server = "import socket; s = socket.create_server(('', 80)); c, _ = s.accept(); c.sendall(b'hello')"

    with engine.run("host", [_python(), "-c", server], ports=[80], userns="auto") as container:
        assert receive_from(container, 80) == b"hello"


def test_everybody_in_it_may_ping(engine: Engine) -> None:
    script = "cat /proc/sys/net/ipv4/ping_group_range /proc/sys/net/ipv4/ip_unprivileged_port_start"

    assert run(engine, script).split() == ["0", str(_COUNT - 1), "0"]


def test_a_read_only_root(engine: Engine) -> None:
    said = run(engine, "touch /made 2>&1 || true; touch /tmp/made", read_only=True, tmpfs={"/tmp": ""})

    assert "Read-only file system" in said


def test_limits_that_only_this_machines_root_may_set(engine: Engine) -> None:
    said = run(engine, "cat /proc/self/oom_score_adj; ulimit -n", oom_score_adj=500, ulimits=["nofile=100:200"])

    assert said.split() == ["500", "100"]


def test_a_limit_above_this_processs_own(engine: Engine) -> None:
    """Not every root may set one; but whether it may, a user namespace changes nothing of."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    options: dict[str, Any] = {"ulimits": [f"nofile=100:{hard + 1}"]}
    results: list[object] = []
    for userns in ("host", "auto"):
        try:
            with engine.run("host", ["sleep", "60"], userns=userns, **options) as container:
                inside = container.exec(["sh", "-c", "ulimit -Hn"]).stdout
                results.append((container.limits().ulimit("nofile"), inside))
        except ContainerStartError as error:
            results.append(error.step)

    assert results[0] == results[1]


def test_a_reaper(engine: Engine) -> None:
    with engine.run(
        "host", ["sh", "-c", "trap 'exit 7' TERM; echo ready; sleep 60 & wait"], userns="auto", init=True
    ) as c:
        wait_until(lambda: c.logs() == "ready\n")
        assert c.stop() == 7


def test_capabilities_of_files_count(engine: Engine) -> None:
    script = "test -e /probe && exec sleep 60; cp /bin/grep /probe; chmod 755 /probe"

    with engine.run("host", ["sh", "-c", script], userns="auto") as container:
        assert container.wait(_SECONDS) == 0
        version_2, effective = 0x02000000, 1
        value = struct.pack("<5I", version_2 | effective, 1 << _NET_RAW, 0, 0, 0)
        os.setxattr(container.upper / "probe", "security.capability", value)
        container.start()

        said = container.exec(["/probe", "CapEff", "/proc/self/status"], user="1000").stdout
        assert int(said.split()[1], 16) == 1 << _NET_RAW


@pytest.fixture(params=["created", "running", "exited"])
def container(request: pytest.FixtureRequest, engine: Engine) -> Iterator[Container]:
    """One in each state in which files are read and written."""
    with engine.create("host", ["sh", "-c", "trap exit TERM; sleep 60 & wait"], userns="auto") as made:
        if request.param != "created":
            made.start()
        if request.param == "exited":
            made.kill()
            made.wait(_SECONDS)
        yield made


def test_files_from_outside_are_the_containers(container: Container, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory/file").write_text("copied")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("archived")
        member.uid, member.gid, member.size = 3, 4, 1
        tar.addfile(member, io.BytesIO(b"x"))
    archive.seek(0)

    container.write("/root/written", "text", owner=(1, 2))
    container.copy_to(tmp_path / "directory", "/root")
    container.put_archive("/root", archive)

    assert container.read("/root/written") == b"text"
    owners = {"written": (1, 2), "directory": (0, 0), "directory/file": (0, 0), "archived": (3, 4)}
    assert {name: owner_of(container, f"/root/{name}") for name in owners} == owners
    assert {name: disk_owner(container, f"root/{name}") for name in owners} == owners


def test_files_go_out_as_the_callers(container: Container, tmp_path: Path) -> None:
    container.write("/root/file", "text", owner=(1, 2))

    container.copy_from("/root/file", tmp_path)

    assert (tmp_path / "file").read_text() == "text"
    assert (tmp_path / "file").stat().st_uid == os.geteuid()


def test_an_owner_that_there_is_not(engine: Engine) -> None:
    with (
        engine.run("host", ["sleep", "60"], userns="auto") as container,
        pytest.raises(ContainerFileError, match="no 70000"),
    ):
        container.write("/file", "", owner=(70000, 0))


def test_what_makes_files_is_this_process_again(engine: Engine, tmp_path: Path) -> None:
    with engine.run("host", ["sleep", "60"], userns="auto") as container:
        before = status_of_this_thread()
        container.write("/file", "")
        (tmp_path / "own").touch()

        assert status_of_this_thread() == before
        assert (tmp_path / "own").stat().st_uid == os.geteuid()


def test_the_kernel_ends_it_with_its_monitor(engine: Engine) -> None:
    with engine.run("host", ["sleep", "60"], userns="auto") as container:
        monitor = int(Path(f"/proc/{container.pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(monitor, signal.SIGKILL)

        assert container.wait(_SECONDS) == 128 + signal.SIGKILL


def test_a_file_system_that_cannot_be_mapped(engine: Engine, tmp_path: Path) -> None:
    mount.mount("none", str(tmp_path), "ramfs")
    try:
        with (
            Engine(Settings(root=tmp_path / "store", state=engine.settings.state)) as unmappable,
            pytest.raises(ContainerStartError, match=r"Linux 5\.19.*Linux 6\.3"),
        ):
            unmappable.run("host", ["true"], userns="auto")
    finally:
        mount.detach(str(tmp_path))


@pytest.mark.parametrize("userns", ["auto", "host"])
def test_what_fails_before_the_launch_is_told_of(engine: Engine, userns: Literal["auto", "host"]) -> None:
    with pytest.raises(ContainerStartError, match="make /dev/null/below"):
        engine.run("host", ["true"], devices=["/dev/zero:/dev/null/below"], userns=userns)


def owner_of(container: Container, path: str) -> tuple[int, int]:
    archive = io.BytesIO()
    container.get_archive(path, archive)
    archive.seek(0)
    with tarfile.open(fileobj=archive) as tar:
        member = tar.getmembers()[0]
        return member.uid, member.gid


def disk_owner(container: Container, path: str) -> tuple[int, int]:
    status = (container.upper / path).stat()
    return status.st_uid, status.st_gid


def status_of_this_thread() -> list[str]:
    lines = Path("/proc/thread-self/status").read_text().splitlines()
    return [line for line in lines if line.startswith(("Uid", "Gid", "Cap"))]


def receive_from(container: Container, port: int) -> bytes:
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            with socket.create_connection(container.address(port), timeout=_SECONDS) as connection:
                return connection.recv(100)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _python() -> str:
    import sys

    return os.path.realpath(sys.executable)
