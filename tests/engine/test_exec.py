"""Further processes in a running container."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import resource
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pytest_pycontainer import Container, Engine
from pytest_pycontainer.errors import (
    CommandNotExecutableError,
    CommandNotFoundError,
    ContainerCommandFailedError,
    ContainerNotRunningError,
    ContainerPausedError,
    ContainerStartError,
    ExecStartError,
    InvalidSpecError,
    WaitTimeoutError,
)

# More than a pipe holds, when nobody reads any more.
_WRITE_ON = "seq 100000 && seq 100000 >&2 && echo alive > /done || echo broken > /done"

# The other process uses the suite's engine's store, and finds its container there.
_OTHER_PROCESS = """
import sys
from pathlib import Path
from pytest_pycontainer import Engine, Settings
with Engine(Settings(root=Path(sys.argv[1]), state=Path(sys.argv[2]))) as engine:
    container = engine.find(sys.argv[3])
    result = container.exec(["sh", "-c", sys.argv[4]], timeout=60)
    print(result.exit_code, result.stdout)
"""


def test_output_error_and_exit_code(sleeper: Container) -> None:
    result = sleeper.exec(["sh", "-c", "echo out; echo err >&2; exit 4"])
    assert (result.exit_code, result.stdout, result.stderr) == (4, "out\n", "err\n")


def test_it_is_in_the_container(sleeper: Container) -> None:
    result = sleeper.exec(
        ["sh", "-c", "cat /proc/1/comm; hostname; pwd; echo $COLOUR; readlink /proc/self/ns/* | md5sum"]
    )
    comm, hostname, directory, colour, *_ = result.stdout.split()
    assert (comm, hostname, directory, colour) == ("sleep", sleeper.short_id, "/var", "red")
    kinds = "mnt net ipc uts pid cgroup"
    same = f"for n in {kinds}; do [ $(readlink /proc/self/ns/$n) = $(readlink /proc/1/ns/$n) ] && echo $n; done"
    assert sleeper.exec(["sh", "-c", same]).stdout.split() == kinds.split()


def test_user_environment_and_directory_can_be_others(sleeper: Container) -> None:
    script = "id -u; echo $COLOUR$SIZE; pwd"
    result = sleeper.exec(["sh", "-c", script], user="nobody", env={"SIZE": "-big"}, workdir="/usr")
    assert result.stdout.split() == ["65534", "red-big", "/usr"]


def test_input(sleeper: Container) -> None:
    assert sleeper.exec("cat", stdin="hello").stdout == "hello"
    large = bytes(3_000_000)
    assert sleeper.exec("cat", stdin=large).stdout_bytes == large
    assert sleeper.exec("true", stdin=large).exit_code == 0


def test_a_file_is_read_piece_by_piece(sleeper: Container, tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "input").write_bytes(content)
    with (tmp_path / "input").open("rb") as file:
        assert sleeper.exec("sha256sum", stdin=file).stdout.split()[0] == hashlib.sha256(content).hexdigest()
    assert sleeper.exec("wc -c", stdin=io.BytesIO(content)).stdout.strip() == str(len(content))
    assert sleeper.exec("head -c 1", stdin=io.BytesIO(content)).stdout_bytes == content[:1]


def test_a_file_of_text_is_refused(sleeper: Container) -> None:
    with pytest.raises(InvalidSpecError, match="opened in binary mode"):
        sleeper.exec("cat", stdin=io.StringIO("text"))  # type: ignore[arg-type]


def test_without_input_there_is_nothing_to_read(sleeper: Container) -> None:
    result = sleeper.exec(["sh", "-c", "readlink /proc/self/fd/0; cat"])
    assert result.exit_code == 0
    assert "pipe" not in result.stdout


def test_what_it_can_not_read_or_write_is_the_containers_null_device(engine: Engine) -> None:
    look = "stat -L -c %d:%i /proc/self/fd/0 /dev/null"
    with engine.run("host", ["sh", "-c", f"{look}; exec sleep 1000"]) as c:
        while c.logs().count("\n") < 2:
            assert not c.exited_within(0.01)
        of_init, own = c.logs().split()
        assert c.exec(look).stdout.split() == [of_init, of_init]
        assert of_init == own
        ours = Path(os.devnull).stat()
        assert own != f"{ours.st_dev}:{ours.st_ino}"
        look = "streams=$(stat -L -c %d:%i /proc/$$/fd/1 /proc/$$/fd/2); echo $streams > /streams"
        with c.popen(["sh", "-c", look], detach=True) as process:
            assert process.wait(timeout=60) == 0
        assert c.exec("cat /streams").stdout.split() == [own, own]
        c.exec(["sh", "-c", "rm /dev/null; mkfifo /dev/null"])
        with pytest.raises(ExecStartError, match="open /dev/null: the container has put something else there"):
            c.exec("true")


def test_both_outputs_can_be_one_in_the_order_of_writing(sleeper: Container) -> None:
    script = "for n in 1 2 3 4 5 6 7 8 9; do echo out $n; echo err $n >&2; done"
    result = sleeper.exec(["sh", "-c", script], stderr=subprocess.STDOUT)
    assert result.stdout.split() == [word for n in range(1, 10) for word in ("out", str(n), "err", str(n))]
    assert result.stderr == ""


def test_outputs_can_go_to_files_or_nowhere(sleeper: Container, tmp_path: Path) -> None:
    with (tmp_path / "output").open("wb") as output:
        result = sleeper.exec(["sh", "-c", "echo out; echo err >&2"], stdout=output, stderr=subprocess.DEVNULL)
    assert (tmp_path / "output").read_text() == "out\n"
    assert (result.exit_code, result.stdout_bytes, result.stderr_bytes) == (0, b"", b"")
    assert sleeper.exec("echo out", stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout == "out\n"


class _Counter(io.RawIOBase):
    def __init__(self) -> None:
        self.size = self.largest = 0

    def write(self, piece: Any) -> int:
        self.size += len(piece)
        self.largest = max(self.largest, len(piece))
        return len(piece)


def test_much_output_goes_through_in_small_pieces(sleeper: Container) -> None:
    counter: Any = _Counter()
    assert sleeper.exec("head -c 268435456 /dev/zero", stdout=counter).exit_code == 0
    assert counter.size == 268435456
    assert counter.largest <= 65536


def test_nothing_of_much_output_is_lost_when_it_is_collected(sleeper: Container) -> None:
    lines = sleeper.exec("seq 1000000").stdout.split()
    assert lines == [str(number) for number in range(1, 1000001)]


def test_an_error_in_who_takes_the_output_ends_the_command(sleeper: Container, tmp_path: Path) -> None:
    closed = (tmp_path / "output").open("wb")
    closed.close()
    with pytest.raises(ValueError, match="closed file"):
        sleeper.exec(["sh", "-c", "echo out; exec sleep 1234"], stdout=closed)
    _await_no_process(sleeper, "1234")


def test_what_goes_on_in_the_background_is_not_waited_for_and_goes_on(sleeper: Container) -> None:
    sleeper.exec(["mkfifo", "/go", "/done"])
    script = f"(read word < /go; {_WRITE_ON}) & echo started"
    assert sleeper.exec(["sh", "-c", script], timeout=60).stdout == "started\n"
    sleeper.exec(["sh", "-c", "echo go > /go"], timeout=60)
    assert sleeper.exec("cat /done", timeout=60).stdout == "alive\n"


def test_a_limit_kills_it_and_what_it_has_started(sleeper: Container) -> None:
    with pytest.raises(WaitTimeoutError, match=r"waiting for 'sh' in .* took longer than 0\.2 s"):
        sleeper.exec(["sh", "-c", "sleep 321 & sleep 321; true"], timeout=0.2)
    _await_no_process(sleeper, "321")


def _await_no_process(container: Container, argument: str) -> None:
    for _ in range(1000):  # SIGKILL has been sent: it is a matter of moments
        if not any(argument in process.command for process in container.processes()):
            return
        container.exec("sleep 0.01")
    pytest.fail(f"a process with the argument {argument!r} still runs")


def test_check_raises_with_the_output(sleeper: Container) -> None:
    command = ["sh", "-c", "echo out; echo no such table >&2; exit 3"]
    with pytest.raises(ContainerCommandFailedError) as caught:
        sleeper.exec(command, check=True)
    error = caught.value
    assert (error.command, error.exit_code, error.stdout, error.stderr) == (
        tuple(command),
        3,
        "out\n",
        "no such table\n",
    )
    assert str(error).endswith("exited with code 3; its last output:\n    no such table")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert sleeper.exec("true", check=True).exit_code == 0


@pytest.mark.parametrize(
    ("command", "options", "kind", "code", "message"),
    [
        (["no-such-program"], {}, CommandNotFoundError, 127, 'exec "no-such-program": no such file'),
        (
            "cd /usr && ls",
            {},
            CommandNotFoundError,
            127,
            "it is a word of the shell, which has to be run for it: ['sh'",
        ),
        (["/no/such/program"], {}, CommandNotFoundError, 127, "no such file"),
        (["/etc/passwd"], {}, CommandNotExecutableError, 126, "Permission denied"),
        (["/etc"], {}, CommandNotExecutableError, 126, "Permission denied"),
        (["true"], {"user": "nobody-here"}, ExecStartError, 126, "no such user in the image's /etc/passwd"),
        (["true"], {"user": "root:no-group"}, ExecStartError, 126, "no such group"),
        (["true"], {"workdir": "/no/directory"}, ExecStartError, 127, "/no/directory: No such file or directory"),
        (["true"], {"workdir": "/etc/passwd"}, ExecStartError, 126, "Not a directory"),
    ],
)
def test_what_can_not_be_executed_has_dockers_exit_codes(
    sleeper: Container, command: list[str], options: Any, kind: type[ContainerStartError], code: int, message: str
) -> None:
    for start in (sleeper.exec, sleeper.popen):
        with pytest.raises(kind, match=re.escape(message)) as caught:
            start(command, **options)
        assert caught.value.exit_code == code
        assert str(caught.value).startswith("cannot exec in ")
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert sleeper.exec("true").exit_code == 0


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ([], {}),
        ("true", {"tty": 1}),
        ("true", {"size": (80, 24)}),
        ("true", {"tty": True, "size": 80}),
        ("true", {"privileged": "yes"}),
        ("true", {"stdout": io.StringIO()}),
        ("true", {"stdout": "output.txt"}),
        ("true", {"stdout": subprocess.STDOUT}),
        ("true", {"stderr": 7}),
    ],
)
def test_what_makes_no_sense_is_refused(sleeper: Container, command: list[str], options: Any) -> None:
    with pytest.raises(InvalidSpecError):
        sleeper.exec(command, **options)
    with pytest.raises(TypeError, match="unexpected keyword argument 'usr'"):
        sleeper.exec("true", usr="root")  # type: ignore[call-arg]


def test_a_missing_working_directory_is_not_made(sleeper: Container) -> None:
    with pytest.raises(ExecStartError):
        sleeper.exec("true", workdir="/made")
    assert sleeper.exec("test -e /made").exit_code == 1


_LOOK = """
grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:)' /proc/self/status; ulimit -a; umask; cat /proc/self/oom_score_adj
for name in mnt net ipc uts pid cgroup user; do readlink /proc/self/ns/$name; done
cat /proc/self/cgroup; env | sort; pwd; cut -d ' ' -f 6 /proc/self/stat | grep -vx 0 | wc -l; echo looked
"""


def test_it_is_held_as_the_containers_own_process_is(engine: Engine) -> None:
    with engine.run(
        "host",
        ["sh", "-c", _LOOK + "exec sleep 1000"],
        cap_add=["NET_ADMIN"],
        cap_drop=["CHOWN"],
        security_opt=["no-new-privileges"],
        ulimits=["nofile=100:200"],
        oom_score_adj=321,
        group_add=["audio"],
        user="daemon:mail",
        workdir="/usr/lib",
        env={"COLOUR": "red"},
    ) as c:
        while not c.logs().endswith("looked\n"):
            assert not c.exited_within(0.01)
        own = c.logs()
        result = c.exec(["sh", "-c", _LOOK])
        assert result.stdout == own
        assert "NoNewPrivs:\t1" in own
        assert "Seccomp:\t2" in own
        assert "\n321\n" in own


def test_a_privileged_one_has_all_capabilities_behind_the_containers_filter(sleeper: Container) -> None:
    look = ["grep", "-E", "^(CapEff|CapBnd|Seccomp:)", "/proc/self/status"]
    plain, privileged = (
        dict(line.split(":\t") for line in sleeper.exec(look, privileged=privileged).stdout.splitlines())
        for privileged in (False, True)
    )
    ours = dict(line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines())
    assert plain["CapEff"] == plain["CapBnd"] == "00000000a80425fb"
    assert privileged["CapEff"] == privileged["CapBnd"] == ours["CapBnd"]
    assert plain["Seccomp"] == privileged["Seccomp"] == "2"


def test_another_user_can_open_its_output_by_name(sleeper: Container) -> None:
    result = sleeper.exec(["sh", "-c", "echo out > /dev/stdout; echo err > /dev/stderr"], user="nobody")
    assert (result.stdout, result.stderr) == ("out\n", "err\n")
    assert sleeper.exec("cat /dev/stdin", user="nobody", stdin="in").stdout == "in"


def test_not_in_one_that_is_paused(sleeper: Container) -> None:
    sleeper.pause()
    with pytest.raises(ContainerPausedError, match="unpause it first"):
        sleeper.exec("true")
    sleeper.unpause()
    assert sleeper.exec("true").exit_code == 0


def test_one_that_runs_is_paused_with_the_container_and_goes_on(sleeper: Container) -> None:
    with sleeper.popen("cat") as process:
        sleeper.pause()
        process.write("word\n")
        with pytest.raises(WaitTimeoutError):
            process.stdout.readline(timeout=0.2)
        sleeper.unpause()
        assert process.stdout.readline(timeout=60) == "word\n"


def test_not_in_one_that_has_exited(engine: Engine) -> None:
    with engine.run("host", ["true"]) as c:
        c.wait(timeout=30)
        with pytest.raises(ContainerNotRunningError, match="it is exited"):
            c.exec("true")


def test_the_containers_end_ends_what_is_executed(engine: Engine) -> None:
    with engine.run("host", ["sleep", "0.3"]) as c:
        assert c.exec("sleep 1000", timeout=60).exit_code == 137


def test_nothing_can_be_lost_when_the_container_ends_in_the_middle_of_a_start(engine: Engine) -> None:
    with engine.create("host", ["sleep", "1000"]) as c:
        for _ in range(20):
            c.start()
            killer = threading.Thread(target=c.kill)
            killer.start()
            try:
                for _ in range(1000):
                    assert c.exec("true", timeout=60).exit_code in (0, 137)
            except ContainerNotRunningError:
                pass
            killer.join()
            assert c.wait(timeout=60) == 137


def test_a_handle_of_another_process_does_the_same(engine: Engine, sleeper: Container) -> None:
    done = subprocess.run(_other(engine, sleeper, "echo $COLOUR; exit 5"), capture_output=True, text=True, timeout=60)
    assert done.stdout == "5 red\n\n", done.stderr


def test_it_goes_on_when_the_process_that_asked_for_it_is_killed(engine: Engine, sleeper: Container) -> None:
    sleeper.exec("mkfifo /ready /go /done")
    script = f"echo ready > /ready; read word < /go; {_WRITE_ON}"
    with subprocess.Popen(_other(engine, sleeper, script)) as caller:
        assert sleeper.exec("cat /ready", timeout=60).stdout == "ready\n"
        caller.send_signal(signal.SIGKILL)
    sleeper.exec(["sh", "-c", "echo go > /go"], timeout=60)
    assert sleeper.exec("cat /done", timeout=60).stdout == "alive\n"


def _other(engine: Engine, container: Container, script: str) -> list[str]:
    settings = engine.settings
    return [sys.executable, "-c", _OTHER_PROCESS, str(settings.root), str(settings.state), container.id, script]


def test_many_leave_nothing_in_the_monitor(sleeper: Container) -> None:
    monitor = Path("/proc", _field(sleeper.pid, "PPid"))
    before = _belongings(monitor)
    for _ in range(200):
        sleeper.exec("true")
    with ThreadPoolExecutor(50) as pool:
        results = list(pool.map(lambda number: sleeper.exec(f"echo {number}", timeout=120).stdout, range(150)))
    assert results == [f"{number}\n" for number in range(150)]
    with pytest.raises(CommandNotFoundError):
        sleeper.exec("no-such-program")
    for _ in range(1000):  # the last one's pipes are closed after the answer
        if _belongings(monitor) == before:
            return
        sleeper.exited_within(0.01)
    assert _belongings(monitor) == before


def test_a_monitor_without_room_for_descriptors_refuses_and_goes_on(sleeper: Container) -> None:
    monitor = int(_field(sleeper.pid, "PPid"))
    have = sleeper.exec("true").exit_code + len(list(Path(f"/proc/{monitor}/fd").iterdir()))
    before = resource.prlimit(monitor, resource.RLIMIT_NOFILE)
    for room in range(12):
        resource.prlimit(monitor, resource.RLIMIT_NOFILE, (have + room, before[1]))
        with suppress(ContainerNotRunningError, ExecStartError):
            sleeper.exec("true", timeout=60)
        with suppress(ContainerNotRunningError, ExecStartError):
            sleeper.exec("true", tty=True, timeout=60)
    resource.prlimit(monitor, resource.RLIMIT_NOFILE, before)
    assert sleeper.exec("echo whole").stdout == "whole\n"
    assert len(sleeper.processes()) == 1


def _belongings(process: Path) -> tuple[int, list[str]]:
    return len(list((process / "fd").iterdir())), (process / "task" / process.name / "children").read_text().split()


def _field(pid: int, name: str) -> str:
    status = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return status[name].strip()
