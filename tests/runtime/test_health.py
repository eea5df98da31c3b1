"""Docker's rules for what a probe says of a container."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.runtime.health import judge
from pytest_pycontainer.runtime.spec import HealthCheck
from pytest_pycontainer.runtime.state import HealthState, ProbeResult

CHECK = HealthCheck(("true",), retries=3)


def result(code: int) -> ProbeResult:
    return ProbeResult(0.0, 1.0, code, b"said %d" % code)


def after(codes: list[int], *, excused: int = 0, check: HealthCheck = CHECK) -> list[tuple[str, int]]:
    """Status and streak after each; the first ``excused`` are within the start period."""
    state = HealthState()
    found = []
    for number, code in enumerate(codes):
        state = judge(check, state, result(code), excused=number < excused)
        found.append((state.status, state.failing_streak))
    return found


def test_failures_in_a_row_make_it_unhealthy_and_a_success_healthy() -> None:
    assert after([1, -1, 137, 1, 0, 1, 1, 0, 1]) == [
        ("starting", 1), ("starting", 2), ("unhealthy", 3), ("unhealthy", 4), ("healthy", 0),
        ("healthy", 1), ("healthy", 2), ("healthy", 0), ("healthy", 1),
    ]  # fmt: skip


def test_in_the_start_period_failures_do_not_count() -> None:
    assert after([1, 1, 1, 1, 1], excused=4) == [("starting", 0)] * 4 + [("starting", 1)]


def test_the_first_success_ends_the_start_period() -> None:
    assert after([1, 0, 1, 1, 1], excused=5) == [
        ("starting", 0), ("healthy", 0), ("healthy", 1), ("healthy", 2), ("unhealthy", 3),
    ]  # fmt: skip


@given(st.lists(st.sampled_from([0, 1, 2, -1]), min_size=1), st.integers(0, 5), st.integers(1, 4))
def test_what_holds_after_any_probes(codes: list[int], excused: int, retries: int) -> None:
    check = HealthCheck(("true",), retries=retries)
    found = after(codes, excused=excused, check=check)
    status, streak = found[-1]
    assert (streak == 0) == (codes[-1] == 0 or (0 not in codes[: len(codes)] and len(codes) <= excused))
    assert (status == "unhealthy") == (streak >= retries)
    assert status != "starting" or 0 not in codes


def test_the_last_five_probes_are_kept() -> None:
    state = HealthState()
    for code in range(8):
        state = judge(CHECK, state, result(code), excused=False)
    assert [kept.exit_code for kept in state.log] == [3, 4, 5, 6, 7]
