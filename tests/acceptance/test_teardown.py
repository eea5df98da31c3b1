"""However a run ends, and in whatever mode it runs, what its fixtures have made is torn down."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

RunPytest = Callable[..., pytest.RunResult]

PATIENCE = 60.0


def containers_left() -> list[str]:
    return [left.name for left in Path(os.environ["PYCONTAINER_ROOT"], "containers").iterdir()]


def read_to(stream: IO[bytes], sign: bytes) -> None:
    """Reads lines to the one with the sign; a pytest that ends before has no more of them."""
    lines = []
    for line in stream:
        lines.append(line)
        if sign in line:
            return
    pytest.fail(b"".join(lines).decode())


def test_an_interrupt_in_a_fixture_tears_down_what_is_set_up(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("""
        import pytest
        from pytest_pycontainer import container
        server = container("host", "sleep 1000", network="none", scope="session")
        other = container("host", "sleep 1000", network="none")
        @pytest.fixture
        def interrupted(server, other): raise KeyboardInterrupt
        def test(interrupted): pass
    """)
    assert run_pytest().ret == pytest.ExitCode.INTERRUPTED
    assert containers_left() == []


def test_a_failing_teardown_is_shown_once_and_leaves_the_others_to_be_torn_down(
    project: pytest.Pytester, run_pytest: RunPytest
) -> None:
    project.makepyfile("""
        import pytest
        from pytest_pycontainer import container
        first = container("host", "sleep 1000", network="none")
        @pytest.fixture
        def broken(first):
            yield
            raise RuntimeError("the teardown is broken")
        second = container("host", "sleep 1000", network="none")
        def test_fails(first, broken, second): pass
        def test_after(pycontainer): assert pycontainer.containers() == []
    """)
    result = run_pytest("-p", "no:randomly", "--setup-show")
    result.assert_outcomes(passed=2, errors=1)
    assert len(re.findall("^E .*the teardown is broken", result.stdout.str(), re.MULTILINE)) == 1
    result.stdout.fnmatch_lines(
        [
            "*SETUP    F first (fixtures used: pycontainer)",
            "*SETUP    F broken (fixtures used: first)",
            "*SETUP    F second (fixtures used: pycontainer)",
            "*TEARDOWN F second",
            "*TEARDOWN F broken",
            "*TEARDOWN F first*",
        ]
    )


def test_looping_on_failing_tests_has_fresh_containers_each_time(project: pytest.Pytester) -> None:
    test = project.makepyfile("""
        from pytest_pycontainer import container
        server = container("host", "sleep 1000", network="none", scope="session", shared=True)
        def test(server, pycontainer): assert pycontainer.containers() == [server] and False
    """)
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", "-f"], cwd=project.path, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stdout is not None
            read_to(process.stdout, b"LOOPONFAILING")
            assert containers_left() == []
            test.write_text(test.read_text().replace(" and False", ""))
            read_to(process.stdout, b"1 passed")
            process.send_signal(signal.SIGINT)
            process.stdout.read()
            process.wait(PATIENCE)
        finally:
            process.kill()
    assert containers_left() == []
