"""What a build shares with the same build on another machine: steps, and with SOURCE_DATE_EPOCH its digest."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_pycontainer.errors import InvalidSpecError

Builder = Any
EPOCH = 1_700_000_000
DOCKERFILE = """
FROM scratch AS a
RUN write /a 1
FROM scratch
ARG v
COPY src /srv/
RUN write /b 2
COPY --from=a /a /a
CMD x
"""


@pytest.fixture
def machine(tmp_path: Path, builder: Builder) -> Callable[[], Builder]:
    def make() -> Builder:
        directory = tmp_path / f"machine{time.monotonic_ns()}"
        directory.mkdir()
        other = type(builder)(directory)
        (other.context / "src").mkdir()
        (other.context / "src/file").write_text("text")
        return other

    return make


def share(builder: Builder, other: Builder, reference: str) -> None:
    """Gives ``other`` an image with its layers, as a registry would, and none of what is known about its steps."""
    image = builder.store.image(reference)
    for diff_id, layer in zip(image.config.diff_ids[::-1], builder.store.layer_directories(image.config), strict=True):
        os.system(f"cp -a {layer} {other.store.layers / diff_id.removeprefix('sha256:')}")
    other.store.put_image(image.config)
    other.store.tag(image.id, reference)


def test_steps_are_taken_from_an_image_of_another_machine(machine: Callable[[], Builder]) -> None:
    here, there = machine(), machine()
    built = here.build(DOCKERFILE, tags=["shared"])
    share(here, there, "shared")
    again = there.build(DOCKERFILE, cache_from=("shared",))
    assert there.files(again) == {"srv/file": "text", "b": "2", "a": "1"}
    # The first stage is not in the image, and so it is run, and makes the same.
    assert [step.command[-1] for _, step in there.executor.runs] == ["write /a 1"]
    assert again == built


def test_what_has_changed_is_not_taken(machine: Callable[[], Builder]) -> None:
    here, there = machine(), machine()
    here.build(DOCKERFILE, tags=["shared"])
    share(here, there, "shared")
    (there.context / "src/file").write_text("changed")
    image = there.build(DOCKERFILE, cache_from=("shared",))
    assert there.files(image)["srv/file"] == "changed"
    assert len(there.executor.runs) == 2
    there = machine()
    share(here, there, "shared")
    there.build(DOCKERFILE, args={"v": "1"}, cache_from=("shared",))
    assert len(there.executor.runs) == 2
    there = machine()
    share(here, there, "shared")
    there.build(DOCKERFILE, no_cache=True, cache_from=("shared",))
    assert len(there.executor.runs) == 2


def test_a_step_is_only_taken_onto_the_layers_that_it_was_made_on(machine: Callable[[], Builder]) -> None:
    """The same instruction, but the step before it has made something else this time."""
    here, there = machine(), machine()
    text = "FROM scratch\nRUN now /a\nRUN write /b 1\n"
    here.build(text, tags=["shared"])
    share(here, there, "shared")
    # A cache of its own has the first step's result already.
    there.build("FROM scratch\nRUN now /a\n")
    there.build(text, cache_from=("shared",))
    assert [step.command[-1] for _, step in there.executor.runs] == ["now /a", "write /b 1"]


def test_an_image_that_is_not_there_is_no_error(machine: Callable[[], Builder]) -> None:
    builder = machine()
    builder.build(DOCKERFILE, cache_from=("none",))
    assert any(line.startswith("[Warning] Nothing is taken from none") for line in builder.lines)
    builder.build(DOCKERFILE, cache_from=("none",))
    assert not any("Nothing is taken" in line for line in builder.lines)  # nothing was missing, so nobody looked


def test_with_a_date_two_machines_make_one_image(machine: Callable[[], Builder]) -> None:
    images = []
    for age in (0, 1000):
        builder = machine()
        for path in (builder.context / "src/file", builder.context / "src"):
            os.utime(path, (age, age))
        images.append(builder.build(DOCKERFILE, args={"SOURCE_DATE_EPOCH": str(EPOCH), "v": "1"}, labels={"a": "b"}))
        for layer in builder.store.layer_directories(images[-1].config):
            times = {path.lstat().st_mtime for path in layer.rglob("*")}
            assert times == {EPOCH}
    assert images[0] == images[1]
    assert {entry.created for entry in images[0].config.history} == {"2023-11-14T22:13:20Z"}


def test_times_before_the_date_stay_where_they_mean_something(builder: Builder) -> None:
    """A package's files have the times of its making."""
    image = builder.build("FROM scratch\nRUN old /a\n", args={"SOURCE_DATE_EPOCH": str(EPOCH)})
    (layer,) = builder.store.layer_directories(image.config)
    assert (layer / "a").stat().st_mtime == 1000


def test_the_date_is_the_environments_where_no_argument_says_it(
    builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "FROM scratch\nRUN write /a 1\n"
    plain = builder.build(text)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(EPOCH))
    dated = builder.build(text)
    assert dated.config.created == "2023-11-14T22:13:20Z"
    assert plain.config.created != dated.config.created
    assert builder.build(text, args={"SOURCE_DATE_EPOCH": "0"}).config.created == "1970-01-01T00:00:00Z"
    with pytest.raises(InvalidSpecError, match="whole seconds"):
        builder.build(text, args={"SOURCE_DATE_EPOCH": "yesterday"})
