"""What fixtures wait for, and what a bare assert says of a container, in real runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

RunPytest = Callable[..., pytest.RunResult]

SERVE = "import socket, time; time.sleep(0.2); s = socket.create_server(('', 80)); time.sleep(1000)"


def test_a_fixture_is_ready_by_default(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile(f"""
        import pytest
        from pytest_pycontainer import build, container, wait
        SERVE = ["python3", "-c", {SERVE!r}]
        exposing = build({{"Dockerfile": "FROM host\\nEXPOSE 81 80\\n"}})
        check = "HEALTHCHECK --interval=10ms --start-period=60s CMD test -e /tmp/well"
        checked = build({{"Dockerfile": f"FROM host\\n{{check}}\\nEXPOSE 80\\n"}})
        published = container("host", SERVE, ports=[80])
        exposed = container(exposing, SERVE)
        healthy = container(checked, ["sh", "-c", "sleep 0.2; touch /tmp/well; exec sleep 1000"])
        neither = container("host", ["sleep", "1000"])
        off = container(exposing, ["sleep", "1000"], ports=[80], wait=None)
        dies = container(exposing, ["sh", "-c", "echo no configuration; exit 3"])
        function = container("host", SERVE, wait=wait.until(lambda c: 80 in c.listening()) & wait.port(80))
        def test_published(published): assert 80 in published.listening()
        def test_exposed(exposed): assert 80 in exposed.listening()
        def test_healthy(healthy): assert healthy.health.status == "healthy"
        def test_others(neither, off): assert 80 not in off.listening()
        def test_function(function): assert 80 in function.listening()
        def test_dies(dies): pass
    """)
    result = run_pytest()
    result.assert_outcomes(passed=5, errors=1)
    result.stdout.fnmatch_lines(
        [
            "E   *exited with code 3 before port 80 accepts a connection or port 81 accepts a connection*",
            "E       no configuration",
            "E   *Its image's exposed ports said what to wait for, since no wait was given; wait=None *",
        ]
    )


def test_a_wait_that_can_not_be_meant_is_said_at_collection(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    declarations = {
        "pattern": "wait=wait.log('[')",
        "number": "wait=80",
        "kind": "wait=wait.Wait",
        "path": "wait=wait.http('health')",
        "time": "wait=wait.any_of(wait.port(80, timeout=3))",
    }
    project.makepyfile(
        **{
            f"test_{name}": f"from pytest_pycontainer import container, wait\n\nc = container('host', {text})\n"
            for name, text in declarations.items()
        }
    )
    result = run_pytest("--continue-on-collection-errors")
    result.assert_outcomes(errors=len(declarations))
    result.stdout.fnmatch_lines_random(
        [
            "E   *InvalidSpecError: invalid log pattern '[[]': wanted a regular expression *",
            "E   *InvalidSpecError: invalid wait '80': wanted something such as wait.port(80)*",
            "E   *InvalidSpecError: invalid wait \"<class 'pytest_pycontainer.engine.readiness.Wait'>\": wanted *",
            "E   *InvalidSpecError: invalid path \"'health'\": wanted a path that begins with '/'*",
            "E   *InvalidSpecError: invalid timeout '3': wanted one for all of them*",
        ]
    )


def test_what_a_bare_assert_says(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("""
        from pytest_pycontainer import container, wait
        server = container(
            "host", ["sh", "-c", "echo first; echo second; umask 077; echo x > /f; exec sleep 1000"],
            wait=wait.file("/f", text="x"), scope="module",
        )
        def test_mode(server): assert server.file("/f").mode == 0o644
        def test_mode_on_the_right(server): assert 0o755 == server.file("/f").mode
        def test_owner(server): assert server.file("/f").owner == "nobody"
        def test_missing(server): assert server.file("/missing").exists
        def test_listening(server): assert 6379 in server.listening()
        def test_environment(server): assert server.environment()["HOSTNAME"] == "web"
        def test_logs(server): assert server.logs() == "first\\nthird\\n"
        def test_diff(server): assert server.diff() == []
        def test_exit(server): assert server.exec("false").exit_code == 0
    """)
    result = run_pytest("-vv")
    result.assert_outcomes(failed=9)
    result.stdout.fnmatch_lines_random(
        [
            "E *assert 0o600 == 0o644",
            "E *assert 0o755 == 0o600",
            "E *assert 'root' == 'nobody'",
            "E *where False = FileStatus(path='/missing', exists=False).exists",
            "E *assert 6379 in <Listening nowhere>",
            "E *- third",
            "E *+ second",
            "E *Change(path='/f', kind='A')*",
            "E *assert 1 == 0",
        ]
    )
