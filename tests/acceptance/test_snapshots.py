"""A snapshot is an image of what a container has written: a database with its data, fresh for every test."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

RunPytest = Callable[..., pytest.RunResult]

# A database on the host image, as official images are made: its data lies in a volume, which its user owns.
DOCKERFILE = f"""
FROM host
RUN mkdir -p /var/lib/little && chown 999:998 /var/lib/little && chmod 700 /var/lib/little && touch /var/lib/little/new
VOLUME /var/lib/little/data
STOPSIGNAL SIGINT
COPY serve.py /
CMD ["{Path(sys.executable).resolve()}", "/serve.py"]
"""
# Keeps its rows in memory and writes them when it is stopped, as Redis does; counts what it is asked to.
SERVE = """
import os, pathlib, signal, socket, sys
os.umask(0o077)
data = pathlib.Path("/var/lib/little/data")
rows = (data / "rows").read_text().split() if (data / "rows").exists() else []
def stop(*_):
    (data / "rows").write_text(" ".join(rows))
    sys.exit()
signal.signal(signal.SIGINT, stop)
with socket.create_server(("0.0.0.0", 5000)) as server:
    print("ready", flush=True)
    while True:
        connection, _ = server.accept()
        with connection, connection.makefile("rw") as file:
            if word := file.readline().strip():
                rows.append(word)
                (data / word).touch()
            print(*rows, file=file, flush=True)
"""


@pytest.fixture
def database(project: pytest.Pytester) -> pytest.Pytester:
    context = project.mkdir("database")
    (context / "Dockerfile").write_text(DOCKERFILE)
    (context / "serve.py").write_text(SERVE)
    project.makeconftest("""
        import pytest
        from pytest_pycontainer import build, container, snapshot, wait
        def ask(server, word=""):
            with server.connect(5000) as connection, connection.makefile("rw") as file:
                print(word, file=file, flush=True)
                return file.readline().split()
        @pytest.fixture(scope="session", name="ask")
        def _ask(): return ask
        image = build("database")
    """)
    return project


def test_a_snapshots_own_container_is_stopped_as_it_wants_and_gone(
    database: pytest.Pytester, run_pytest: RunPytest
) -> None:
    database.makepyfile("""
        from conftest import ask, image
        from pytest_pycontainer import container, snapshot, wait
        def migrate(server):
            ask(server, "first")
            server.write("/etc/migrated", "yes")
        migrated = snapshot(container(image, wait=wait.log("ready")), prepare=migrate)
        server = container(migrated, wait=wait.log("ready"))
        def test_one(server, pycontainer):
            assert pycontainer.containers() == [server]
            assert server.read("/etc/migrated") == b"yes"
            assert ask(server, "one") == ["first", "one"]
        def test_two(server):
            assert ask(server, "two") == ["first", "two"]
        def test_the_data_is_files_of_the_image(migrated, server, image):
            assert (image.config.volumes, migrated.config.volumes) == (("/var/lib/little/data",), ())
            listed = server.exec("stat -c %n:%u:%g:%a /var/lib/little /var/lib/little/data /var/lib/little/data/rows",
                                 check=True).stdout.split()
            assert listed == ["/var/lib/little:999:998:700", "/var/lib/little/data:0:0:755",
                              "/var/lib/little/data/rows:0:0:600"]
    """)
    run_pytest("-p", "no:randomly", "--import-mode=prepend").assert_outcomes(passed=3)
    database.makepyfile("""
        def test(pycontainer, image):
            assert [one.id for one in pycontainer.images() if not one.tags and one.id != image.id] == []
    """)
    run_pytest().assert_outcomes(passed=1)


def test_a_container_that_others_use_goes_on(database: pytest.Pytester, run_pytest: RunPytest) -> None:
    database.makepyfile("""
        import pytest
        from conftest import image
        from pytest_pycontainer import container, snapshot, wait
        server = container(image, wait=wait.log("ready"), scope="module", volumes=["/other"])
        @pytest.fixture(scope="module")
        def seeded(server, ask):
            server.exec("touch /other/file /var/lib/little/data/seen", check=True)
            ask(server, "x")
            return server
        taken = snapshot(seeded, scope="module", tag="taken:1")
        copy = container(taken, "sleep 1000")
        def test(server, copy, ask, pycontainer):
            assert server.status == "running" and ask(server, "y") == ["x", "y"]
            copy.exec("test -e /other/file -a -e /var/lib/little/data/seen -a -e /var/lib/little/data/x", check=True)
            assert copy.exec("test -e /var/lib/little/data/rows").exit_code == 1
            assert pycontainer.image("taken:1").id == copy.image.id
    """)
    result = run_pytest("--setup-show", "--import-mode=prepend")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*SETUP    M taken (fixtures used: pycontainer, seeded)"])
    database.makepyfile("""
        from pytest_pycontainer import container
        again = container("taken:1", "sleep 1000", volumes=["/other"])
        def test(again): again.exec("test -e /other/file", check=True)
    """)
    run_pytest().assert_outcomes(passed=1)


def test_snapshots_of_snapshots_and_of_what_is_kept(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("""
        from pytest_pycontainer import container, snapshot
        def added(word):
            return lambda c: c.exec(["sh", "-c", f"echo {word} >> /words"], check=True)
        base = container("host", "sleep 1000", init=True)
        first = snapshot(base, prepare=added("one"), scope="function")
        second = snapshot(container(first, init=True), prepare=added("two"), scope="function")
        last = container(second)
        exited = snapshot(container("host", ["sh", "-c", "echo x > /words; exit 3"]), prepare=lambda c: c.wait(60))
        own_users = snapshot(
            container("host", "sleep 1000", userns="auto", init=True),
            prepare=lambda c: c.exec(["sh", "-c", "echo x > /own; chown 5:6 /own; chmod 600 /own"], check=True),
        )
        of_own_users = container(own_users)
        def test_chain(last): assert last.read("/words") == b"one\\ntwo\\n"
        def test_exited(exited, pycontainer):
            kept = pycontainer.run(exited, ["sleep", "1000"])  # longer than the snapshot
            assert kept.read("/words") == b"x\\n"
        def test_users(of_own_users):
            found = of_own_users.exec("stat -c %u:%g:%a /own", check=True).stdout
            assert found == "5:6:600\\n"
    """)
    run_pytest("-p", "no:randomly").assert_outcomes(passed=3)
