"""When registries are asked, and for which platform, as an engine's settings have it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_pycontainer import Engine, Image, Settings
from pytest_pycontainer.errors import ImageNotFoundError, NoMatchingPlatformError, OfflineError
from pytest_pycontainer.image.platform import Platform

if TYPE_CHECKING:
    from tests.registry.conftest import Registry

Machine = Callable[..., Engine]


@pytest.fixture
def machine(engine: Engine, tmp_path: Path) -> Iterator[Machine]:
    """Opens engines with other settings, on one store of their own."""
    with ExitStack() as opened:

        def new(**settings: Any) -> Engine:
            wanted = Settings(root=tmp_path / "store", state=engine.settings.state, **settings)
            return opened.enter_context(Engine(wanted))

        yield new


def test_when_a_registry_is_asked(
    here: Engine, machine: Machine, busybox: Image, registry: Registry, name: str
) -> None:
    here.push(busybox, name)
    never, always, missing = machine(pull="never"), machine(pull="always"), machine()
    with pytest.raises(ImageNotFoundError):
        never.create(name)
    with pytest.raises(ImageNotFoundError):
        never.build(dockerfile=f"FROM {name}\n")
    assert not [request for request in registry.requests(name) if request.startswith("GET")]
    with missing.create(name, pull="missing"), missing.create(name):
        asked = len(registry.requests(name))
    with never.create(name):
        assert len(registry.requests(name)) == asked
    with always.create(name):
        assert len(registry.requests(name)) > asked
    asked = len(registry.requests(name))
    always.build(dockerfile=f"FROM {name}\nENV a=1\n")
    assert len(registry.requests(name)) > asked
    asked = len(registry.requests(name))
    with always.create(name, pull="missing"):
        assert len(registry.requests(name)) == asked, "a call's own word counts first"


def test_offline_no_registry_is_asked(
    here: Engine, machine: Machine, busybox: Image, registry: Registry, name: str
) -> None:
    here.push(busybox, name)
    offline = machine(offline=True)
    asked = len(registry.requests(name))
    for ask in (
        lambda: offline.create(name),
        lambda: offline.create(name, pull="always"),
        lambda: offline.pull(name),
        lambda: offline.build(dockerfile=f"FROM {name}\n"),
    ):
        with pytest.raises(OfflineError, match=f"{name}.*leave --pycontainer-offline out"):
            ask()
    machine().pull(name)
    asked = len(registry.requests(name))
    assert offline.pull(name).id == busybox.id
    with offline.create(name, pull="always"):
        offline.build(dockerfile=f"FROM {name}\nENV a=1\n")
    assert len(registry.requests(name)) == asked


def test_the_platform_that_is_wanted(machine: Machine, here: Engine, registry: Registry, name: str) -> None:
    here.push(here.build(dockerfile="FROM scratch\nENV a=1\n", platform="linux/s390x"), name)
    foreign = machine(platform="linux/s390x")
    assert foreign.build(dockerfile="FROM scratch\nENV a=1\n").config.architecture == "s390x"
    assert foreign.build(dockerfile=f"FROM {name}\nENV b=1\n").config.architecture == "s390x"
    here_too = foreign.build(dockerfile="FROM scratch\nENV a=1\n", platform=str(Platform.current()))
    assert here_too.config.architecture == Platform.current().architecture
    asked = len(registry.requests(name))
    with foreign.create(name, "/program"):
        assert len(registry.requests(name)) == asked, "what is here is for that platform"
    with pytest.raises(NoMatchingPlatformError, match=r"linux/riscv64.*there are: linux/s390x"):
        machine(platform="linux/riscv64").create(name, "/program")
