"""The probe in containers of ours, and what it reports compared with what Docker's have reported."""

from __future__ import annotations

import json
import platform

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pytest_pycontainer import Engine
from pytest_pycontainer.engine.privileges import parse_privileges
from pytest_pycontainer.runtime.seccomp_default import DEFAULT_PROFILE
from tests.probe.comparison import Deliberate, Difference, differences, sort_out
from tests.probe.containers import OurContainers
from tests.probe.deliberate import DELIBERATE
from tests.probe.docker_profile import docker_profile
from tests.probe.recorded import RECORDED, is_here, kept, ranges, recorded, recorded_machine
from tests.probe.variants import VARIANTS

_VARIANTS = {variant.name: variant for variant in VARIANTS}


@pytest.mark.skipif(platform.machine() != recorded_machine(), reason=f"what is recorded is of {recorded_machine()}")
@pytest.mark.parametrize("name", RECORDED)
def test_nothing_but_what_is_meant_differs_from_docker(engine: Engine, name: str) -> None:
    report = OurContainers(engine, "host", carried_out=False).probe(_VARIANTS[name])
    found = [each for each in differences(recorded(name), kept(name, report)) if is_here(each.place)]
    unexpected, _ = sort_out(name, found, DELIBERATE)
    assert not unexpected, "\n".join(map(str, unexpected))


def test_what_differs_is_found_and_told() -> None:
    theirs = {"calls": {"1": "EPERM", "2": "done"}, "mounts": ["a"], "gone": {}}
    ours = {"calls": {"1": "done", "2": "done"}, "mounts": ["b"], "new": "x"}
    found = differences(theirs, ours)
    assert found == [
        Difference("calls > 1", "EPERM", "done"),
        Difference("mounts", "['a']", "['b']"),
        Difference("gone", "{}", "—"),
        Difference("new", "—", "x"),
    ]
    meant = [Deliberate("because", r"calls > \d", "EPERM", variants="some"), Deliberate("so", "gone|new")]
    unexpected, deliberate = sort_out("some", found, meant)
    assert unexpected == [found[1]]
    assert deliberate == {"because": [found[0]], "so": found[2:]}
    assert sort_out("another", found, meant)[0] == found[:2]


@given(some.sets(some.integers(0, 500)))
def test_ranges_are_the_same_numbers(numbers: set[int]) -> None:
    back = [
        number
        for text in ranges(sorted(numbers))
        for number in range(int(text.partition("-")[0]), int(text.rpartition("-")[2]) + 1)
    ]
    assert back == sorted(numbers)


def test_the_profile_that_docker_is_given_is_ours() -> None:
    text = docker_profile(DEFAULT_PROFILE)
    assert json.loads(text)["defaultErrnoRet"] == 1
    for capabilities in ((), ("SYS_ADMIN",), ("ALL",)):
        ours, theirs = (
            parse_privileges(False, capabilities, None, [f"seccomp={profile}"]) for profile in ("builtin", text)
        )
        assert ours.system_call_filter == theirs.system_call_filter
