"""The life of a container, as its owner and any other process of the machine lead it, and as both see it."""

from __future__ import annotations

import base64
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pytest_pycontainer import Container, Engine, wait
from pytest_pycontainer.errors import (
    CommandNotExecutableError,
    CommandNotFoundError,
    ContainerNotFoundError,
    ContainerNotPausedError,
    ContainerNotRunningError,
    ContainerPausedError,
    ContainerRunningError,
    InvalidSpecError,
    NameInUseError,
    PycontainerError,
)
from pytest_pycontainer.runtime import cgroups
from pytest_pycontainer.store.diff import write_layer

IDLE = ["sleep", "1000"]
_MORE_THAN_A_SOCKET_HOLDS = 500  # states
PATIENCE = 60.0

Do = Callable[[Container, str], Any]
"""Evaluates something of a container, such as ``stop(timeout=0)``, in this process or in another one."""

# Answers each line, a container's name and what to evaluate of it, with a pickle of what comes of it.
OTHER_PROCESS = """
import base64, pickle, sys
from pathlib import Path
from pytest_pycontainer import Engine, Settings
with Engine(Settings(root=Path(sys.argv[1]), state=Path(sys.argv[2]))) as engine:
    for line in sys.stdin:
        name, what = line.rstrip("\\n").split(" ", 1)
        try:
            found = engine.find(name)
            result = eval("found." + what)
        except Exception as error:
            result = error
        print(base64.b64encode(pickle.dumps(result)).decode(), flush=True)
"""


@pytest.fixture(scope="module", autouse=True)  # before any test looks what there is
def elsewhere(engine: Engine) -> Iterator[Do]:
    """Another process with an engine on the same store."""
    settings = engine.settings
    command = [sys.executable, "-c", OTHER_PROCESS, str(settings.root), str(settings.state)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def do(container: Container, what: str) -> Any:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{container.id} {what}\n")
            process.stdin.flush()
            result = pickle.loads(base64.b64decode(process.stdout.readline()))
            if isinstance(result, Exception):
                raise result
            return result

        yield do
        process.stdin.close()


def here(container: Container, what: str) -> Any:
    return eval(f"container.{what}", {}, {"container": container})


@pytest.fixture(params=["the owner", "another process"])
def do(request: pytest.FixtureRequest, elsewhere: Do) -> Do:
    return here if request.param == "the owner" else elsewhere


FACTS = ["status", "exit_code", "out_of_memory", "error", "restart_count", "started_at", "finished_at", "pid", "name"]


def seen(container: Container) -> tuple[object, ...]:
    """How it is, in one value that pickles."""
    return tuple(getattr(container, fact) for fact in FACTS)


def await_status(container: Container, *statuses: str, restarts: int = 0) -> None:
    state = container._connection.await_state(
        lambda state: state.status in statuses and state.restarts >= restarts, PATIENCE
    )
    assert state is not None, container


def await_run(container: Container, number: int) -> None:
    assert container._connection.await_state(lambda state: state.runs >= number, PATIENCE) is not None, container


# States


def test_a_life_as_both_see_it(engine: Engine, do: Do, elsewhere: Do) -> None:
    with engine.create("host", ["sh", "-c", "trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done"]) as c:

        def status() -> str:
            assert list(seen(c)) == [elsewhere(c, fact) for fact in FACTS]
            return c.status

        def lead(what: str) -> Any:
            result = do(c, what)
            c._connection.describe(c.name)  # what the monitor has told others before, it has told us then
            return result

        assert status() == "created"
        assert (c.exit_code, c.started_at, c.finished_at, c.pid) == (None, None, None, 0)
        lead("start()")
        next(c.follow(PATIENCE))
        assert status() == "running"
        assert c.pid > 1
        assert c.started_at is not None
        assert c.started_at >= c.created_at
        lead("pause()")
        assert status() == "paused"
        lead("unpause()")
        assert status() == "running"
        assert lead(f"stop(timeout={PATIENCE})") == 7
        assert status() == "exited"
        assert (c.exit_code, c.pid) == (7, 0)
        first_start, first_finish = c.started_at, c.finished_at
        assert first_finish is not None
        assert first_finish >= first_start
        lead("start()")
        assert status() == "running"
        assert c.exit_code is None
        assert c.started_at > first_finish
        assert c.finished_at == first_finish
        lead("kill()")
        assert lead(f"wait(timeout={PATIENCE})") == 137
        assert status() == "exited"
        assert c.exit_code == 137
        assert c.finished_at > c.started_at
        lead("restart()")
        assert status() == "running"
        do(c, "remove(force=True)")
        assert c.status == "removed"
        with pytest.raises(ContainerNotFoundError):
            elsewhere(c, "status")


WRONG = [
    ("created", "wait()", ContainerNotRunningError),
    ("created", "kill()", ContainerNotRunningError),
    ("created", "exec('true')", ContainerNotRunningError),
    ("created", "pause()", ContainerNotRunningError),
    ("created", "unpause()", ContainerNotPausedError),
    ("running", "start()", ContainerRunningError),
    ("running", "remove()", ContainerRunningError),
    ("running", "unpause()", ContainerNotPausedError),
    ("running", "kill('NOPE')", InvalidSpecError),
    ("running", "kill(0)", InvalidSpecError),
    ("running", "kill(65)", InvalidSpecError),
    ("paused", "start()", ContainerRunningError),
    ("paused", "pause()", ContainerPausedError),
    ("paused", "exec('true')", ContainerPausedError),
    ("paused", "remove()", ContainerRunningError),
    ("exited", "kill()", ContainerNotRunningError),
    ("exited", "exec('true')", ContainerNotRunningError),
    ("exited", "pause()", ContainerNotRunningError),
    ("exited", "unpause()", ContainerNotPausedError),
    ("removed", "start()", ContainerNotFoundError),
    ("removed", "wait()", ContainerNotFoundError),
    ("removed", "stop()", ContainerNotFoundError),
    ("removed", "kill()", ContainerNotFoundError),
    ("removed", "restart()", ContainerNotFoundError),
    ("removed", "pause()", ContainerNotFoundError),
    ("removed", "unpause()", ContainerNotFoundError),
    ("removed", "exec('true')", ContainerNotFoundError),
    ("removed", "rename('other')", ContainerNotFoundError),
    ("removed", "logs()", ContainerNotFoundError),
]


@pytest.fixture(scope="module")
def in_state(engine: Engine) -> Iterator[dict[str, Container]]:
    """A container in each state, which wrong calls leave as they are."""
    with (
        engine.create("host", IDLE) as created,
        engine.run("host", IDLE) as running,
        engine.run("host", IDLE) as paused,
        engine.run("host", ["sh", "-c", "exit 5"]) as exited,
        engine.run("host", ["true"]) as removed,
    ):
        paused.pause()
        exited.wait(PATIENCE)
        removed.remove(force=True)
        yield {one.status: one for one in (created, running, paused, exited, removed)}


@pytest.mark.parametrize(("state", "call", "kind"), WRONG)
def test_what_a_state_does_not_allow(
    in_state: dict[str, Container], do: Do, state: str, call: str, kind: type[PycontainerError]
) -> None:
    with pytest.raises(kind):
        do(in_state[state], call)
    assert in_state[state].status == state


def test_what_an_exited_one_allows(in_state: dict[str, Container], do: Do) -> None:
    assert do(in_state["exited"], "stop()") == 5
    assert do(in_state["exited"], "wait()") == 5
    assert do(in_state["exited"], "exited_within(0)")
    in_state["removed"].remove()
    in_state["removed"].remove(force=True)


def test_a_paused_one_is_stopped_and_killed(engine: Engine, do: Do) -> None:
    with engine.run("host", ["sh", "-c", "trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done"]) as c:
        next(c.follow(PATIENCE))
        c.pause()
        assert do(c, f"stop(timeout={PATIENCE})") == 7
        c.start()
        c.pause()
        do(c, "kill()")
        assert c.wait(PATIENCE) == 137
        c.start()
        assert c.status == "running"
        c.pause()
        do(c, "restart(timeout=0)")
        assert c.status == "running"


def test_what_ends_while_it_is_paused_starts_again(engine: Engine, do: Do) -> None:
    with engine.run("host", IDLE, restart="on-failure:1") as c:
        for _ in range(2):  # by its policy, and by hand
            c.pause()
            runs = c._connection.state.runs
            os.kill(c.pid, signal.SIGKILL)  # by nobody who knows of the pause
            if runs > 1:
                assert c.wait(PATIENCE) == 137
                do(c, "start()")
            await_run(c, runs + 1)
            assert c.status == "running"
            assert c.exec("true").exit_code == 0


# Names


def test_a_new_name_is_seen_by_all_and_the_old_one_free(engine: Engine, do: Do, elsewhere: Do) -> None:
    with engine.run("host", IDLE, name="before") as c, engine.create("host", IDLE, name="taken") as other:
        with pytest.raises(NameInUseError, match=other.short_id):
            do(c, "rename('taken')")
        with pytest.raises(NameInUseError):
            do(c, "rename('before')")
        for nonsense in ("no/name", "", None, "n" * 256):
            with pytest.raises(InvalidSpecError):
                do(c, f"rename({nonsense!r})")
        assert c.name == "before"
        do(c, "rename('after')")
        assert c.name == elsewhere(c, "name") == "after"
        assert engine.find("after").id == c.id
        with pytest.raises(ContainerNotFoundError):
            engine.find("before")
        with engine.create("host", IDLE, name="before") as again, pytest.raises(NameInUseError, match=c.short_id):
            again.rename("after")


def test_who_does_not_listen_holds_nobody_up(engine: Engine) -> None:
    with engine.run("host", IDLE) as c, Engine(engine.settings) as another:
        idle = another.find(c.id)
        pid = c.pid
        for number in range(_MORE_THAN_A_SOCKET_HOLDS):  # each is told to all handles
            c.rename(f"name-{number % 2}")
        # Asked without a look at what has come.
        idle._connection.signal(c.name, signal.SIGWINCH, ends=False)
        assert (c.status, c.pid) == ("running", pid)
        assert c.exec("true").exit_code == 0
        assert (idle.status, idle.name, idle.pid) == ("running", c.name, pid)
        idle.kill()
        assert c.wait(timeout=10) == 137


def test_what_one_handle_has_heard_is_what_all_see(engine: Engine) -> None:
    """The monitor tells one after the other: who asks in between is not told what was so a moment ago."""
    with engine.run("host", ["true"]) as c, ExitStack() as engines:
        others = [engines.enter_context(Engine(engine.settings)).find(c.id) for _ in range(4)]
        for other in others * 5:
            c.wait(PATIENCE)
            assert other.status == "exited"
            other.start()


def test_a_name_in_use_makes_nothing(engine: Engine) -> None:
    with engine.run("host", IDLE, name="only-one") as c:
        before = engine.containers()
        with pytest.raises(NameInUseError, match=c.short_id):
            engine.run("host", IDLE, name="only-one")
        assert engine.containers() == before


# Starting again


def test_an_exited_one_starts_again_as_it_was(engine: Engine, do: Do, tmp_path: Path) -> None:
    script = """
        echo "$GREETING from $(hostname) as $(id -un) in $(pwd), $(cat /root/runs /tmp/memory /data/kept 2>&1 | wc -l)"
        echo run | tee -a /root/runs /tmp/memory /data/kept > /mine/shared
        exit $(wc -l < /root/runs)
    """
    with engine.run(
        "host",
        ["sh", "-c", script],
        hostname="box",
        workdir="/srv",
        env={"GREETING": "hi"},
        tmpfs={"/tmp": ""},
        volumes=["/data", f"{tmp_path}:/mine"],
    ) as c:
        assert c.wait(PATIENCE) == 1
        address = c.ip_address
        do(c, "start()")
        assert c.wait(PATIENCE) == 2
        do(c, "start()")
        assert c.wait(PATIENCE) == 3
        assert c.ip_address == address
        before, again, last = c.logs().splitlines()
        # Three messages that there is no file; then two lines, and a message for what was in memory.
        assert before.rpartition(",")[0] == again.rpartition(",")[0] == "hi from box as root in /srv"
        assert [int(line.rpartition(",")[2]) for line in (before, again, last)] == [3, 3, 5]
        assert (tmp_path / "shared").read_text() == "run\n"


SERVER = """
import http.server, os
from pathlib import Path
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = Path("/runs").read_bytes()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments): pass
open("/runs", "a").write("run\\n")
http.server.HTTPServer(("", 80), Handler).serve_forever()
"""


def ask(container: Container) -> str:
    with socket.create_connection(container.address(80), PATIENCE) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(1000), b"")).partition(b"\r\n\r\n")[2].decode()


def test_ports_lead_into_it_again(engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        host_port = free.getsockname()[1]
    with engine.run("host", ["python3", "-c", SERVER], ports={80: host_port}, wait=wait.port(80)) as c:
        address = c.ip_address
        assert ask(c) == "run\n"
        c.restart(timeout=0)
        wait.port(80).until_ready(c, PATIENCE)
        assert (c.ip_address, c.address(80)) == (address, ("127.0.0.1", host_port))
        assert ask(c) == "run\nrun\n"
        c.exec(["sh", "-c", "kill -9 $(pgrep -n python3)"])
        c.kill()
        await_status(c, "exited")  # without the handle's hearing of it
        c.start()
        wait.port(80).until_ready(c, PATIENCE)
        assert ask(c) == "run\nrun\nrun\n"
        c.stop(timeout=0)
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", host_port), PATIENCE)


def test_a_command_that_is_missing_leaves_it_created_until_it_is_there(engine: Engine, do: Do) -> None:
    with engine.create("host", ["/srv/program"]) as c:
        with pytest.raises(CommandNotFoundError, match='exec "/srv/program"'):
            do(c, "start()")
        assert (c.status, c.exit_code, c.started_at, c.pid) == ("created", 127, None, 0)
        assert c.error == "exec: No such file or directory"
        c.write("/srv/program", b"#!/bin/sh\necho here\nexit 4\n", mode=0o644)
        with pytest.raises(CommandNotExecutableError, match='exec "/srv/program"'):
            do(c, "start()")
        assert (c.status, c.exit_code) == ("created", 126)
        assert "denied" in c.error
        c.write("/srv/program", b"#!/bin/sh\necho here\nexit 4\n", mode=0o755)
        do(c, "start()")
        assert c.wait(PATIENCE) == 4
        assert c.error == ""
        assert c.logs() == "here\n"


def test_a_command_that_is_missing_later(engine: Engine, do: Do) -> None:
    with engine.create("host", ["/srv/program"]) as c:
        c.write("/srv/program", b"#!/bin/sh\nrm /srv/program\n", mode=0o755)
        c.start()
        assert c.wait(PATIENCE) == 0
        with pytest.raises(CommandNotFoundError):
            do(c, "start()")
        assert (c.status, c.exit_code, c.error) == ("exited", 127, "exec: No such file or directory")


def test_what_exits_at_once_has_run(engine: Engine) -> None:
    def one(number: int) -> None:
        with engine.run("host", ["sh", "-c", f"exit {number}"]) as c:
            assert c.status in ("running", "exited")
            assert c.started_at is not None
            assert c.wait(PATIENCE) == number
            assert c.finished_at is not None
            assert c.started_at <= c.finished_at
            assert seen(c)[:5] == ("exited", number, False, "", 0)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(40)))


def test_the_out_of_memory_flag_is_the_last_runs(engine: Engine, elsewhere: Do) -> None:
    grow = "import os\nif not os.path.exists('/ran'):\n open('/ran', 'w').close(); b = bytearray(200 << 20)"
    with engine.run("host", ["python3", "-c", grow], memory="40m") as c:
        assert c.wait(PATIENCE) == 137
        assert c.out_of_memory
        assert elsewhere(c, "out_of_memory")
        c.start()
        assert c.wait(PATIENCE) == 0
        assert not c.out_of_memory


def test_anonymous_volumes_go_with_it_and_named_ones_stay(engine: Engine, do: Do) -> None:
    with engine.volume("kept") as kept:
        c = engine.run("host", ["sh", "-c", "echo a > /a/file; echo b > /b/file"], volumes=["/a", "kept:/b"])
        assert c.wait(PATIENCE) == 0
        directory = c._directory
        assert sorted(path.parent.name != "b" for path in directory.rglob("file")) == [True]
        do(c, "remove()")
        assert c.status == "removed"
        assert not directory.exists()
        with engine.run("host", ["cat", "/b/file"], volumes=["kept:/b"]) as reader:
            assert reader.wait(PATIENCE) == 0
            assert reader.logs() == "b\n"
        assert kept.name in [volume.name for volume in engine.volumes()]


# Several at once


def test_many_wait_and_one_kills(engine: Engine) -> None:
    with engine.run("host", IDLE, ports=[80, 81, 82]) as c, ThreadPoolExecutor(11) as pool:
        waiting = [pool.submit(c.wait, PATIENCE) for _ in range(10)]
        time.sleep(0.05)
        pool.submit(c.kill).result()
        assert [each.result() for each in waiting] == [137] * 10


def test_who_waits_hears_of_an_exit_that_a_restart_follows(engine: Engine) -> None:
    with engine.run("host", IDLE, ports=[80]) as c, ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            waiting = [pool.submit(c.wait, PATIENCE) for _ in range(3)]
            time.sleep(0.02)
            c.restart(timeout=0)
            assert [each.result() for each in waiting] == [137] * 3
            assert c.address(80)


@pytest.mark.parametrize("owner", [True, False])
def test_many_start_and_one_does(engine: Engine, owner: bool) -> None:
    def start(handle: Container) -> bool:
        try:
            handle.start()
        except ContainerRunningError:
            return False
        return True

    with Engine(engine.settings) as first, Engine(engine.settings) as second, ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            with engine.create("host", IDLE) as c, first.find(c.id) as one, second.find(c.id) as two:
                assert sum(pool.map(start, [c] * 8 if owner else [one, two] * 4)) == 1
                assert c.status == "running"


def monitor_of(container: Container) -> int:
    status = Path(f"/proc/{container.pid}/status").read_text()
    return int(status.partition("PPid:")[2].split()[0])


def private_bytes(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(rollup.partition("Private_Dirty:")[2].split()[0]) * 1024


def test_a_hundred_restarts_leave_nothing_in_the_monitor(engine: Engine) -> None:
    with engine.run("host", IDLE, ports=[80]) as c:
        monitor = monitor_of(c)

        def measure() -> tuple[int, int]:
            # What a restart had it open it closes a moment after it has said that the command runs.
            open_then = []
            for _ in range(20):
                open_then.append(len(list(Path(f"/proc/{monitor}/fd").iterdir())))
                time.sleep(0.01)
            return min(open_then), private_bytes(monitor)

        for _ in range(60):  # until it has touched what it shares with the spawner
            c.restart(timeout=0)
        descriptors, memory = measure()
        for _ in range(100):
            c.restart(timeout=0)
        assert monitor_of(c) == monitor
        now = measure()
        assert now[0] <= descriptors
        assert now[1] - memory < 128 * 1024


# Standing still


def test_a_commit_stands_it_still_and_lets_it_go_on(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = []

    def write_and_look(*arguments: Any) -> None:
        frozen.append(cgroups.is_frozen(c._cgroup))
        write_layer(*arguments)

    monkeypatch.setattr("pytest_pycontainer.engine.committing.write_layer", write_and_look)
    with engine.run("host", ["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /n; done"]) as c:
        engine.remove(c.commit().id)
        assert c.status == "running"
        engine.remove(c.commit(pause=False).id)
        c.pause()
        engine.remove(c.commit().id)
        assert c.status == "paused"
    assert frozen == [True, False, True]
