"""Fixtures that are declared by a call are fixtures like any other."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import pytest

RunPytest = Callable[..., pytest.RunResult]


@pytest.mark.parametrize(
    ("scope", "containers"), [("function", 8), ("class", 6), ("module", 4), ("package", 2), ("session", 1)]
)
def test_every_scope(
    project: pytest.Pytester, run_pytest: RunPytest, tmp_path: Path, scope: str, containers: int
) -> None:
    project.makeconftest(f"""
        import pytest
        @pytest.fixture(autouse=True)
        def record(sleeper):
            with open({str(tmp_path / "ids")!r}, "a") as ids:
                print(sleeper.id, file=ids)
    """)
    declaration = f"""
from pytest_pycontainer import build, container
sleeper_image = build("sleeper", scope="session")
sleeper = container(sleeper_image, scope={scope!r}, network="none")
"""
    whole = project.mkpydir("whole")
    for package in ("left", "right"):
        directory = whole / package
        directory.mkdir()
        (directory / "__init__.py").touch()
        # A package's fixtures live as long as the package that declares them (pytest's rule).
        declaring = directory if scope == "package" else whole
        (declaring / "conftest.py").write_text(declaration)
        (directory / "test_class.py").write_text("class TestTwo:\n def test_1(self): pass\n def test_2(self): pass")
        (directory / "test_functions.py").write_text("def test_3(): pass\ndef test_4(): pass")
    run_pytest("-p", "no:randomly").assert_outcomes(passed=8)
    ids = (tmp_path / "ids").read_text().split()
    assert len(ids) == 8
    assert len(set(ids)) == containers


def test_dependencies_are_fixture_dependencies(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("""
        from pytest_pycontainer import build, container
        # The dependency is named after it is used: names are looked up when the module is complete.
        first = build("sleeper")
        server = container(first)
        sleeper_image = first
        del first
        inline = container(build("sleeper"))
        by_name = container("host", ["true"])
        class TestInClass:
            own_image = build("sleeper", scope="class")
            own = container(own_image)
            other = container(sleeper_image)
            def test_class(self, own, other): pass
        def test_module(server, inline, by_name): pass
    """)
    result = run_pytest("--setup-plan")
    result.stdout.fnmatch_lines_random(
        [
            "*SETUP    S sleeper_image (fixtures used: pycontainer)",
            "*SETUP    F server (fixtures used: pycontainer, sleeper_image)",
            "*SETUP    F inline (fixtures used: pycontainer)",
            "*SETUP    F by_name (fixtures used: pycontainer)",
            "*SETUP    C own_image (fixtures used: pycontainer)",
            "*SETUP    F own (fixtures used: own_image, pycontainer)",
            "*SETUP    F other (fixtures used: pycontainer, sleeper_image)",
        ]
    )


def test_fixture_functions_of_all_kinds_are_images(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile(
        images="""
        import pytest
        from pytest_pycontainer import build
        imported = build("sleeper")
        elsewhere = build("sleeper")
        @pytest.fixture
        def function(pycontainer): return pycontainer.image("host")
        """,
        test_images="""
        import pathlib, sys
        sys.path.insert(0, str(pathlib.Path(__file__).parent))
        import images
        from images import function, imported
        from pytest_pycontainer import container
        a = container(imported)
        b = container(images.elsewhere)
        c = container(function, "sleep 10")
        def test(a, b, c):
            assert [each.command for each in (a, b, c)] == [("sleep", "1000"), ("sleep", "1000"), ("sleep", "10")]
        """,
    )
    run_pytest().assert_outcomes(passed=1)


def test_an_image_is_overridden_by_name_in_a_folder(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makeconftest("""
        from pytest_pycontainer import build, container
        image = build("sleeper")
        server = container(image)
    """)
    context = project.mkdir("other")
    (context / "Dockerfile").write_text('FROM host\nCMD ["sleep", "2000"]\n')
    for folder, seconds in (("plain", 1000), ("special", 2000)):
        directory = project.mkdir(folder)
        (directory / f"test_{folder}.py").write_text(
            f"def test(server): assert server.command == ('sleep', '{seconds}')"
        )
    Path("special/conftest.py").write_text("from pytest_pycontainer import build\nimage = build('other')")
    run_pytest().assert_outcomes(passed=2)


def test_a_parametrized_image_multiplies_the_test(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("""
        import pytest
        from pytest_pycontainer import container
        @pytest.fixture(params=["host", "sleepy"])
        def image(request, pycontainer):
            return pycontainer.build("sleeper", tag="sleepy") if request.param == "sleepy" else request.param
        server = container(image, "sleep 10")
        def test(server, request):
            assert server.image.name.startswith(request.node.callspec.params["image"])
    """)
    result = run_pytest("-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines_random(["*::test[[]host] PASSED*", "*::test[[]sleepy] PASSED*"])


def test_a_context_counts_from_the_declaring_file_and_else_from_the_root_directory(
    project: pytest.Pytester, run_pytest: RunPytest
) -> None:
    folder = project.mkdir("folder")
    (folder / "near").mkdir()
    (folder / "near/Dockerfile").write_text('FROM host\nCMD ["sleep", "3000"]\n')
    (folder / "test_contexts.py").write_text(
        "from pytest_pycontainer import build\n"
        "near = build('near')\n"
        "far = build('sleeper')\n"
        "nowhere = build('missing')\n"
        "def test_found(near, far): assert (near.config.cmd[1], far.config.cmd[1]) == ('3000', '1000')\n"
        "def test_not_found(nowhere): pass\n"
    )
    result = run_pytest()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            ">   nowhere = build('missing')",
            "E   *InvalidSpecError: invalid build context 'missing': *no* at *folder/missing nor *missing",
            "folder/test_contexts.py:4: InvalidSpecError",
        ]
    )
    result.stdout.no_fnmatch_line("*fixtures.py*")


def test_fixtures_are_listed_with_their_place_and_meaning(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile(
        test_it="""
        from pytest_pycontainer import build, container, load, network, pull, services, snapshot, volume
        image = build("sleeper")
        server = container(image, scope="module")
        inner = container(build("sleeper"))
        chosen = container(lambda image, request: image)
        pulled = pull(params=["redis:6", "redis:7"])
        loaded = load("images.tar")
        database = container(services.postgresql())
        taken = snapshot(database)
        taken_alone = snapshot(container(pulled))
        front = network()
        data = volume()
        """
    )
    result = run_pytest("--fixtures")
    lines = [line.strip() for line in result.outlines]
    for line, name, meaning in (
        (2, "image [session scope]", "The image built from sleeper."),
        (3, "server [module scope]", "A running container of image, removed at the end of its scope."),
        (4, "inner", "A running container of the image built from sleeper, removed at the end of its scope."),
        (5, "chosen", "A running container of what a function of image, request returns, removed *"),
        (6, "pulled [session scope]", "The image pulled as one of its params."),
        (7, "loaded [session scope]", "The image loaded from images.tar."),
        (8, "database", "A running container of PostgreSQL, removed at the end of its scope."),
        (9, "taken [session scope]", "The image of what database has written."),
        (10, "taken_alone [session scope]", "The image of what a running container of pulled has written."),
        (11, "front", "A network, removed at the end of its scope."),
        (12, "data", "A volume, removed at the end of its scope unless it has a name of its own."),
    ):
        told = lines[lines.index(f"{name} -- test_it.py:{line}") + 1]
        assert fnmatch(told, meaning), told
    result.stdout.fnmatch_lines(
        ["pycontainer [[]session scope] -- *plugin.py:*", "*The container engine of this test session*"]
    )
