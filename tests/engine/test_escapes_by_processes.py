"""What got out of containers of other engines by way of the processes that enter one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_pycontainer import Container, Engine
from pytest_pycontainer.errors import CommandNotFoundError, ContainerStartError, PycontainerError

STRANGER = 60123
# Looks into every process that comes, until it is told to stop.
SPY = """
import os
known = set(os.listdir("/proc"))
seen, opened = set(), set()
print("ready", flush=True)
while not os.path.exists("/stop"):
    for pid in set(os.listdir("/proc")) - known:
        seen.add(pid)
        links = ["exe", "cwd", "root", "ns/mnt", *(f"fd/{number}" for number in range(24))]
        for look, what in ((open, "mem"), (open, "environ"), *((os.readlink, link) for link in links)):
            try:
                opened.add(f"{what}: {look(f'/proc/{pid}/{what}')}")
            except OSError:
                continue
print(len(seen) > 5, sorted(opened))
"""
# Thousands of directories to look for a command in that is in none of them: for so long a process is in the container.
LATE = ":".join(f"/no/such/{number}" for number in range(3000))


@pytest.mark.parametrize("user", ["root", STRANGER])
def test_a_process_that_enters_can_not_be_looked_into(engine: Engine, user: str | int) -> None:
    """CVE-2016-9962: between entering and executing, a process of the engine's had descriptors of the machine's."""
    with engine.run("host", ["python3", "-c", SPY], user=user) as container:
        next(container.follow(30))
        for _ in range(10):
            with pytest.raises(CommandNotFoundError):
                container.exec("none", user=str(user), env={"PATH": LATE})
        container.write("/stop", "")
        assert container.wait(30) == 0
        assert container.logs().splitlines()[-1] == "True []"


@pytest.mark.parametrize("path", ["/proc/self/fd/{}", "/proc/self/fd/{}/../../..", "/proc/1/fd/{}"])
def test_no_descriptor_leads_out(engine: Engine, path: str) -> None:
    """CVE-2024-21626: a working directory by way of a descriptor that the engine had left open."""
    script = ["sh", "-c", "cd ../../../../../../..; ls"]
    for number in range(3, 48):
        try:
            with engine.run("host", script, tmpfs={"/marked": ""}, workdir=path.format(number)) as container:
                container.wait(30)
                assert "marked" in container.logs(), number
        except ContainerStartError as error:
            if "working directory" not in str(error):
                raise


@pytest.fixture
def sleeper(engine: Engine) -> Iterator[Container]:
    with engine.run("host", ["sleep", "1000"], tmpfs={"/marked": ""}) as container:
        yield container


def test_no_descriptor_leads_out_of_exec_either(sleeper: Container) -> None:
    """CVE-2024-21626, of ``exec -w``, and with a link in the way that the container has made."""
    for number in range(3, 48):
        sleeper.exec(["sh", "-c", f"rm -f /way; ln -s /proc/self/fd/{number} /way"])
        for directory in (f"/proc/self/fd/{number}", "/way", "/way/../../../.."):
            try:
                result = sleeper.exec(["sh", "-c", "cd ../../../../..; ls"], workdir=directory)
            except PycontainerError:
                continue
            assert "marked" in result.stdout, (number, directory)


# That it is being executed protects the file for as long; so it has to be read-only besides.
REWRITE = """import os
print(os.fstatvfs(os.open("/proc/self/exe", os.O_RDONLY)).f_flag & os.ST_RDONLY, flush=True)
os.open("/proc/self/exe", os.O_RDWR)
"""
REFUSALS = ("Read-only file system", "Text file busy")


def test_a_script_whose_interpreter_is_the_engine_itself(sleeper: Container) -> None:
    """CVE-2019-5736, in the form ``#!/proc/self/exe``: the program that was run could be written to."""
    sleeper.write("/usr/bin/trap", f"#!/proc/self/exe\n{REWRITE}", mode=0o755)
    result = sleeper.exec(["/usr/bin/trap"])
    assert result.stdout == "1\n"
    assert any(refusal in result.stderr for refusal in REFUSALS), result.stderr


@pytest.mark.parametrize("init", [False, True])
def test_a_command_that_is_the_engine_itself(engine: Engine, init: bool) -> None:
    """CVE-2019-5736, at the start of an image whose command is a link to /proc/self/exe."""
    image = engine.build(dockerfile="FROM host\nRUN ln -s /proc/self/exe /trap\n")
    with engine.run(image, ["/trap", "-I", "-c", REWRITE], init=init) as container:
        assert container.wait(30) != 0
        assert container.logs(stderr=False) == "1\n"
        assert any(refusal in container.logs() for refusal in REFUSALS), container.logs()


def test_signals_stay_inside(sleeper: Container) -> None:
    """Nor does a process that asks for everybody's end reach one of the engine's, and PID 1 is not its own victim."""
    sleeper.exec(["sh", "-c", "kill -9 -1"])
    assert sleeper.exec(["sh", "-c", "kill -9 1; kill -0 1 && echo alive"]).stdout == "alive\n"
    assert sleeper.exec(["sh", "-c", "kill -9 0"]).exit_code == 128 + signal.SIGKILL
    assert sleeper.status == "running"


def test_the_parent_of_what_is_executed_is_not_in_sight(sleeper: Container) -> None:
    script = "cat /proc/$$/status | grep ^PPid; ls -d /proc/[0-9]* | wc -l"
    parent, count = sleeper.exec(["sh", "-c", script]).stdout.splitlines()
    assert parent.split() == ["PPid:", "0"]
    assert int(count) <= 5


def test_no_abstract_socket_is_waiting(engine: Engine, sleeper: Container) -> None:
    """CVE-2020-15257: whoever was in the machine's network namespace could ask containerd's shim for anything."""

    def sockets() -> set[str]:
        names = (line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines()[1:])
        return {name for name in names if name.startswith("@")}

    before = sockets()
    with engine.run("host", ["sleep", "1000"]) as another:
        assert another.exec("true").exit_code == 0
        assert sockets() <= before


def test_nobody_else_reaches_the_store_and_its_sockets(engine: Engine, sleeper: Container) -> None:
    """CVE-2021-41091: set-uid programs of images in a directory that every user of the machine could enter."""
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(STRANGER, STRANGER, STRANGER)
        os.setresuid(STRANGER, STRANGER, STRANGER)
        try:
            os._exit(any(engine.settings.root.iterdir()) and 1)
        except PermissionError:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    sockets = [path for path in sleeper.upper.parent.rglob("*") if path.is_socket()]
    assert all(path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0 for path in sockets)
