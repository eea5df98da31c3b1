"""Images are listed, removed and pruned while containers of this and other processes run on them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_pycontainer import Engine, Settings
from pytest_pycontainer.errors import ImageInUseError, ImageNotFoundError, InvalidReferenceError, InvalidSpecError
from pytest_pycontainer.image import digest as digests

ON_HOST = "FROM host\nRUN head -c 300000 /dev/urandom > /{name}\nRUN echo hello > /{name}-2\nCMD cat /{name}-2\n"


@pytest.fixture
def other(engine: Engine, tmp_path: Path) -> Iterator[Engine]:
    """An engine with a store of its own."""
    with Engine(Settings(root=tmp_path / "store", state=engine.settings.state)) as other:
        yield other


def build(engine: Engine, tmp_path: Path, name: str, *, tag: str | None = None) -> str:
    context = tmp_path / f"context-{name}"
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text(ON_HOST.format(name=name))
    return engine.build(context, tag=tag).id


def test_listing(other: Engine, tmp_path: Path) -> None:
    image = other.image(build(other, tmp_path, "a", tag="app:1"))
    dangling = build(other, tmp_path, "b")
    other.tag(image, "app:2")
    assert [listed.name for listed in other.images()] == ["app:1", "app:2", dangling]
    assert image.tags == ("app:1", "app:2")
    assert image.digests == ()
    assert image.size > 300_000
    assert len(other.images(all=True)) == 3 + 2 * 2  # two steps before the last of each
    with pytest.raises(InvalidReferenceError, match="a digest is not given"):
        other.tag(image, f"app@{digests.of(b'')}")


def test_a_container_keeps_its_image(other: Engine, tmp_path: Path) -> None:
    build(other, tmp_path, "a", tag="app")
    with other.run("app", ["sleep", "60"], name="keeper") as container:
        with pytest.raises(ImageInUseError) as caught:
            other.remove("app")
        assert caught.value.containers == ("keeper",)
        assert other.prune(all=True).deleted == ()
        assert container.exec(["cat", "/a-2"]).stdout == "hello\n"
        assert other.image("app").tags == ("app:latest",)
        usage = other.disk_usage()
        assert (usage.images.count, usage.images.in_use, usage.images.reclaimable_bytes) == (1, 1, 0)
        assert (usage.containers.count, usage.containers.running) == (1, 1)
    assert other.prune().deleted == ()
    assert len(other.prune(all=True).deleted) == 3
    usage = other.disk_usage()
    assert (usage.total_bytes, usage.build_cache.records) == (0, 0)


def test_usage_is_counted_once(other: Engine, tmp_path: Path) -> None:
    image = other.image(build(other, tmp_path, "a", tag="app"))
    build(other, tmp_path, "b")
    usage = other.disk_usage()
    assert (usage.images.count, usage.images.in_use) == (1, 0)
    assert usage.images.bytes == usage.images.reclaimable_bytes == image.size
    assert usage.build_cache.records == 6
    assert usage.build_cache.bytes > 300_000
    assert usage.total_bytes == usage.images.bytes + usage.build_cache.bytes


def test_a_handle_of_a_removed_image_is_no_image(other: Engine, tmp_path: Path) -> None:
    image = other.image(build(other, tmp_path, "a", tag="app"))
    assert other.remove("app").deleted[0] == image.id
    with pytest.raises(ImageNotFoundError):
        other.run(image)
    with pytest.raises(ImageNotFoundError):
        other.remove(image)


def test_running_an_image_is_using_it(other: Engine, tmp_path: Path) -> None:
    for name in ("a", "b"):
        file = other._resources.store.used / build(other, tmp_path, name, tag=name)[7:]
        if not file.exists():
            file.touch()
        os.utime(file, (1, 1))
        os.utime(other._resources.store.config_file(f"sha256:{file.name}"), (1, 1))
    with other.run("a") as container:
        container.wait(30)
    assert other.prune(all=True, unused_for=3600).untagged == ("b:latest",)


@pytest.mark.parametrize(
    "given", [{"older_than": "1h"}, {"unused_for": -1}, {"keep_bytes": "much"}, {"keep_bytes": -1}]
)
def test_filters_that_make_no_sense(other: Engine, given: dict[str, object]) -> None:
    with pytest.raises(InvalidSpecError):
        other.prune(**given)  # type: ignore[arg-type]


OWNER = """
import sys, time
from pathlib import Path
from pytest_pycontainer import Engine, Settings
with Engine(Settings(root=Path(sys.argv[1]), state=Path(sys.argv[2]))) as engine:
    container = engine.run("app", ["sleep", "60"], name="elsewhere")
    print("running", flush=True)
    time.sleep(60)
"""


def test_containers_of_other_processes_count_until_they_are_dead(other: Engine, tmp_path: Path) -> None:
    image = build(other, tmp_path, "a", tag="app")
    command = [sys.executable, "-c", OWNER, str(other.settings.root), str(other.settings.state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        try:
            assert owner.stdout.readline() == b"running\n"
            with pytest.raises(ImageInUseError, match="elsewhere"):
                other.remove("app")
            assert other.disk_usage().containers.running == 1
        finally:
            os.kill(owner.pid, signal.SIGKILL)
            owner.wait(10)
    _await_removal(other, "app")
    with pytest.raises(ImageNotFoundError):
        other.image(image)


def _await_removal(engine: Engine, reference: str) -> None:
    """Removes an image once the monitor of its last container is gone too, which sees its owner's end in a moment."""
    for _ in range(2000):
        try:
            engine.remove(reference)
        except ImageInUseError:
            os.sched_yield()
        else:
            return
    raise AssertionError(f"{reference} is still in use")


CHURN = """
import sys
from pathlib import Path
from pytest_pycontainer import Engine, Settings
from pytest_pycontainer.errors import ImageNotFoundError
what, root, state, context = sys.argv[1], *map(Path, sys.argv[2:5])
with Engine(Settings(root=root, state=state)) as engine:
    print("ready", flush=True)
    for _ in range(int(sys.argv[5])):
        try:
            if what == "build":
                engine.build(context, tag="churn")
            elif what == "remove":
                engine.remove("churn", force=True)
            elif what == "prune":
                engine.prune(all=True, unused_for=0)
            elif what == "run":
                with engine.run("churn", pull="never") as container:
                    assert container.wait(30) == 0, container.logs()
                    assert container.logs() == "hello\\n", container.logs()
        except ImageNotFoundError:
            pass
"""


def churn(what: str, engine: Engine, tmp_path: Path, *, times: int) -> list[str]:
    """A process that does one thing again and again."""
    settings = engine.settings
    places = (settings.root, settings.state, tmp_path / "context-churn")
    return [sys.executable, "-c", CHURN, what, *map(str, places), str(times)]


def test_what_runs_while_others_remove_runs_or_is_not_found(other: Engine, tmp_path: Path) -> None:
    build(other, tmp_path, "churn", tag="churn")
    running = [
        subprocess.Popen(churn(what, other, tmp_path, times=12), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for what in ("run", "run", "build", "remove", "prune")
    ]
    results = [(process.communicate(timeout=120)[1].decode(), process.returncode) for process in running]
    assert results == [("", 0)] * len(running)


@pytest.mark.parametrize("what", ["build", "remove", "prune"])
def test_a_crash_at_any_moment_needs_no_repair(other: Engine, tmp_path: Path, what: str) -> None:
    build(other, tmp_path, "kept", tag="kept")
    with other.run("kept", ["sleep", "600"], name="stays") as stays:
        for number in range(8):
            build(other, tmp_path, "churn", tag="churn")
            with subprocess.Popen(churn(what, other, tmp_path, times=1_000_000), stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                # The builds' result is taken away meanwhile, so that there is something to build or remove.
                assert process.stdout.readline() == b"ready\n"
                for _ in range(number):
                    if what != "build":
                        build(other, tmp_path, "churn", tag="churn")
                    elif any(image.name == "churn:latest" for image in other.images()):
                        other.remove("churn")
                os.kill(process.pid, signal.SIGKILL)
                process.wait(10)
            build(other, tmp_path, "churn", tag="churn")
            for name in ("churn",) if what == "prune" else ("churn", "kept"):
                with other.run(name) as container:
                    assert container.wait(30) == 0
                    assert container.logs() == "hello\n"
            assert stays.exec(["cat", "/kept-2"]).stdout == "hello\n"
    other.prune(all=True)
    store = other._resources.store
    assert [list(path.iterdir()) for path in (store.layers, store.names, store.temporary, store.locks)] == [
        [],
        [],
        [],
        [],
    ]
