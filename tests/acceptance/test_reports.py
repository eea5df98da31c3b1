"""What a run says: about its containers when a test fails, and about errors of ours."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

import pytest

RunPytest = Callable[..., pytest.RunResult]


def test_a_failing_test_shows_its_containers(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("""
        import pytest
        from pytest_pycontainer import container, wait
        chatty = container("host", ["sh", "-c", "seq 100; exec sleep 1000"], name="chatty", wait=wait.log("^100$"))
        quiet = container("host", ["sh", "-c", "exit 5"], name="silent")
        @pytest.fixture
        def indirect(quiet):
            quiet.wait(60)
        def test_fails(chatty, indirect, pycontainer):
            by_hand = pycontainer.run("host", "sleep 1000", name="by-hand")
            assert chatty is by_hand
    """)
    result = run_pytest("-p", "no:randomly")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*- Container chatty -*",
            "chatty, image host, running",
            "(earlier lines left out)",
            "61",
            "100",
            "*- Container quiet -*",
            "silent, image host, exited with code 5",
            "(it printed nothing)",
            "*- Container by-hand -*",
        ]
    )
    result.stdout.no_fnmatch_line("60")


def test_a_failing_test_shows_what_is_unhealthy(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("""
        from pytest_pycontainer import container
        sick = container("host", "sleep 1000", health_cmd="echo no; exit 4", health_interval=0.03, health_retries=1,
                         wait=None)
        def test_fails(sick):
            assert sick.await_health(30).status == "healthy"
    """)
    result = run_pytest("-p", "no:randomly")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*- Container sick -*",
            "*, image host, running, unhealthy",
            "(it printed nothing)",
            "(the last probes of its health:)",
            "*, exit code 4: no",
        ]
    )


def test_a_failing_test_shows_no_container_of_another(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("""
        from pytest_pycontainer import container
        server = container("host", "sleep 1000", scope="session")
        def test_passes(server): pass
        def test_fails(): assert False
        def test_fails_with_engine(pycontainer): assert False
    """)
    result = run_pytest("-p", "no:randomly")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.no_fnmatch_line("*- Container *")


def test_an_error_of_ours_is_shown_at_the_callers_line(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("""
        from pytest_pycontainer import build, container
        missing = container("no-such-image", pull="never")
        class TestInFixture:
            def test_fixture(self, missing): pass
        def call(engine):
            engine.run("host", "redis-serverr")
        def test_by_hand(pycontainer):
            call(pycontainer)
    """)
    result = run_pytest("-p", "no:randomly")
    result.assert_outcomes(failed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            '>   missing = container("no-such-image", pull="never")',
            "E   *ImageNotFoundError: no image *",
            "*.py:2: ImageNotFoundError",
            ">       call(pycontainer)",
            '>       engine.run("host", "redis-serverr")',
            'E       *CommandNotFoundError: cannot start *: exec "redis-serverr": no such file in the image*',
            "*.py:6: CommandNotFoundError",
        ]
    )
    result.stdout.no_fnmatch_line("*pytest_pycontainer/*")
    run_pytest("--full-trace").stdout.fnmatch_lines(["*pytest_pycontainer/engine/*"])


def test_an_unusable_setting_is_one_message(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("def test(pycontainer): pass")
    result = run_pytest("--pycontainer-root", __file__)
    assert result.ret is pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: invalid --pycontainer-root '{__file__}': wanted a directory*"])
    assert len(result.stderr.lines) <= 2


def test_a_failing_build_shows_its_progress_and_output(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    (project.mkdir("broken") / "Dockerfile").write_text("FROM host\nRUN echo before; exit 9\n")
    project.makepyfile("""
        from pytest_pycontainer import build
        broken = build("broken")
        def test(broken): pass
    """)
    result = run_pytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            '>   broken = build("broken")',
            "E   *BuildStepFailedError: step 2/2 (RUN echo before; exit 9) exited with code 9*",
            "E *before",
            "*- Captured stderr setup -*",
            "Step 1/2 : FROM host",
            "Step 2/2 : RUN echo before; exit 9",
        ]
    )


def test_a_build_shows_its_progress_with_s(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("""
        from pytest_pycontainer import build
        image = build("sleeper")
        def test(image): pass
    """)
    run_pytest("-s").stderr.fnmatch_lines(["Step 1/2 : FROM host"])
    quiet = run_pytest()
    quiet.assert_outcomes(passed=1)
    quiet.stderr.no_fnmatch_line("*Step*")


def test_a_report_says_where_a_container_is_and_what_it_printed_in_the_test(
    project: pytest.Pytester, run_pytest: RunPytest
) -> None:
    project.makepyfile("""
        import pytest
        from pytest_pycontainer import container, wait
        server = container("host", "sleep 1000", ports=[80], wait=None, scope="module")
        def say(server, text):
            server.exec(["sh", "-c", f"echo {text} > /proc/1/fd/1"])
            wait.log("^" + text + "$").until_ready(server, 60)
        def test_passes(server): say(server, "in the first")
        def test_fails(server):
            for number in range(5): say(server, f"line {number}")
            assert False
        @pytest.fixture
        def ends_badly(server):
            yield
            assert False
        def test_ends(ends_badly, pycontainer):
            with pycontainer.run("host", ["sh", "-c", "echo of short life; exit 3"]) as short:
                short.wait(60)
        def test_last(server): pass
    """)
    result = run_pytest("-p", "no:randomly", "--pycontainer-log-lines=2", "-n1", "--junitxml=junit.xml")
    result.assert_outcomes(passed=3, failed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_ends*",
            "*- Container server -*",
            "(its log before the test ended with: line 4)",
            "(it printed nothing since)",
            "*- Container host-* -*",
            "(removed meanwhile)",
            "*, image host, exited with code 3",
            "of short life",
            "*_ test_fails _*",
            "*- Container server -*",
            "host-*, image host, running",
            "command: sleep 1000",
            "ports: 80/tcp at 127.0.0.1:*",
            "networks: bridge (*)",
            "(its log before the test ended with: in the first)",
            "(earlier lines left out)",
            "line 3",
            "line 4",
        ],
        consecutive=False,
    )
    failures = [*ElementTree.parse(project.path / "junit.xml").iter("failure")]
    assert [("Container server" in (one.text or ""), "line 4" in (one.text or "")) for one in failures] == [
        (True, True)
    ]


def test_a_fixture_that_can_not_start_shows_what_was_done(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("""
        from pytest_pycontainer import build, container, wait
        image = build(dockerfile="FROM host\\nENV A=1", tag="own:1")
        class Ready:
            what = "that it is ready"
            def until_ready(self, container, timeout):
                wait.log("busy").until_ready(container, timeout)
                wait.log("ready").until_ready(container, 0.2)
        late = container(image, ["sh", "-c", "echo still busy; exec sleep 1000"], wait=Ready())
        def test(late): pass
    """)
    result = run_pytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "E *ContainerNotReadyError: *",
            "*- Containers: what was done -*",
            " * s  built own:1  (* s)",
            " * s  started own-*  (* s)",
            " * s  waited for own-*: that it is ready  (*.* s, in vain)",
            "*- Container late -*",
            "own-*, image own:1, running",
            "still busy",
        ]
    )


def test_a_teardown_that_fails_after_the_last_test_shows_its_containers(
    project: pytest.Pytester, run_pytest: RunPytest
) -> None:
    project.makepyfile("""
        import pytest
        from pytest_pycontainer import container, wait
        server = container("host", ["sh", "-c", "echo its words; exec sleep 1000"], wait=wait.log("words"))
        @pytest.fixture
        def ends_badly(server):
            yield
            assert False
        def test_last(ends_badly): pass
    """)
    result = run_pytest()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*- Container server -*", "(removed meanwhile)", "*, image host, running", "its words"]
    )
