"""One engine for the suite, and the check that no test leaves anything behind.

Interfaces, tables and cgroups have no owner that can be told from outside. So they are not compared while somebody else
on the machine has an engine: under pytest-xdist another worker, elsewhere another run. The last look is taken when all
workers are gone.
"""

from __future__ import annotations

import codecs
import gc
import os
import re
import select
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from pytest_pycontainer.kernel.netlink import Message, NetlinkSocket, parse_attributes
from pytest_pycontainer.kernel.nftables import NETFILTER

if TYPE_CHECKING:
    from pytest_pycontainer import Engine

pytest_plugins = ["pytester"]

PATIENCE: Final = 10.0
"""Seconds that the kernel may take for what it frees after a process has ended."""

_GET_TABLE = 10 << 8 | 1
_NAME_OF_TABLE = 1
_ZOMBIE = "Z"
_WITHOUT_OWNER = ("interfaces", "tables", "cgroups")

_MACHINE_BEFORE = pytest.StashKey["Belongings"]()
_LEFT = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def shared_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One directory for all pytest-xdist workers of this run."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def engine(shared_directory: Path) -> Iterator[Engine]:
    """The suite's engine, with everything started; all workers share its store, so that each image is built once."""
    from pytest_pycontainer import Engine, Settings
    from pytest_pycontainer.engine.requirements import missing_requirements

    if missing := missing_requirements():
        pytest.skip(f"no containers here: {missing}")
    with Engine(Settings(root=shared_directory / "store", state=Settings.read().state)) as engine:
        with engine.run("host", ["true"]) as container:
            assert container.wait(timeout=60) == 0
        yield engine


@pytest.fixture(scope="session")
def pycontainer(engine: Engine) -> Engine:
    """In this suite, the suite's engine."""
    return engine


@pytest.fixture
def open_terminal() -> Iterator[Callable[..., Terminal]]:
    """Opens pseudo-terminals of so many columns and lines."""
    with ExitStack() as opened:
        yield lambda columns=80, lines=24: opened.enter_context(closing(Terminal(columns, lines)))


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that leaves a process, a descriptor, a mount, an interface, a table or a cgroup."""
    # The container that an engine makes ahead is nobody's yet, and another one after each test.
    engine: Engine | None = request.getfixturevalue("engine") if "engine" in request.fixturenames else None
    if engine is not None:
        engine.settle()
    before = everything()
    yield
    gc.collect()
    if engine is not None:
        engine.settle()
    if left := left_since(before, everything):
        pytest.fail("left behind:\n  " + "\n  ".join(left), pytrace=False)


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[_MACHINE_BEFORE] = machine()


def pytest_collection_finish() -> None:
    # Thousands of collected tests are garbage to nobody: the collection after each test need not look at them again.
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """The last look, in the process that outlives all workers."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    session.config.stash[_LEFT] = left = left_since(session.config.stash[_MACHINE_BEFORE], machine)
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left := config.stash.get(_LEFT, []):
        terminalreporter.section("left behind by the test session", red=True)
        terminalreporter.line("\n".join(left))


class Terminal:
    """A real pseudo-terminal, and an emulator that reads what is written there in a thread of its own."""

    def __init__(self, columns: int, lines: int) -> None:
        import pyte

        self._emulator, program_side = os.openpty()
        self.file = os.fdopen(program_side, "w")
        self.written = ""
        self._changed = threading.Condition()
        self._screen = pyte.HistoryScreen(columns, lines, history=1000)
        self._stream = pyte.Stream(self._screen)
        self.resize(columns, lines)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.file.close()
        self._thread.join(timeout=PATIENCE)  # a program that still has the terminal holds it up
        os.close(self._emulator)

    def resize(self, columns: int, lines: int) -> None:
        with self._changed:
            self._screen.resize(lines, columns)
        termios.tcsetwinsize(self._emulator, (lines, columns))

    @property
    def text(self) -> str:
        """All lines, those that have left the screen too, without the blanks at their ends."""
        with self._changed:
            gone = ["".join(line[column].data for column in sorted(line)) for line in self._screen.history.top]
            return "\n".join(line.rstrip() for line in [*gone, *self._screen.display]).rstrip("\n")

    @property
    def screen(self) -> list[str]:
        """The lines on the screen, without the blanks at their ends."""
        with self._changed:
            return [line.rstrip() for line in self._screen.display]

    @property
    def cursor(self) -> tuple[int, int]:
        """Its line and column."""
        with self._changed:
            return self._screen.cursor.y, self._screen.cursor.x

    def await_text(self, pattern: str) -> str:
        """Returns the text once it has ``pattern``."""
        with self._changed:
            assert self._changed.wait_for(lambda: re.search(pattern, self.text), 3 * PATIENCE), self.text
            return self.text

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")()
        while True:
            try:
                piece = os.read(self._emulator, 1 << 16)
            except OSError:  # nobody has it open any more
                return
            with self._changed:
                text = decoder.decode(piece)
                self.written += text
                self._stream.feed(text)
                self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class Belongings:
    """What was there at one moment; each entry describes one thing."""

    processes: frozenset[str] = frozenset()
    descriptors: frozenset[str] = frozenset()
    mounts: frozenset[str] = frozenset()
    interfaces: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()
    cgroups: frozenset[str] = frozenset()

    def since(self, earlier: Belongings) -> list[str]:
        # What a process is called changes when it executes something: its number does not.
        known = {process.split()[0] for process in earlier.processes}
        return [
            f"{field.name}: {thing}"
            for field in fields(self)
            for thing in sorted(getattr(self, field.name) - getattr(earlier, field.name))
            if field.name != "processes" or thing.split()[0] not in known
        ]


def machine() -> Belongings:
    """The machine's: interfaces, tables and cgroups that carry our name."""
    return Belongings(
        interfaces=frozenset(path.name for path in Path("/sys/class/net").glob("pyc*")),
        tables=frozenset(name for name in _tables() if name.startswith("pyc")),
        cgroups=frozenset(_cgroups()),
    )


def everything() -> Belongings:
    """The machine's, and this process's: its descendants, its open descriptors, the mounts it sees."""
    return replace(
        machine(),
        processes=frozenset(_describe(process) for process in _descendants()),
        descriptors=frozenset(_descriptors()),
        mounts=frozenset(_mounts()),
    )


def left_since(earlier: Belongings, look: Callable[[], Belongings]) -> list[str]:
    """What is new since ``earlier`` and does not go away by itself within PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while left := look().since(earlier):
        if _somebody_else_has_an_engine():
            left = [thing for thing in left if not thing.startswith(_WITHOUT_OWNER)]
        if not left or time.monotonic() >= deadline:
            break
        _await_end_of_a_child(0.02)
    return left


def _descendants() -> Iterator[int]:
    waiting = [os.getpid()]
    while waiting:
        for task in _list(f"/proc/{waiting.pop()}/task"):
            children = [int(child) for child in _read(f"{task}/children").split()]
            yield from children
            waiting += children


def _somebody_else_has_an_engine() -> bool:
    ours = {os.getpid(), *_descendants()}
    for process in _list("/proc"):
        if process.name.isdecimal() and int(process.name) not in ours and _is_spawners(process.name):
            owner = process.name
            while _is_spawners(owner):
                owner = _parent(owner)
            # A dead owner's processes were handed to process 1 and have to go.
            if int(owner) > 1:
                return True
        # What was kept by a run that has ended is its holder's.
        if process.name.isdecimal() and "runtime.holder" in _read(f"/proc/{process.name}/cmdline"):
            return True
    return False


def _is_spawners(process: str) -> bool:
    """Whether it is a spawner, or was forked by one."""
    return "spawner_process" in _read(f"/proc/{process}/cmdline")


def _parent(process: str) -> str:
    fields_after_name = _read(f"/proc/{process}/stat").rpartition(")")[2].split()
    return fields_after_name[1] if fields_after_name else "0"


def _describe(process: int) -> str:
    command = _read(f"/proc/{process}/cmdline").replace("\0", " ").strip()
    state = _read(f"/proc/{process}/stat").rpartition(")")[2].split()
    return f"{process} {'(zombie)' if state[:1] == [_ZOMBIE] else command[:200]}"


def _descriptors() -> Iterator[str]:
    for link in Path("/proc/self/fd").iterdir():
        try:
            # What a removal that goes on holds open may lose its name meanwhile.
            yield f"{link.name} {link.readlink()}".removesuffix(" (deleted)")
        except FileNotFoundError:  # the one that the directory itself was listed with
            continue


def _mounts() -> Iterator[str]:
    """Those that could be a container's: an overlay, or anything in a directory of ours or of the tests."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        description = line.split(" ", 1)[1]  # without the mount's number
        if any(sign in description for sign in (" overlay ", "pycontainer", "/pytest-")):
            yield description


def _tables() -> Iterator[str]:
    if os.geteuid() != 0:
        return  # who may look at none has made none
    netfilter = NetlinkSocket.open(NETFILTER)
    try:
        for _, body in netfilter.dump(Message(_GET_TABLE, bytes(4), "list the tables")):
            yield parse_attributes(body[4:])[_NAME_OF_TABLE].rstrip(b"\0").decode()
    finally:
        netfilter.close()


def _cgroups() -> Iterator[str]:
    """Our directories below the one that this process is in, in each hierarchy."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        path = line.split(":", 2)[2].lstrip("/")
        for hierarchy in (Path("/sys/fs/cgroup"), *_list("/sys/fs/cgroup")):
            yield from map(str, (hierarchy / path).glob("pycontainer*"))


def _await_end_of_a_child(seconds: float) -> None:
    watched = []
    try:
        for process in _descendants():
            try:
                watched.append(os.pidfd_open(process))
            except ProcessLookupError:
                continue
        select.select(watched, [], [], seconds)
    finally:
        for descriptor in watched:
            os.close(descriptor)


def _list(directory: str) -> list[Path]:
    try:
        return list(Path(directory).iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return []


def _read(file: str) -> str:
    try:
        return Path(file).read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
