"""What can't work about declared fixtures is said when tests are collected, with what to change."""

from __future__ import annotations

from collections.abc import Callable

import pytest

RunPytest = Callable[..., pytest.RunResult]


def test_a_fixture_that_outlives_what_it_depends_on(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile(
        test_images="""
        from pytest_pycontainer import build, container
        image = build("sleeper", scope="function")
        server = container(image, scope="session")
        def test(server): pass
        """,
        test_functions="""
        import pytest
        from pytest_pycontainer import container
        server = container("host", "sleep 1000")
        @pytest.fixture(scope="module")
        def seeded(server): return server
        class TestSeeded:
            def test(self, seeded): pass
        """,
        test_right="""
        from pytest_pycontainer import build, container
        image = build("sleeper", scope="module")
        server = container(image, scope="module")
        class TestOverriding:
            server = container("host", lambda server: ["sleep", server.command[1]], scope="class")
            def test(self, server): assert server.command == ("sleep", "1000")
        """,
    )
    result = run_pytest("--continue-on-collection-errors")
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines_random(
        [
            "the fixture 'server' lives for a session, and depends on 'image', which lives for a function only:",
            '    test_images.py:3: server = container(image, scope="session")',
            '    test_images.py:2: image = build("sleeper", scope="function")',
            "give 'server' scope=\"function\", or 'image' scope=\"session\"",
            "the fixture 'seeded' lives for a module, and depends on 'server', which lives for a function only:",
            '    test_functions.py:4: @pytest.fixture(scope="module")',
            '    test_functions.py:3: server = container("host", "sleep 1000")',
        ]
    )


def test_a_declaration_that_is_used_without_being_requested(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile(
        test_called="""
        from pytest_pycontainer import container
        server = container("host", "sleep 1000")
        def test_it():
            server()
        """,
        test_nested="""
        from pytest_pycontainer import container
        server = container("host", "sleep 1000")
        class TestIt:
            def test_it(self):
                assert any(
                    server.logs() for _ in range(2))
        """,
        test_in_fixture="""
        import pytest
        from pytest_pycontainer import container
        server = container("host", "sleep 1000")
        class TestIt:
            @pytest.fixture
            def address(self): return server.address(80)
            def test_it(self, address): pass
        """,
        test_right="""
        import types
        from pytest_pycontainer import container
        server = container("host", "sleep 1000")
        mine = types.SimpleNamespace(server=3)
        def test_it(server): assert server.logs() == ""
        def test_attribute(): assert mine.server == 3
        """,
    )
    result = run_pytest("--continue-on-collection-errors")
    result.assert_outcomes(passed=2, errors=3)
    result.stdout.fnmatch_lines_random(
        [
            "address uses the fixture 'server' without requesting it:",
            "    test_in_fixture.py:6: def address(self): return server.address(80)",
            "test_it uses the fixture 'server' without requesting it:",
            "    test_called.py:4: server()",
            "    test_nested.py:6: server.logs() for _ in range(2))",
            "there it is a declaration, with no value; request it: def test_it(server, ...)",
        ]
    )


@pytest.mark.parametrize(
    ("declaration", "said"),
    [
        ("container('host', prots=[80])", "TypeError: container() got * 'prots'; did you mean 'ports'? known are *"),
        (
            "container('host', environment={})",
            "TypeError: container() got * 'environment'; did you mean 'env'? known are *",
        ),
        ("network('x', subnets='10.0.0.0/24')", "TypeError: network() got * 'subnets'; did you mean 'subnet'? *"),
        ("container()", "TypeError: container() misses its argument 'image', or params in its place"),
        ("pull()", "TypeError: pull() misses its argument 'reference', or params in its place"),
        ("container('host', ports=['eighty'])", "*InvalidSpecError: invalid ports 'eighty': *"),
        ("container('host', name=lambda x: x, memory='much')", "*InvalidSpecError: invalid memory 'much': *"),
        ("container('host', 'echo \\'')", "*InvalidSpecError: invalid command *"),
        ("container('host', timeout='soon')", "*InvalidSpecError: invalid timeout *"),
        ("pull('redis', scope='sesion')", "*InvalidSpecError: invalid scope 'sesion': wanted one of 'session', *"),
        ("pull('redis', params=['a'])", "*InvalidSpecError: invalid params *('a',)*leave out the first argument, or *"),
    ],
)
def test_a_declaration_that_makes_no_sense(project: pytest.Pytester, declaration: str, said: str) -> None:
    project.makepyfile(f"""
        from pytest_pycontainer import *
        declared = {declaration}
        def test(declared): pass
    """)
    result = project.runpytest_inprocess("-p", "no:randomly")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"E   {said}"])
    result.stdout.fnmatch_lines([f"*declared = {declaration.replace('[', '[[]')}"])


def test_params_of_a_fixture_without_a_name(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_it="""
        from pytest_pycontainer import container, pull
        server = container(pull(params=['redis:6']))
        def test(server): pass
    """
    )
    result = project.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["test_it.py:2: invalid params *: wanted a fixture with a name: assign it to one *"])
