"""Stages that are built at the same time, and what becomes of them when one fails or the caller gives up."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

from pytest_pycontainer.build.execute import build_image
from pytest_pycontainer.build.progress import Event, OutputLine, StageEnded, StepFailed, StepStarted
from pytest_pycontainer.build.request import BuildRequest
from pytest_pycontainer.errors import BuildStepFailedError, CopySourceNotFoundError

Builder = Any  # importlib mode keeps conftest.py out of reach


def events_of(builder: Builder, dockerfile: str) -> list[Event]:
    (builder.context / "Dockerfile").write_text(dockerfile)
    events: list[Event] = []
    build_image(builder.store, BuildRequest(context=builder.context), builder.tools(events.append))
    return events


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("stage ")]


def test_stages_that_do_not_need_each_other_run_at_the_same_time(builder: Builder) -> None:
    image = builder.build(
        "FROM host AS a\nRUN meet;write /a 1\nFROM host AS b\nRUN meet;nothing;write /b 2\n"
        "FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n"
    )
    assert builder.files(image) == {"a": "1", "b": "2"}


def test_a_stage_runs_until_it_needs_another(builder: Builder) -> None:
    """The last stage meets the one that it copies from before that is done."""
    image = builder.build(
        "FROM host AS a\nRUN meet;write /a 1\nFROM scratch\nRUN meet;nothing\nCOPY --from=a /a /\nRUN write /b 2\n"
    )
    assert builder.files(image) == {"a": "1", "b": "2"}


def test_lines_come_in_the_dockerfiles_order(builder: Builder) -> None:
    """The second stage ends before the first can: what it said waits."""
    builder.build(
        "FROM host AS a\nRUN print a1;meet;print a2\nFROM host AS b\nRUN print b1;meet;write /b 1\n"
        "FROM a\nRUN print c1\nCOPY --from=b /b /\n"
    )
    told = [line for line in builder.lines if line.startswith("Step") or line in ("a1", "a2", "b1", "c1")]
    assert told == [
        "Step 1/7 : FROM host AS a",
        "Step 2/7 : RUN print a1;meet;print a2",
        "a1",
        "a2",
        "Step 3/7 : FROM host AS b",
        "Step 4/7 : RUN print b1;meet;write /b 1",
        "b1",
        "Step 5/7 : FROM a",
        "Step 6/7 : RUN print c1",
        "c1",
        "Step 7/7 : COPY --from=b /b /",
    ]


def test_stages_that_are_the_same_are_built_once(builder: Builder) -> None:
    text = (
        "FROM host AS a\nRUN write /x 1\nFROM host AS b\nRUN write /x 1\n"
        "FROM scratch\nCOPY --from=a /x /\nCOPY --from=b /x /y\n"
    )
    builder.build(text)
    assert len(builder.executor.runs) == 1
    builder.build(text, no_cache=True)
    assert len(builder.executor.runs) == 2


def test_a_stage_that_fails_ends_the_others_at_once(builder: Builder) -> None:
    with pytest.raises(BuildStepFailedError) as caught:
        builder.build(
            "FROM host AS slow\nRUN hang;write /a 1\nFROM host AS bad\nRUN meet;print because;fail 3\n"
            "FROM scratch\nCOPY --from=slow /a /\nCOPY --from=bad /a /\n"
        )
    assert (caught.value.step, caught.value.steps, caught.value.exit_code) == (4, 7, 3)
    assert caught.value.output == "because"
    assert threads() == []
    assert "because" in builder.lines
    assert not any(line.startswith("Step 6") for line in builder.lines)


def test_the_last_stage_ends_the_others_too(builder: Builder) -> None:
    with pytest.raises(BuildStepFailedError):
        builder.build("FROM host AS slow\nRUN hang\nFROM scratch\nRUN meet;fail 1\nCOPY --from=slow /a /\n")
    with pytest.raises(CopySourceNotFoundError):
        builder.build("FROM host AS other\nRUN nothing\nFROM scratch\nCOPY none /\nCOPY --from=other /a /\n")
    assert threads() == []


@pytest.mark.parametrize(
    "where", ["FROM host AS a\nRUN hang", "FROM host AS a\nRUN hang\nFROM scratch\nCOPY --from=a / /"]
)
def test_ctrl_c_ends_all(builder: Builder, where: str) -> None:
    """The caller waits for a step of its own, or for another stage's thread."""
    main = threading.main_thread().ident
    assert main is not None

    def press() -> None:
        builder.executor.meeting.wait(30)
        signal.pthread_kill(main, signal.SIGINT)
        if "FROM scratch" not in where:
            builder.executor.interrupted.set()

    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        builder.build(f"{where}\n")
    thread.join()
    assert threads() == []
    assert builder.executor.interrupted.is_set()


def test_a_failure_leaves_what_was_done_for_the_next_build(builder: Builder) -> None:
    text = "FROM host AS a\nRUN write /a 1\nFROM host\nCOPY --from=a /a /\nRUN {}\n"
    with pytest.raises(BuildStepFailedError):
        builder.build(text.format("fail 1"))
    builder.build(text.format("nothing"))
    assert builder.cached == [True, True, False]


def test_a_chain_of_many_stages_is_built(builder: Builder) -> None:
    """More stages than may work at a time, each waiting for the one above it."""
    stages = ["FROM host AS s0\nRUN write /x 0\n"]
    stages += [f"FROM host AS s{n}\nCOPY --from=s{n - 1} /x /x\nRUN write /y{n} {n}\n" for n in range(1, 30)]
    image = builder.build("".join(stages))
    assert builder.files(image) == {"x": "0", "y29": "29"}


def test_events_say_what_happens_where(builder: Builder) -> None:
    events = events_of(builder, "FROM host AS a\nRUN print one\nFROM a\nENV a=1\n")
    assert [event for event in events if isinstance(event, StepStarted)] == [
        StepStarted(0, 1, 4, "FROM host AS a"),
        StepStarted(0, 2, 4, "RUN print one"),
        StepStarted(1, 3, 4, "FROM a"),
        StepStarted(1, 4, 4, "ENV a=1"),
    ]
    assert OutputLine(0, "one") in events
    assert [event.stage for event in events if isinstance(event, StageEnded)] == [0, 1]
    assert not any(isinstance(event, StepFailed) for event in events)
