"""What a plugin adds by hooks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

RunPytest = Callable[..., pytest.RunResult]

# Uses every hook that there is.
PLUGIN = """
import contextlib
import pytest
from pytest_pycontainer import Engine, wait

def pytest_configure(config):
    config.stash[SEEN] = []

SEEN = pytest.StashKey()

def pytest_pycontainer_engine(config, settings, extensions, display):
    @contextlib.contextmanager
    def opened():
        with OwnEngine(settings, extensions=extensions, display=display) as engine:
            yield engine
        config.stash[SEEN].append("closed")
    return opened()

class OwnEngine(Engine):
    is_own = True

def pytest_pycontainer_before_create(config, container_request):
    options = container_request.options
    options["labels"] = {**(options.get("labels") or {}), "team": "storage"}
    if container_request.image == "alias":
        container_request.image, container_request.command = "host", ["sh", "-c", "echo by alias; exec sleep 1000"]
    config.stash[SEEN].append("create")

def pytest_pycontainer_after_start(container, config):
    config.stash[SEEN].append(f"start {container.status}")

def pytest_pycontainer_ready(config, container):
    config.stash[SEEN].append("ready")

def pytest_pycontainer_before_remove(config, container):
    config.stash[SEEN].append(f"remove {container.status}: {container.logs().strip()}")

def pytest_pycontainer_waits():
    return {"said": lambda word, times=1: wait.log(word, times=times), "alias": lambda: wait.log("by alias")}

def pytest_pycontainer_services(config):
    def little(engine, *, words="by service"):
        return engine.run("host", ["sh", "-c", f"echo {words}; exec sleep 1000"])
    return {"little": little}

@pytest.fixture
def seen(request):
    return request.config.stash[SEEN]
"""


def test_a_plugin_that_uses_every_hook(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makeconftest(PLUGIN)
    project.makepyfile("""
        import pytest
        from pytest_pycontainer import container, wait
        from pytest_pycontainer.errors import InvalidSpecError
        server = container("alias", wait="alias", labels={"own": "1"})
        def test_all(server, seen, pycontainer):
            assert pycontainer.is_own
            assert server.labels == {"own": "1", "team": "storage"}
            assert seen == ["create", "start running", "ready"]
            server.restart(timeout=0)
            wait.log("by alias", times=2).until_ready(server, 60)
            with pycontainer.create("alias"): pass
            assert seen[3:] == ["start running", "create", "remove created: "]
            seen.clear()
        def test_removed(seen, pycontainer):
            assert seen == ["remove running: by alias\\nby alias"]
            with pycontainer.scope() as scope:
                little = scope.service("little", words="again")
                wait.named("said", "again", times=1).until_ready(little, 60)
                assert little.labels == {"team": "storage"}
            assert pycontainer.containers() == []
            with pytest.raises(InvalidSpecError, match="invalid service 'large': wanted a Service, or one of .*little"):
                pycontainer.service("large")
            with pytest.raises(InvalidSpecError, match="invalid wait 'lost': wanted one of .*(alias, said)"):
                pycontainer.run("host", "sleep 1000", wait="lost")
    """)
    run_pytest("-p", "no:randomly").assert_outcomes(passed=2)


def test_an_error_in_a_hook_says_which(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makeconftest("""
        import pytest
        def _fail(stage):
            if stage in failing: raise ValueError(f"no {stage}")
        failing = set()
        @pytest.fixture(autouse=True)
        def _only(request):
            failing.add(request.node.name.removeprefix("test_"))
            yield
            failing.clear()
        def pytest_pycontainer_before_create(): _fail("before_create")
        def pytest_pycontainer_after_start(container): _fail("after_start")
        def pytest_pycontainer_ready(container): _fail("ready")
        def pytest_pycontainer_before_remove(container): _fail("before_remove")
    """)
    project.makepyfile("""
        import pytest
        from pytest_pycontainer import container
        server = container("host", "sleep 1000", name="server")
        def test_before_create(server): pass
        def test_after_start(server): pass
        def test_ready(server): pass
        def test_before_remove(pycontainer):
            server = pycontainer.run("host", "sleep 1000", name="server")
            with pytest.raises(ValueError):
                server.remove(force=True)
            assert server.status == "removed" and pycontainer.containers() == []
        def test_none(server): pass
    """)
    result = run_pytest("-p", "no:randomly")
    result.assert_outcomes(passed=2, errors=3)
    result.stdout.fnmatch_lines(
        [
            "E *ValueError: no before_create",
            "E *raised by an implementation of the hook pytest_pycontainer_before_create, for a container of host",
            "E *ValueError: no after_start",
            "E *raised by an implementation of the hook pytest_pycontainer_after_start, for <Container server *>",
            "E *ValueError: no ready",
            "E *raised by an implementation of the hook pytest_pycontainer_ready, for <Container server *>",
        ]
    )


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        (
            "before_create(container_request): container_request.options['prots'] = [80]",
            "E *TypeError: got an unexpected keyword argument 'prots'; did you mean 'ports'? known are *",
        ),
        (
            "waits(): return ['ready']",
            "invalid result of the hook pytest_pycontainer_waits \"[[]'ready'[]]\": wanted a mapping of names *",
        ),
        ("services(): return {'a': 1 / 0}", "E *ZeroDivisionError: division by zero"),
    ],
    ids=["before_create", "waits", "services"],
)
def test_what_a_hook_gives_that_makes_no_sense(
    project: pytest.Pytester, run_pytest: RunPytest, hook: str, said: str
) -> None:
    project.makeconftest(f"def pytest_pycontainer_{hook}")
    project.makepyfile("""
        from pytest_pycontainer import container
        server = container("host", "sleep 1000")
        def test(server): pass
    """)
    result = run_pytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([said])
    result.stdout.fnmatch_lines([f"*the hook pytest_pycontainer_{hook.partition('(')[0]}*"])


def test_who_uses_no_hook_has_no_observer(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("""
        def test(pycontainer):
            names = [type(observer).__name__ for observer in pycontainer._resources.extensions.observers]
            assert "HookObserver" not in names
    """)
    run_pytest().assert_outcomes(passed=1)


def test_ready_made_services_are_there_by_name_unless_a_plugin_has_another(
    project: pytest.Pytester, run_pytest: RunPytest
) -> None:
    project.makeconftest("""
        class Now:
            def until_ready(self, container, timeout): pass
        def pytest_pycontainer_waits(): return {"now": Now}
        def pytest_pycontainer_services(): return {"nginx": lambda engine, **options: options}
    """)
    project.makepyfile("""
        import pytest
        from pytest_pycontainer import services
        def test_ours(pycontainer):
            command = ["sh", "-c", "exec sleep 1000"]
            server = pycontainer.service("redis", image="host", password="p", command=command, wait="now", name="redis")
            assert isinstance(server, services.Redis) and server.name == "redis" and server.command == tuple(command)
            server.remove(force=True)
        def test_another(pycontainer):
            assert pycontainer.service("nginx", a=1) == {"a": 1}
    """)
    run_pytest().assert_outcomes(passed=2)


def test_a_hook_that_there_is_not_is_refused(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makeconftest("def pytest_pycontainer_before_creation(): pass")
    project.makepyfile("def test(): pass")
    result = run_pytest()
    assert "unknown hook 'pytest_pycontainer_before_creation'" in result.stdout.str() + result.stderr.str()


def test_engines_of_narrower_scopes_remove_what_was_made_through_them(
    project: pytest.Pytester, run_pytest: RunPytest
) -> None:
    project.makepyfile(
        test_a="""
        import pytest
        made = {}
        @pytest.fixture(autouse=True)
        def in_all(pycontainer_package, pycontainer_module, pycontainer_class, pycontainer_function):
            engines = locals()
            for scope, engine in engines.items():
                if scope not in made:
                    made[scope] = engine.run("host", "sleep 1000"), engine.network(), engine.volume()
                    engine.volume("kept")
            yield
            made.pop("pycontainer_function")
        def statuses(): return {scope.removeprefix("pycontainer_"): one[0].status for scope, one in made.items()}
        class TestOne:
            def test(self, pycontainer):
                assert set(statuses().values()) == {"running"} and len(pycontainer.containers()) == 4
                assert pycontainer.find(made["pycontainer_class"][0].name) is made["pycontainer_class"][0]
                assert len(pycontainer.networks()) == 4 + 1 and len(pycontainer.volumes()) == 4 + 1
        class TestTwo:
            def test(self, pycontainer):
                assert statuses() == {
                    "package": "running", "module": "running", "class": "removed", "function": "running"}
                assert len(pycontainer.networks()) == 3 + 1 and len(pycontainer.volumes()) == 3 + 1
        """,
        test_b="""
        from test_a import statuses
        def test(pycontainer):
            assert statuses() == {"package": "running", "module": "removed", "class": "removed"}
            assert len(pycontainer.containers()) == 1
        """,
    )
    run_pytest("-p", "no:randomly", "--import-mode=prepend").assert_outcomes(passed=3)
