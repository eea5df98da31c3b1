"""What a container tells of its isolation is what the kernel says inside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_pycontainer import Capabilities, Engine, ProcessUser
from pytest_pycontainer.engine import defaults
from pytest_pycontainer.errors import ContainerNotFoundError, ContainerNotRunningError, ContainerStartError

_SECONDS = 20.0
_KINDS = {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"}


def test_namespaces(engine: Engine) -> None:
    with engine.run("host", ["sleep", "60"]) as first, engine.run("host", ["sleep", "60"]) as second:
        own = {kind: str(Path("/proc/self/ns", kind).readlink()) for kind in _KINDS}
        inside = first.exec(["readlink", *(f"/proc/1/ns/{kind}" for kind in sorted(_KINDS))]).stdout.split()

        assert first.namespaces() == dict(zip(sorted(_KINDS), inside, strict=True))
        shared = {kind for kind in _KINDS if first.namespaces()[kind] == own[kind]}
        assert shared == {"time", "user"}
        assert {kind for kind in _KINDS if first.namespaces()[kind] == second.namespaces()[kind]} == shared


def test_capabilities(engine: Engine) -> None:
    docker, none = frozenset(defaults.CAPABILITIES), frozenset[str]()

    with engine.run("host", ["sleep", "60"]) as container:
        assert container.capabilities() == Capabilities(docker, docker, docker, none, none)
    with engine.run("host", ["sleep", "60"], user="1000", cap_add="NET_ADMIN") as container:
        assert container.capabilities() == Capabilities(none, none, docker | {"NET_ADMIN"}, none, none)


@pytest.mark.parametrize("init", [False, True])
def test_a_reaper_may_do_what_its_command_may(engine: Engine, init: bool) -> None:
    options: dict[str, Any] = {"cap_drop": "ALL", "cap_add": "CHOWN", "user": "1:2", "group_add": ["3"]}

    with engine.run("host", ["sleep", "60"], init=init, **options) as container:
        assert container.capabilities().bounding == {"CHOWN"}
        assert container.capabilities().effective == frozenset()
        assert container.seccomp() == "filter"
        assert container.user() == ProcessUser(1, 2, frozenset({2, 3}))


def test_a_reaper_shows_nothing_of_this_machine(engine: Engine) -> None:
    looks = (
        "cat /proc/1/environ; readlink /proc/1/exe /proc/1/cwd; readlink /proc/1/fd/*; tr '\\0' ' ' < /proc/1/cmdline"
    )
    script = f"{looks}; true"

    with engine.run("host", ["sh", "-c", script], init=True, cap_add="SYS_PTRACE") as container:
        container.wait(_SECONDS)
        said = container.logs()

    assert "python" not in said
    assert "pycontainer" not in said
    assert "PATH" not in said
    assert "/sbin/docker-init -- sh" in said
    assert not [link for link in said.split() if link.startswith(("socket:", "anon_inode:"))]


def test_no_reaper_may_be_looked_into(engine: Engine) -> None:
    with engine.run("host", ["sleep", "60"], init=True) as container:
        for name in ("environ", "exe", "fd/0", "maps"):
            assert container.exec(["sh", "-c", f"cat /proc/1/{name}"]).exit_code != 0


def test_no_new_privileges(engine: Engine) -> None:
    with engine.run("host", ["sleep", "60"]) as container:
        assert not container.no_new_privileges()
    with engine.run("host", ["sleep", "60"], security_opt="no-new-privileges") as container:
        assert container.no_new_privileges()


def test_without_a_filter(engine: Engine) -> None:
    with engine.run("host", ["sleep", "60"], security_opt="seccomp=unconfined") as container:
        assert container.seccomp() == "disabled"


def test_users(engine: Engine) -> None:
    with engine.run("host", ["sleep", "60"]) as container:
        assert container.user().uid == 0
        assert container.id_map() is None
    with engine.run("host", ["sleep", "60"], user="5:6", userns="auto") as container:
        assert container.user() == ProcessUser(5, 6, frozenset({6}))
        assert (ids := container.id_map()) is not None
        assert f"\nUid:\t{ids.uid + 5}\t" in Path(f"/proc/{container.pid}/status").read_text()


def test_a_security_label(engine: Engine) -> None:
    with engine.run("host", ["sleep", "60"]) as container:
        try:
            label = Path(f"/proc/{container.pid}/attr/current").read_text().strip("\0\n")
        except OSError:
            label = ""
        assert container.security_label() == label


def test_another_engine_is_told_the_same(engine: Engine) -> None:
    with engine.run("host", ["sleep", "60"], userns="auto") as container, Engine(engine.settings) as other:
        found = other.find(container.name)

        assert found.namespaces() == container.namespaces()
        assert found.capabilities() == container.capabilities()
        assert found.id_map() == container.id_map()


@pytest.mark.parametrize(
    "ask", ["namespaces", "capabilities", "seccomp", "no_new_privileges", "user", "security_label"]
)
def test_only_what_runs_can_be_asked(engine: Engine, ask: str) -> None:
    with engine.create("host", ["true"]) as container:
        with pytest.raises(ContainerNotRunningError, match="it is created"):
            getattr(container, ask)()
        container.start()
        container.wait(_SECONDS)
        with pytest.raises(ContainerNotRunningError, match="it is exited"):
            getattr(container, ask)()
    with pytest.raises(ContainerNotFoundError):
        getattr(container, ask)()


@pytest.mark.parametrize("user", ["nobodys", "root:nogroups", "0:nogroups", "4294967296"])
@pytest.mark.parametrize("init", [False, True])
def test_an_unknown_user_or_group(engine: Engine, user: str, init: bool) -> None:
    with pytest.raises(ContainerStartError, match=r"no such (user|group) in the image"):
        engine.run("host", ["true"], user=user, init=init)
