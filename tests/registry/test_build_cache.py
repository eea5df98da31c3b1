"""Builds on several machines: steps taken from a registry, and one digest for one source."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer import Engine, Image, Settings
from pytest_pycontainer.errors import BuildStepFailedError, DockerfileError

if TYPE_CHECKING:
    from tests.registry.conftest import Registry

DOCKERFILE = """
FROM {base}
COPY src /src/
RUN date +%s%N > /when && mkdir /made && rm /bin/wget
ENV a=1
RUN cat /src/file > /made/copy
"""


@pytest.fixture
def new_machine(engine: Engine, tmp_path: Path) -> Iterator[Callable[[], Engine]]:
    with ExitStack() as machines:

        def make() -> Engine:
            root = tmp_path / f"machine{len(list(tmp_path.glob('machine*')))}"
            return machines.enter_context(Engine(Settings(root=root, state=engine.settings.state)))

        yield make


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "context/src").mkdir(parents=True)
    (tmp_path / "context/src/file").write_text("text\n")
    return tmp_path / "context"


def ran(lines: list[str]) -> int:
    return sum("Running in" in line for line in lines)


def output(engine: Engine, image: Image, *command: str) -> str:
    with engine.run(image, command) as c:
        assert c.wait(timeout=60) == 0
        return c.logs()


def test_steps_come_from_a_registry(
    here: Engine, new_machine: Callable[[], Engine], busybox: Image, registry: Registry, name: str, context: Path
) -> None:
    base, cache = f"{name}-base", f"{name}-cache"
    here.push(busybox, base)
    text = DOCKERFILE.format(base=base)
    one, other = new_machine(), new_machine()
    built = one.build(context, dockerfile=text)
    one.push(built, cache)
    lines: list[str] = []
    again = other.build(context, dockerfile=text, cache_from=cache, progress=lines.append)
    assert again.id == built.id
    assert ran(lines) == 0
    assert sum("Using cache" in line for line in lines) == 4
    assert output(other, again, "cat", "/when", "/made/copy") == output(one, built, "cat", "/when", "/made/copy")
    # What comes after a change is made here, and its layers are not asked for.
    third = new_machine()
    changed = text.replace("ENV a=1", "ENV a=2")
    before = len(registry.requests(cache))
    image = third.build(context, dockerfile=changed, cache_from=[cache], progress=lines.append)
    assert ran(lines) == 1
    assert output(third, image, "cat", "/when") == output(one, built, "cat", "/when")
    blobs = [line for line in registry.requests(cache)[before:] if line.startswith("GET blobs/")]
    assert len(blobs) == 3, blobs  # the config, and the layers of two steps


def test_one_source_one_digest(
    here: Engine,
    new_machine: Callable[[], Engine],
    busybox: Image,
    name: str,
    context: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    here.push(busybox, f"{name}-base")
    text = DOCKERFILE.format(base=f"{name}-base").replace("date +%s%N > /when", "touch /when")
    digests = []
    for age in (0, 1_800_000_000):
        machine = new_machine()
        os.utime(context / "src/file", (age, age))
        image = machine.build(context, dockerfile=text, labels={"b": "2", "a": "1"})
        digests.append((image.id, machine.push(image, f"{name}-{age}")))
    assert digests[0] == digests[1]


def test_another_platforms_base_is_pulled_and_cannot_run_here(
    here: Engine, new_machine: Callable[[], Engine], name: str, tmp_path: Path
) -> None:
    (tmp_path / "program").write_bytes(b"\x7fELF of another machine")
    (tmp_path / "program").chmod(0o755)
    text = 'FROM scratch\nCOPY program /bin/sh\nCMD ["/bin/sh"]\n'
    foreign = here.build(tmp_path, dockerfile=text, platform="linux/s390x")
    assert (foreign.config.os, foreign.config.architecture) == ("linux", "s390x")
    here.push(foreign, name)
    machine = new_machine()
    for platform, flag in ((None, "--platform=linux/s390x "), ("linux/s390x", "")):
        image = machine.build(dockerfile=f"FROM {flag}{name}\nENV a=1\nARG TARGETARCH\n", platform=platform)
        assert image.config.architecture == "s390x"
        with pytest.raises(BuildStepFailedError, match="the image is for linux/s390x"):
            machine.build(dockerfile=f"FROM {flag}{name}\nRUN true\n", platform=platform)
    with pytest.raises(DockerfileError, match="its image can't be linux/s390x"):
        machine.build(dockerfile="FROM host\nENV a=1\n", platform="linux/s390x")
