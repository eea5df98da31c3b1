from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer.errors import NetworkAttachError
from pytest_pycontainer.kernel import rtnetlink
from pytest_pycontainer.network import forwarding
from pytest_pycontainer.network.forwarding import Forwarding

if TYPE_CHECKING:
    from tests.network.conftest import Namespace

DEVICE = "wan0"
CONF = Path("/proc/sys/net/ipv4/conf")


class Router:
    """A namespace with one interface, and the state directory of its engines."""

    def __init__(self, namespace: Namespace, state: Path) -> None:
        self._namespace = namespace
        self._state = state
        namespace.routing().request([rtnetlink.create_bridge(DEVICE, 100, 1500)])

    @property
    def record(self) -> Path:
        return self._state / "forwarding/devices.json"

    def claim(self, device: str | None = DEVICE) -> Forwarding:
        return self._namespace.run(Forwarding.claim, self._state, device)

    def turn_on(self, device: str | None = DEVICE) -> Forwarding:
        forwarding = self.claim(device)
        self._namespace.run(forwarding.turn_on)
        return forwarding

    def release(self, forwarding: Forwarding) -> None:
        self._namespace.run(forwarding.release)

    def set(self, value: str, device: str = DEVICE) -> None:
        self._namespace.run((CONF / device / "forwarding").write_text, value)

    def get(self) -> str:
        return self._namespace.run((CONF / DEVICE / "forwarding").read_text).strip()


@pytest.fixture
def router(new_namespace: Callable[[], Namespace], tmp_path: Path) -> Router:
    return Router(new_namespace(), tmp_path / "state")


def test_it_is_recorded_before_it_is_turned_on_and_put_back(router: Router) -> None:
    forwarding = router.claim()
    assert (router.get(), json.loads(router.record.read_text())) == ("0", {DEVICE: "0"})
    router._namespace.run(forwarding.turn_on)
    assert (router.get(), forwarding.ours) == ("1", True)
    router.release(forwarding)
    router.release(forwarding)
    assert router.get() == "0"
    assert not router.record.exists()


def test_the_last_of_several_puts_it_back(router: Router) -> None:
    first, second = router.turn_on(), router.turn_on()
    assert first.ours
    assert second.ours
    router.release(first)
    assert router.get() == "1"
    third = router.turn_on()
    router.release(second)
    assert router.get() == "1"
    router.release(third)
    assert router.get() == "0"


def test_what_was_on_before_stays_on(router: Router) -> None:
    router.set("1")
    forwarding = router.turn_on()
    assert not forwarding.ours
    router.release(forwarding)
    assert router.get() == "1"


def test_a_machine_made_a_router_meanwhile_stays_one(router: Router) -> None:
    forwarding = router.turn_on()
    router.set("1", "all")
    router.release(forwarding)
    assert router.get() == "1"
    assert not router.record.exists()


def test_a_device_kept_from_forwarding_on_a_router_is_kept_again(router: Router) -> None:
    router.set("1", "all")
    router.set("0")
    forwarding = router.turn_on()
    router.release(forwarding)
    assert router.get() == "0"


@pytest.mark.parametrize("device", [DEVICE, None])
def test_what_a_killed_engine_left_on_is_put_back(router: Router, device: str | None) -> None:
    router.release(router.turn_on())
    router.record.write_text(json.dumps({DEVICE: "0", "gone0": "0"}))  # what a process that was killed leaves
    router.set("1")
    forwarding = router.claim(device)
    assert router.get() == "0"
    router.release(forwarding)
    assert not router.record.exists()


def test_no_way_out_is_no_error(router: Router) -> None:
    forwarding = router.turn_on(None)
    assert not forwarding.ours
    router.release(forwarding)
    assert router.get() == "0"


def test_a_record_that_nobody_can_read_is_named(router: Router) -> None:
    router.release(router.turn_on())
    router.record.write_text("[")
    with pytest.raises(NetworkAttachError, match=r"cannot read .*devices\.json: .*; delete it"):
        router.claim()
    router.record.unlink()
    router.release(router.turn_on())


def test_a_lock_that_is_never_given_back_is_named(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    router.release(router.turn_on())
    monkeypatch.setattr(forwarding, "_LOCK_TIMEOUT", 0.05)
    with (router.record.parent / "change").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(NetworkAttachError, match=r"another process has held .*change for 0\.05 s"):
            router.claim()


def test_many_at_once_leave_it_as_it_was(router: Router) -> None:
    from pytest_pycontainer.kernel import namespaces

    wrong: list[str] = []

    def come_and_go() -> None:
        namespaces.enter(router._namespace.value.descriptor, namespaces.NETWORK)
        for _ in range(20):
            forwarding = Forwarding.claim(router._state, DEVICE)
            forwarding.turn_on()
            if (CONF / DEVICE / "forwarding").read_text().strip() != "1":
                wrong.append("off while it was needed")
            forwarding.release()

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert router.get() == "0"
