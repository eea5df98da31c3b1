"""Fixtures, and functions of fixtures, stand for their values wherever these stand; and params multiply them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

RunPytest = Callable[..., pytest.RunResult]


def test_fixtures_stand_wherever_values_do(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("""
        import pytest
        from pytest_pycontainer import container, network, volume, wait
        back = network("back", internal=True)
        data = volume()
        database = container("host", "sleep 1000", network=back, name="database")
        @pytest.fixture
        def word(): return "hello"
        web = container(
            "host",
            ["sh", "-c", lambda word: f"echo {word} > /data/said; echo said; exec sleep 1000"],
            wait=wait.log("said"),
            env={"DATABASE": database, "WORD": word, "PLAIN": "plain"},
            networks={back: {"aliases": [word]}},
            volumes={data: "/data", "/tmp": lambda word: f"/mnt/{word}:ro"},
            labels=lambda request, database: {"test": request.node.name, "beside": database.name},
        )
        def test(web, database, back, data, word):
            environment = web.exec(["env"], check=True).stdout.splitlines()
            assert {"DATABASE=database", "WORD=hello", "PLAIN=plain"} <= set(environment)
            web.exec(["getent", "hosts", "database"], check=True)
            assert set(back.containers) == {web, database}
            assert web.exec(["test", "-d", "/mnt/hello"]).exit_code == 0
            assert web.labels == {"test": "test", "beside": "database"}
            assert (data.path / "said").read_text() == "hello\\n"
        """)
    result = run_pytest("--setup-show")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines_random(
        [
            "*SETUP    F back (fixtures used: pycontainer)",
            "*SETUP    F database (fixtures used: back, pycontainer)",
            "*SETUP    F web (fixtures used: back, data, database, pycontainer, word)",
        ]
    )


def test_a_service_has_its_own_handle(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("""
        import dataclasses
        from pytest_pycontainer import Container, build, container, wait
        from pytest_pycontainer.engine.service import Service
        class Sleeper(Container):
            def nap(self): return self.exec("true").exit_code
        command = ["sh", "-c", "echo up; exec sleep 1000"]
        sleeping = Service(Sleeper, "host", 80, wait.log("up"), command=command, env={"A": "1"})
        image = build("sleeper")
        server = container(sleeping, env={"B": "2"})
        on_fixture = container(dataclasses.replace(sleeping, image=image))
        by_function = container(lambda image: dataclasses.replace(sleeping, image=image))
        def test(server, on_fixture, by_function, image):
            assert isinstance(server, Sleeper) and server.nap() == 0 and server.logs() == "up\\n"
            assert server.exec(["sh", "-c", "echo $A$B"]).stdout == "12\\n" and server.address(80)
            for one in (on_fixture, by_function):
                assert isinstance(one, Sleeper) and one.image.id == image.id
        """)
    run_pytest().assert_outcomes(passed=1)
    run_pytest("--fixtures").stdout.fnmatch_lines(["    A running container of Sleeper, removed *"])


def test_what_has_no_name_is_the_fixtures_own(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("""
        from pytest_pycontainer import build, container, network
        def pair():
            inner = network()
            peer = container("host", "sleep 1000", network=inner)
            return container(build("sleeper"), networks=[inner, "bridge"], env={"PEER": peer})
        first = pair()
        second = pair()
        def test_one(first, pycontainer):
            (own,) = [one for one in pycontainer.networks() if one.name != "bridge"]
            peer, = [one for one in own.containers if one is not first]
            assert first.exec(["printenv", "PEER"], check=True).stdout.strip() == peer.name
        def test_none_is_left(second, pycontainer):
            assert len(pycontainer.networks()) == 2 and len(pycontainer.containers()) == 2
        """)
    run_pytest().assert_outcomes(passed=2)


def test_params_are_the_first_argument_or_what_functions_make_of_them(
    project: pytest.Pytester, run_pytest: RunPytest
) -> None:
    (project.mkdir("other") / "Dockerfile").write_text('FROM host\nCMD ["sleep", "2000"]\n')
    project.makepyfile("""
        import pytest
        from pytest_pycontainer import build, container, pull
        image = build(params=["sleeper", pytest.param("other", id="second")])
        server = container(image)
        plain = build("sleeper")
        by_fixture = container(params=["host", plain], command="sleep 3000")
        mode = container("host", "cat", stdin_open=True, params=[1, 2], ids=["one", "two"],
                         env=lambda request: {"MODE": request.param})
        pulled = pull(params=["host", "scratch"])
        chosen = container(lambda request: {"a": "host", "b": plain}[request.param], "sleep 1000", params=["a", "b"])
        inner = container(build(lambda request: request.param), params=["sleeper", "other"])
        class TestOverridden:
            image = build("other")
            def test_own(self, server): assert server.command == ("sleep", "2000")
        def test_image(server): assert server.command in [("sleep", "1000"), ("sleep", "2000")]
        def test_fixture(by_fixture): assert by_fixture.command == ("sleep", "3000")
        def test_mode(mode, request):
            wanted = {"one": "1", "two": "2"}[request.node.callspec.id]
            assert mode.exec(["printenv", "MODE"], check=True).stdout.strip() == wanted
        def test_pulled(pulled): assert pulled.name in ("host", "scratch")
        def test_chosen(chosen, plain, request):
            assert (chosen.image.id == plain.id) == (request.node.callspec.params["chosen"] == "b")
        def test_inner(inner, request):
            assert inner.command[1] == {"sleeper": "1000", "other": "2000"}[request.node.callspec.params["inner"]]
        """)
    result = run_pytest("-v", "--setup-show")
    result.assert_outcomes(passed=13)
    result.stdout.fnmatch_lines_random(
        [
            "*::test_own * PASSED*",
            "*::test_image[[]sleeper] * PASSED*",
            "*::test_image[[]second] * PASSED*",
            "*::test_fixture[[]host] * PASSED*",
            "*::test_fixture[[]plain] * PASSED*",
            "*::test_mode[[]one] * PASSED*",
            "*::test_pulled[[]scratch] * PASSED*",
            "*SETUP    S pulled (fixtures used: pycontainer)[[]'scratch']",
        ]
    )


def test_autouse_and_names_are_as_pytests(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("""
        from pytest_pycontainer import container, network
        _net = network("front", fixture_name="front")
        always = container("host", "sleep 1000", network=_net, autouse=True, scope="module")
        def test(front, pycontainer): assert len(front.containers) == 1 and front.name == "front"
        """)
    project.makeini("[pytest]\naddopts = -p no:cacheprovider --import-mode=importlib\nfilterwarnings = error")
    result = run_pytest()
    result.stdout.fnmatch_lines(["*the fixture 'always' lives for a module, and depends on 'front'*function only:"])
    project.makepyfile("""
        from pytest_pycontainer import container, network
        _net = network("front", fixture_name="front", scope="session")
        always = container("host", "sleep 1000", network=_net, autouse=True, scope="module")
        def test(front, pycontainer): assert len(front.containers) == 1 and front.name == "front"
        """)
    run_pytest().assert_outcomes(passed=1)


def test_networks_and_volumes_go_with_their_scope_and_named_volumes_stay(
    project: pytest.Pytester, run_pytest: RunPytest
) -> None:
    project.makepyfile("""
        from pytest_pycontainer import network, volume
        net, kept, gone = network("net"), volume("kept"), volume()
        class Seen: names = set()
        def test_one(net, kept, gone, pycontainer):
            (kept.path / "file").write_text("x")
            Seen.names.add(gone.name)
        def test_two(pycontainer):
            assert [one.name for one in pycontainer.networks()] == []
            assert [one.name for one in pycontainer.volumes()] == ["kept"]
        def test_three(kept, gone):
            assert (kept.path / "file").exists() and gone.name not in Seen.names
        """)
    run_pytest("-p", "no:randomly").assert_outcomes(passed=3)


def test_images_are_loaded_from_archives(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("""
        import pytest
        from pytest_pycontainer import build, container, load
        @pytest.fixture(scope="session")
        def archive(pycontainer, tmp_path_factory):
            path = tmp_path_factory.mktemp("archive") / "images.tar"
            for name in ("one", "two"):
                pycontainer.build({"Dockerfile": f"FROM scratch\\nLABEL a={name}\\n"}, tag=name)
            pycontainer.save(["one", "two"], path)
            return path
        second = load(archive, image="two")
        absent = load(archive, image="three")
        nowhere = load("nowhere.tar")
        def test(second): assert second.config.labels == {"a": "two"}
        def test_absent(absent): pass
        def test_nowhere(nowhere): pass
        """)
    result = run_pytest("-p", "no:randomly")
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(
        [
            "E   *InvalidSpecError: invalid image 'three': *images.tar: 'one:latest', 'two:latest'",
            "E   *InvalidSpecError: invalid archive 'nowhere.tar': * nothing is at *",
        ]
    )


def test_declared_fixtures_work_in_asynchronous_tests(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    pytest.importorskip("anyio.pytest_plugin")
    project.makepyfile("""
        import asyncio, pytest
        from pytest_pycontainer import container
        server = container("host", "sleep 1000", scope="module")
        @pytest.fixture
        def anyio_backend(): return "asyncio"
        @pytest.mark.anyio
        async def test(server):
            result = await asyncio.to_thread(server.exec, ["echo", "hi"])
            assert result.stdout == "hi\\n"
        """)
    run_pytest("-p", "anyio").assert_outcomes(passed=1)
