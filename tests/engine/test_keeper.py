"""A keeper has containers for several clients, and they end with the last of these, or stay until they are removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from pytest_pycontainer import Container, Engine, Settings, wait
from pytest_pycontainer.engine.keeper import Keeper
from pytest_pycontainer.engine.keeper_messages import Wanted
from pytest_pycontainer.engine.sharing import (
    REUSED,
    REUSED_LABEL,
    LodgingEngine,
    SharedContainer,
    SharingEngine,
    shared_network,
)
from pytest_pycontainer.errors import CommandNotFoundError, ContainerExitedError, InvalidSpecError, KeeperError
from tests.processes import ending, parent

PATIENCE = 60.0
SLEEP = ("sleep", "1000")

OpenKeeper = Callable[..., Keeper]
Sharing = Callable[..., SharingEngine]
RunSleeper = Callable[..., Container]


@pytest.fixture
def settings(engine: Engine, tmp_path: Path) -> Settings:
    """The suite's store, and keepers that no other test has."""
    return Settings(root=engine.settings.root, state=tmp_path)


@pytest.fixture
def open_keeper(settings: Settings) -> Iterator[OpenKeeper]:
    """Opens connections, which are all closed at the end; then nothing is kept any more."""
    with ExitStack() as leaving:
        leaving.callback(remove_reused, settings)

        def open_keeper(client: str = "gw0", *, stays: bool = False) -> Keeper:
            keeper = Keeper.open(settings, REUSED if stays else "this run", stays=stays, client=client)
            leaving.callback(keeper.leave)
            return keeper

        yield open_keeper


def remove_reused(settings: Settings) -> None:
    if (keeper := Keeper.open_running(settings, REUSED, client="the test")) is not None:
        keeper.remove_unused()
        keeper.leave()


@pytest.fixture
def sharing(engine: Engine, open_keeper: OpenKeeper) -> Iterator[Sharing]:
    """The engine with a client's keeper, whose handles are let go of at the end."""
    with ExitStack() as closing:

        def sharing(keeper: Keeper, place: str = "server", *, reused: bool = False) -> SharingEngine:
            opened = SharingEngine(engine, keeper, place, reused=reused, progress=lambda _: None)
            closing.callback(opened.close)
            return opened

        yield sharing


@pytest.fixture
def run_sleeper(sharing: Sharing) -> RunSleeper:
    def run(keeper: Keeper, place: str = "server", *, reused: bool = False, color: str = "none") -> Container:
        container = sharing(keeper, place, reused=reused).run("host", SLEEP, network="none", env={"COLOR": color})
        assert container.status == "running"
        return container

    return run


def test_clients_have_one_container_that_is_gone_with_the_last_of_them(
    engine: Engine, open_keeper: OpenKeeper, sharing: Sharing
) -> None:
    first, second = open_keeper("gw0"), open_keeper("gw1")
    server = [os.path.realpath(sys.executable), "-m", "http.server", "8000"]
    one, other = (sharing(keeper).run("host", server, ports=[8000], wait=wait.port(8000)) for keeper in (first, second))
    assert one.id == other.id
    assert one not in engine.containers()
    host, port = other.address(8000)
    assert urllib.request.urlopen(f"http://{host}:{port}/etc/hostname", timeout=PATIENCE).status == 200
    other.wait_for(wait.log("GET /etc/hostname"), PATIENCE)
    assert other.exec(["echo", "hello"]).stdout == "hello\n"
    assert other.networks == one.networks != {}
    assert other.stats().cpu is not None
    assert other.read("/etc/hostname").decode().strip() == other.short_id
    with other.connect(8000, timeout=PATIENCE) as connected:
        assert connected.getpeername()[1] == 8000
    first.leave()
    assert other.status == "running"
    second.leave()
    assert (one.status, other.status) == ("removed", "removed")
    assert not one.upper.exists()


def test_each_declaration_has_its_own(open_keeper: OpenKeeper, sharing: Sharing, run_sleeper: RunSleeper) -> None:
    keeper = open_keeper()
    several = sharing(keeper, "first")
    containers = [
        several.run("host", SLEEP, network="none"),
        several.run("host", SLEEP, network="none"),
        run_sleeper(keeper, "second"),
    ]
    assert len({container.id for container in containers}) == 3


def test_a_killed_client_is_one_that_is_gone(open_keeper: OpenKeeper, run_sleeper: RunSleeper) -> None:
    first, second = open_keeper("gw0"), open_keeper("gw1")
    container = run_sleeper(first)
    process = container.pid
    first.abandon()  # as the kernel closes the connection of a process that is killed
    assert container.status == "running"
    assert run_sleeper(second).id == container.id
    with ending(process):
        second.abandon()


CLIENT_WITH_A_CHILD = """
import os, sys
from pathlib import Path
from pytest_pycontainer import Settings
from pytest_pycontainer.engine.keeper import Keeper
from pytest_pycontainer.engine.keeper_messages import Wanted
root, state = map(Path, sys.argv[1:])
keeper = Keeper.open(Settings(root=root, state=state), "this run", stays=False, client="gw1")
if os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
assert keeper.claim(Wanted("key", "server", {}, 60.0), print) is None
print("claimed", flush=True)
os._exit(0)
"""


def test_a_child_that_holds_its_parents_connection_is_no_client(settings: Settings, open_keeper: OpenKeeper) -> None:
    keeper = open_keeper("gw0")
    command = [sys.executable, "-c", CLIENT_WITH_A_CHILD, str(settings.root), str(settings.state)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"claimed\n"
        assert keeper.claim(Wanted("key", "server", {}, PATIENCE), print) is None


def test_an_error_is_everybodys_and_nobody_tries_again(open_keeper: OpenKeeper, sharing: Sharing) -> None:
    keepers = [open_keeper(f"gw{number}") for number in range(3)]
    tried = []

    class Counting:
        def until_ready(self, container: Container, timeout: float) -> None:
            tried.append(container)
            wait.log("never", timeout=timeout).until_ready(container, timeout)

    errors = []
    for keeper in keepers:
        with pytest.raises(ContainerExitedError, match="last words") as raised:
            sharing(keeper).run("host", ["echo", "last words"], network="none", wait=Counting())
        errors.append(raised.value)
    assert len({str(error) for error in errors}) == 1
    (container,) = tried
    assert container.status == "removed"
    with pytest.raises(CommandNotFoundError, match="no such file"):
        sharing(keepers[0], "another").run("host", ["no-such-program"], network="none")


def test_an_error_that_cant_be_pickled_is_told_in_words(
    open_keeper: OpenKeeper, sharing: Sharing, run_sleeper: RunSleeper
) -> None:
    class LocalError(Exception):
        pass

    class Failing:
        def until_ready(self, container: Container, timeout: float) -> None:
            raise LocalError("of this process alone")

    with pytest.raises(LocalError):
        sharing(open_keeper("gw0")).run("host", SLEEP, wait=Failing())
    with pytest.raises(KeeperError, match="LocalError: of this process alone"):
        sharing(open_keeper("gw1")).run("host", SLEEP, wait=Failing())


def test_who_waits_is_told_of_whom_and_takes_over_if_that_one_is_killed(open_keeper: OpenKeeper) -> None:
    first, second = open_keeper("gw0"), open_keeper("gw1")
    wanted = Wanted("key", "server", {}, PATIENCE)
    assert first.claim(wanted, print) is None
    told = threading.Event()
    lines, granted = [], []

    def progress(line: str) -> None:
        lines.append(line)
        told.set()

    waiting = threading.Thread(target=lambda: granted.append(second.claim(wanted, progress)))
    waiting.start()
    assert told.wait(PATIENCE)
    first.abandon()
    waiting.join(PATIENCE)
    assert granted == [None]
    assert lines == ["waiting for server, which gw0 is making"]


def test_ctrl_c_while_it_is_made_leaves_it_to_another(
    open_keeper: OpenKeeper, sharing: Sharing, run_sleeper: RunSleeper
) -> None:
    first, second = open_keeper("gw0"), open_keeper("gw1")

    class Interrupted:
        def until_ready(self, container: Container, timeout: float) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sharing(first).run("host", SLEEP, network="none", env={"COLOR": "none"}, wait=Interrupted())
    run_sleeper(second)
    with pytest.raises(KeeperError, match="has left"):
        run_sleeper(first)


def test_ctrl_c_while_another_makes_it_is_the_end_of_the_connection(
    open_keeper: OpenKeeper, run_sleeper: RunSleeper
) -> None:
    first, second = open_keeper("gw0"), open_keeper("gw1")
    wanted = Wanted("key", "server", {}, PATIENCE)
    assert first.claim(wanted, print) is None

    def interrupted(_: str) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.001)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            second.claim(wanted, interrupted)
    finally:
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(KeeperError, match="has left"):
        run_sleeper(second)


def test_waiting_for_another_client_has_a_limit(open_keeper: OpenKeeper) -> None:
    first, second = open_keeper("gw0"), open_keeper("gw1")
    assert first.claim(Wanted("key", "server", {}, PATIENCE), print) is None
    with pytest.raises(KeeperError, match=r"gw0 has not made it within 0\.01 s"):
        second.claim(Wanted("key", "server", {}, 0.01), print)


def test_clients_have_to_want_the_same(open_keeper: OpenKeeper, run_sleeper: RunSleeper) -> None:
    first, second = open_keeper("gw0"), open_keeper("gw1")
    run_sleeper(first, color="blue")
    with pytest.raises(InvalidSpecError, match=r"env of what server shares .*green.* the same in all workers.*blue"):
        run_sleeper(second, color="green")


def test_a_killed_keeper_takes_its_containers_along(open_keeper: OpenKeeper, run_sleeper: RunSleeper) -> None:
    keeper = open_keeper()
    container = run_sleeper(keeper)
    process = container.pid
    monitor = parent(process)
    with ending(process, monitor):
        os.kill(parent(parent(monitor)), signal.SIGKILL)
    with pytest.raises(KeeperError, match="the keeper is gone"):
        run_sleeper(keeper, "another")
    assert run_sleeper(open_keeper("gw1")).id != container.id


def test_a_reused_container_stays_for_who_wants_the_same(open_keeper: OpenKeeper, run_sleeper: RunSleeper) -> None:
    first = open_keeper(stays=True)
    container = run_sleeper(first, reused=True)
    assert container.labels[REUSED_LABEL] == "server"
    first.leave()
    assert container.status == "running"
    second = open_keeper(stays=True)
    assert run_sleeper(second, "elsewhere", reused=True).id == container.id
    assert run_sleeper(second, reused=True, color="blue").id != container.id


def test_a_reused_container_that_has_exited_starts_again(
    engine: Engine, open_keeper: OpenKeeper, run_sleeper: RunSleeper
) -> None:
    keeper = open_keeper(stays=True)
    container = run_sleeper(keeper, reused=True)
    container.write("/kept", "as it was")
    container.stop(timeout=0)
    keeper.leave()
    killed = open_keeper(stays=True)
    options = {"network": "none", "env": {"COLOR": "none"}}
    wanted = SharedContainer.of("server", engine.image("host"), SLEEP, options).wanted(reused=True, seconds=PATIENCE)
    assert killed.claim(wanted, print) is None, "who claims it is to start it"
    killed.abandon()
    again = run_sleeper(open_keeper(stays=True), reused=True)
    assert again.id == container.id
    assert again.read("/kept") == b"as it was"


def test_a_reused_container_that_cant_start_again_is_made_anew(
    open_keeper: OpenKeeper, run_sleeper: RunSleeper
) -> None:
    keeper = open_keeper(stays=True)
    container = run_sleeper(keeper, reused=True)
    container.exec(["rm", "/usr/bin/sleep"], check=True)
    container.stop(timeout=0)
    assert run_sleeper(keeper, reused=True).id != container.id
    assert container.status == "removed"


def test_a_client_that_ends_while_it_makes_a_reused_container_anew_leaves_it_to_another(
    engine: Engine, open_keeper: OpenKeeper, run_sleeper: RunSleeper
) -> None:
    keeper, other = open_keeper(stays=True), open_keeper(stays=True)
    container = run_sleeper(keeper, reused=True)
    container.exec(["rm", "/usr/bin/sleep"], check=True)
    container.stop(timeout=0)
    options = {"network": "none", "env": {"COLOR": "none"}}
    shared = SharedContainer.of("server", engine.image("host"), SLEEP, options)
    wanted = shared.wanted(reused=True, seconds=PATIENCE)
    assert other.claim(wanted, print) is None
    with pytest.raises(InvalidSpecError):
        other.run(wanted, shared.image, shared.command, {"memory": "much"}, PATIENCE)
    assert container.status == "removed"
    other.abandon()
    assert run_sleeper(keeper, reused=True).id != container.id


def test_a_reused_container_gives_way_to_what_is_declared_in_its_place(
    open_keeper: OpenKeeper, run_sleeper: RunSleeper
) -> None:
    keeper = open_keeper(stays=True)
    old = run_sleeper(keeper, reused=True, color="blue")
    other = open_keeper("another", stays=True)
    assert run_sleeper(other, reused=True, color="blue").id == old.id
    keeper.leave()
    keeper = open_keeper(stays=True)
    run_sleeper(keeper, reused=True, color="green")
    assert old.status == "running", "another run uses it"
    other.leave()
    run_sleeper(keeper, reused=True, color="red")
    assert old.status == "removed"


def test_reused_containers_are_removed_by_anybody(
    engine: Engine, open_keeper: OpenKeeper, run_sleeper: RunSleeper
) -> None:
    keeper, other = open_keeper(stays=True), open_keeper("another", stays=True)
    container = run_sleeper(keeper, reused=True)
    engine.find(container.name).remove(force=True)
    anew = run_sleeper(keeper, reused=True)
    assert anew.id != container.id
    assert other.remove_unused().in_use == (anew.name,)
    keeper.leave()
    assert other.remove_unused().names == (anew.name,)
    assert anew.status == "removed"


def test_containers_of_several_clients_meet_in_a_shared_network(engine: Engine, open_keeper: OpenKeeper) -> None:
    keepers = [open_keeper("gw0"), open_keeper("gw1")]
    networks = [shared_network(keeper, "net", None, print, subnet="10.99.8.0/29") for keeper in keepers]
    assert networks[0] == networks[1]
    assert networks[0].subnet == "10.99.8.0/29"
    for number, keeper in enumerate(keepers * 2):  # more than there are addresses
        with closing(LodgingEngine(engine, keeper)) as lodging:
            for name in ("one", "other", "third"):
                container = lodging.run("host", SLEEP, network=networks[0].name, name=f"{name}-{number}")
                assert container.networks.keys() == {networks[0].name}
            found = container.exec(["getent", "hosts", f"one-{number}"]).stdout
            assert found.split()[1] == f"one-{number}"
    with pytest.raises(InvalidSpecError, match=r"internal of what net shares 'True': wanted the same in all workers"):
        shared_network(keepers[1], "net", None, print, subnet="10.99.8.0/29", internal=True)


def test_a_shared_network_that_cant_be_made_is_made_by_nobody(open_keeper: OpenKeeper) -> None:
    for keeper in (open_keeper("gw0"), open_keeper("gw1")):
        with pytest.raises(InvalidSpecError, match="subnet"):
            shared_network(keeper, "net", None, print, subnet="everything")


def test_a_network_of_one_process_is_no_shared_containers(
    engine: Engine, open_keeper: OpenKeeper, sharing: Sharing
) -> None:
    with (
        engine.network() as network,
        pytest.raises(InvalidSpecError, match=r"network of a container that is shared .*network\(shared=True\)"),
    ):
        sharing(open_keeper()).run("host", SLEEP, network=network)
