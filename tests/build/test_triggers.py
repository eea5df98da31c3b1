"""ONBUILD: what a base image wants done first."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pytest_pycontainer.errors import BuildStepFailedError, DockerfileError
from pytest_pycontainer.image.config import ImageConfig

Builder = Any


def test_triggers_run_first_in_the_child_and_end_there(builder: Builder) -> None:
    (builder.context / "app").write_text("code")
    base = builder.build(
        "FROM host\nONBUILD ARG v=1\nONBUILD RUN write /made $v\nONBUILD COPY app /app\nONBUILD ENV a=$v\n",
        tags=["base"],
    )
    assert len(base.config.on_build) == 4
    assert builder.files(base) == {}
    child = builder.build("FROM base\nENV b=$a\n", args={"v": "2"}, tags=["child"])
    assert child.config.on_build == ()
    assert builder.files(child) == {"made": "$v", "app": "code"}
    assert child.config.env[-2:] == ("a=2", "b=2")
    grandchild = builder.build("FROM child\nRUN nothing\n")
    assert len(grandchild.config.history) == len(child.config.history) + 1


def test_progress_of_triggers_reads_as_dockers(builder: Builder) -> None:
    builder.build("FROM host\nONBUILD RUN print hello\n", tags=["one"])
    builder.build("FROM host\nONBUILD ENV a=1\nONBUILD ENV b=1\n", tags=["two"])
    builder.build("FROM one\nENV x=1\n")
    patterns = [
        r"Step 1/2 : FROM one",
        r"# Executing 1 build trigger",
        r" ---> Running in [0-9a-f]{12}",
        r"hello",
        r"Removing intermediate container [0-9a-f]{12}",
        r" ---> [0-9a-f]{12}",
        r"Step 2/2 : ENV x=1",
        r" ---> [0-9a-f]{12}",
        r"Successfully built [0-9a-f]{12}",
    ]
    assert len(builder.lines) == len(patterns)
    assert all(map(re.fullmatch, patterns, builder.lines)), builder.lines
    builder.build("FROM one\n")
    assert builder.lines[1:3] == ["# Executing 1 build trigger", " ---> Using cache"]
    builder.build("FROM two\n")
    assert builder.lines[1] == "# Executing 2 build triggers"


def test_a_stage_that_stands_on_one_with_triggers_carries_them_out(builder: Builder) -> None:
    image = builder.build("FROM host AS a\nONBUILD RUN write /x 1\nFROM a\nENV b=1\n")
    assert builder.files(image) == {"x": "1"}


def test_a_trigger_copies_from_a_stage(builder: Builder) -> None:
    builder.build("FROM scratch\nONBUILD COPY --from=made /x /x\n", tags=["base"])
    image = builder.build("FROM host AS made\nRUN write /x 1\nFROM base\n")
    assert builder.files(image) == {"x": "1"}


def test_a_trigger_that_fails_says_which_step(builder: Builder) -> None:
    builder.build("FROM host\nONBUILD RUN fail 5\n", tags=["base"])
    with pytest.raises(BuildStepFailedError) as caught:
        builder.build("FROM base\nENV a=1\n")
    assert (caught.value.step, caught.value.instruction, caught.value.exit_code) == (1, "RUN fail 5", 5)


@pytest.mark.parametrize("trigger", ["FROM host", "ONBUILD ENV a=1", "NO such", "ENV a=1\nENV b=2"])
def test_a_trigger_that_can_be_none(builder: Builder, trigger: str) -> None:
    """Somebody else has made the image."""
    config = ImageConfig(architecture="amd64", os="linux", on_build=(trigger,))
    builder.store.tag(builder.store.put_image(config), "bad")
    with pytest.raises(DockerfileError) as caught:
        builder.build("FROM bad\n")
    assert caught.value.file == "ONBUILD of bad"
