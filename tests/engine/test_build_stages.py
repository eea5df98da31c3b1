"""Builds of several stages in real containers: at once, interrupted, killed, by two processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_pycontainer import Engine, Image, Settings
from pytest_pycontainer.errors import BuildStepFailedError

MEETING = (
    "FROM host AS {0}\nRUN --mount=type=cache,target=/m touch /m/{0}; i=0; until [ -e /m/{1} ]; do sleep 0.02; done\n"
)
LAST = "FROM scratch\nCOPY --from=a /etc/hostname /a\nCOPY --from=b /etc/hostname /b\n"
ENDLESS = "FROM host AS {0}\nRUN echo begun; sleep 600; echo {0}\n"


@pytest.fixture
def own(engine: Engine, tmp_path: Path) -> Iterator[Engine]:
    """An engine with an empty store."""
    with Engine(Settings(root=tmp_path / "store", state=engine.settings.state)) as own:
        yield own


def leftovers(engine: Engine) -> list[str]:
    """What an interrupted build must not leave in the store."""
    root = engine.settings.root
    engine.settle()
    return [str(path) for place in ("tmp", "containers") for path in (root / place).glob("*")]


def test_two_stages_run_in_containers_at_the_same_time(own: Engine) -> None:
    image = own.build(dockerfile=MEETING.format("a", "b") + MEETING.format("b", "a") + LAST)
    assert len(image.config.diff_ids) == 2


def test_a_failing_stage_kills_the_others_command(own: Engine) -> None:
    with pytest.raises(BuildStepFailedError) as caught:
        own.build(dockerfile=ENDLESS.format("a") + "FROM host AS b\nRUN sleep 0.3; echo why; exit 4\n" + LAST)
    assert (caught.value.exit_code, caught.value.output) == (4, "why")
    assert leftovers(own) == []


def test_ctrl_c_ends_a_build_of_several_stages(own: Engine) -> None:
    begun: list[str] = []

    def progress(line: str) -> None:
        begun.append(line)
        if line == "begun" and begun.count(line) == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        own.build(dockerfile=ENDLESS.format("a") + ENDLESS.format("b") + LAST, progress=progress)
    assert leftovers(own) == []
    assert "Step 2/7 : RUN echo begun; sleep 600; echo a" in begun


BUILD = """
import sys
from pathlib import Path
from pytest_pycontainer import Engine, Settings
root, state, dockerfile = sys.argv[1:]
with Engine(Settings(root=Path(root), state=Path(state))) as engine:
    print(engine.build(dockerfile=dockerfile, progress=lambda line: print(line, flush=True)).id)
"""


def build_elsewhere(engine: Engine, dockerfile: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILD, str(engine.settings.root), str(engine.settings.state), dockerfile]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_build_leaves_a_store_that_works(own: Engine) -> None:
    first = "FROM host AS a\nRUN echo 1 > /one\n"
    with build_elsewhere(own, first + "RUN echo begun; sleep 600\nFROM scratch\nCOPY --from=a /one /\n") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "begun\n":
                break
        process.kill()
    lines: list[str] = []
    image = own.build(dockerfile=first + "FROM scratch\nCOPY --from=a /one /\n", progress=lines.append)
    assert sum("Using cache" in line for line in lines) == 1
    assert len(image.layers) == 1
    with Engine(own.settings) as next_engine:  # which sweeps
        with next_engine.run("host", ["true"]) as c:
            assert c.wait(timeout=60) == 0
        next_engine.settle()
        own.settle()
        assert list((own.settings.root / "containers").iterdir()) == []


def test_two_processes_build_the_same_stages_once(own: Engine) -> None:
    """In opposite order, so that each holds what the other wants next."""
    stage = "FROM host AS {0}\nRUN sleep 0.5; cat /proc/sys/kernel/random/uuid > /{0}\n"
    texts = [
        stage.format(x) + stage.format(y) + "FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n"
        for x, y in ("ab", "ba")
    ]
    processes = [build_elsewhere(own, text) for text in texts]
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert said[0].splitlines()[-1] == said[1].splitlines()[-1]
    assert sum(text.count("Running in") for text in said) == 2


def test_link_takes_a_layer_whatever_lies_below(own: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    lines: list[str] = []
    text = "FROM host\nENV a={}\nCOPY --link file /file\n"
    first = own.build(tmp_path, dockerfile=text.format(1))
    second = own.build(tmp_path, dockerfile=text.format(2), progress=lines.append)
    assert first.config.diff_ids == second.config.diff_ids
    assert lines.count(" ---> Using cache") == 1


def test_a_named_context_is_a_directory_an_image_or_a_stages_place(own: Engine, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more/file").write_text("from the directory")
    (tmp_path / "more/ignored").write_text("")
    (tmp_path / "more/.dockerignore").write_text("ignored\n")
    base = own.build({"x": "from the image"}, dockerfile="FROM scratch\nCOPY x /x\n")

    def files(image: Image) -> dict[str, str]:
        return {path.name: path.read_text() for layer in image.layers for path in layer.iterdir()}

    text = "FROM base AS stage\nFROM stage\nCOPY --from=more . /\n"
    image = own.build(dockerfile=text, contexts={"base": base, "more": tmp_path / "more"})
    assert files(image) == {"x": "from the image", "file": "from the directory", ".dockerignore": "ignored\n"}
    text = "FROM host AS stage\nRUN exit 1\nFROM scratch\nCOPY --from=stage /x /x\n"
    assert files(own.build(dockerfile=text, contexts={"stage": f"docker-image://{base.id}"})) == {"x": "from the image"}
