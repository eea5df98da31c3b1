"""Services as fixtures, and what the page on services shows, in runs of pytest of their own."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_pycontainer import Engine, Image
from tests.acceptance.conftest import OPTIONS
from tests.services.conftest import SECONDS

PAGE = Path(__file__).parent.parent.parent / "docs/services.md"
Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run_pytest(engine: Engine, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs pytest on the suite's store, as a run that no worker of this one has begun."""
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYCONTAINER_ROOT", str(engine.settings.root))
    pytester.makeini(f"[pytest]\naddopts = {' '.join(OPTIONS)}\n")
    return lambda *arguments: pytester.runpytest_subprocess(*arguments, timeout=3 * SECONDS)


@pytest.fixture(scope="module")
def images(debian_image: Callable[[str], Image]) -> dict[str, str]:
    """Those that the page's services need.

    They are built before there is a Pytester: at its end modules that were imported meanwhile are forgotten.
    """
    return {name: debian_image(name).id for name in ("postgresql", "redis")}


def test_what_the_page_shows(images: dict[str, str], pytester: pytest.Pytester, run_pytest: Run) -> None:
    tests, program, own = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    for name, image in images.items():
        tests, program = (
            code.replace(f"services.{name}(", f"services.{name}(image={image!r}, ") for code in (tests, program)
        )
    pytester.makepyfile(
        test_tests=tests,
        test_own=own.replace("python:3.12", "host"),
        test_program=f"def test(capsys):\n    exec({program!r})\n"
        "    assert capsys.readouterr().out.startswith('redis://:secret@127.0.0.1:')",
    )
    run_pytest().assert_outcomes(passed=4)


def test_a_service_on_an_image_that_is_a_fixture(
    images: dict[str, str], pytester: pytest.Pytester, run_pytest: Run
) -> None:
    pytester.makepyfile(f"""
        from pytest_pycontainer import container, pull, services, using
        my_redis = pull({images["redis"]!r}, policy="never")
        server = container(services.redis(using(my_redis)), shared=True)
        def test_first(server):
            with server.client() as client:
                client.incr("tests")
        def test_second(server):
            with server.client() as client:
                client.incr("tests")
                assert isinstance(server, services.Redis) and server.password is None
        def test_by_name(pycontainer, my_redis):
            with pycontainer.service("redis", image=my_redis, password="secret", name="named") as named:
                with named.client() as client:
                    assert client.ping() and named.name == "named"
    """)
    run_pytest("-n", "2").assert_outcomes(passed=3)
