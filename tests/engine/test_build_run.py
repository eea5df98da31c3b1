"""RUN in real builds: mounts, secrets, networks, programs in here-documents, and what none of them leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer import Engine, Image, Settings
from pytest_pycontainer.errors import (
    BuildStepFailedError,
    CopySourceNotFoundError,
    DockerfileError,
    InvalidSpecError,
    SecretNotGivenError,
)
from pytest_pycontainer.store.cache_mounts import CacheMounts

Build = Callable[..., Image]


@pytest.fixture
def lines() -> list[str]:
    """What the last build reported."""
    return []


@pytest.fixture
def build(engine: Engine, context: Path, lines: list[str]) -> Build:
    def build(dockerfile: str, **options: object) -> Image:
        (context / "Dockerfile").write_text(dockerfile)
        lines.clear()
        return engine.build(context, progress=lines.append, **options)  # type: ignore[arg-type]

    return build


def layer_files(engine: Engine, image: Image) -> set[str]:
    """The paths in the topmost layer."""
    store = engine._resources.store
    if image.config.history[-1].empty_layer or not image.config.diff_ids:
        return set()
    config = image.config
    directory = store.layer_directories(config)[0] if config.diff_ids[-1] != EMPTY_LAYER else None
    return set() if directory is None else {str(path.relative_to(directory)) for path in directory.rglob("*")}


EMPTY_LAYER = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"


def printed(lines: list[str]) -> list[str]:
    """What commands printed."""
    docker = ("Step ", " ---> ", "Removing intermediate", "Successfully", "[Warning]")
    return [line for line in lines if not line.startswith(docker)]


def test_the_context_is_bound_as_copy_would_read_it(
    engine: Engine, build: Build, context: Path, lines: list[str]
) -> None:
    (context / "src").mkdir()
    (context / "src/kept").write_text("kept\n")
    (context / "src/secret").write_text("ignored\n")
    (context / ".dockerignore").write_text("**/secret\n")
    dockerfile = "FROM host\nWORKDIR /w\nRUN --mount=target=in,source=src ls in; cat in/kept; touch in/x || echo no\n"
    image = build(dockerfile)
    assert printed(lines) == ["kept", "kept", "touch: cannot touch 'in/x': Read-only file system", "no"]
    assert layer_files(engine, image) == set()
    build(dockerfile)
    assert " ---> Using cache" in lines
    assert printed(lines) == []
    (context / "src/kept").write_text("changed\n")
    build(dockerfile)
    assert printed(lines)[1] == "changed"


def test_what_is_ignored_does_not_matter_to_the_cache(build: Build, context: Path, lines: list[str]) -> None:
    (context / ".dockerignore").write_text("noise\nDockerfile\n")
    (context / "file").write_text("x\n")
    dockerfile = "FROM host\nRUN --mount=target=/in ls /in\n"
    build(dockerfile)
    assert printed(lines) == ["file"]
    (context / "noise").write_text("y\n")
    build(dockerfile)
    assert printed(lines) == []


def test_a_stage_is_bound_and_built_before(engine: Engine, build: Build, lines: list[str]) -> None:
    image = build(
        "FROM host AS maker\nRUN mkdir /out && echo made > /out/file\n"
        "FROM host AS unused\nRUN echo never\n"
        "FROM host\n"
        "RUN --mount=from=maker,source=/out,target=/mnt,rw cat /mnt/file && echo lost > /mnt/file\n"
        "RUN --mount=from=maker,source=out/file,target=/etc/made cat /etc/made && cp /etc/made /kept\n"
    )
    assert printed(lines) == ["made", "made"]
    assert layer_files(engine, image) == {"kept"}


def test_a_cache_outlives_steps_and_builds(engine: Engine, build: Build, lines: list[str], tmp_path: Path) -> None:
    flag = f"RUN --mount=type=cache,target=/cache,id={tmp_path}"
    image = build(f"FROM host\n{flag} echo one >> /cache/log\n{flag} echo two >> /cache/log; cat /cache/log\n")
    assert printed(lines) == ["one", "two"]
    assert layer_files(engine, image) == set()
    build(f"FROM host\n{flag} echo three >> /cache/log; cat /cache/log\n")
    assert printed(lines) == ["one", "two", "three"]


def test_locked_caches_are_waited_for(engine: Engine, tmp_path: Path) -> None:
    """Each of two builds at once finds the cache without the other in it."""
    outputs: dict[str, list[str]] = {}

    def build(name: str) -> None:
        directory = tmp_path / name
        directory.mkdir()
        command = "test ! -e /c/busy && touch /c/busy && sleep 0.3 && rm /c/busy && echo alone"
        mount = f"--mount=type=cache,target=/c,sharing=locked,id={tmp_path}"
        (directory / "Dockerfile").write_text(f"FROM host\nRUN {mount} {command} # {name}\n")
        outputs[name] = []
        engine.build(directory, progress=outputs[name].append)

    threads = [threading.Thread(target=build, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [printed(lines) for lines in outputs.values()] == [["alone"], ["alone"]]


def test_a_failing_stage_ends_the_wait_for_a_cache(engine: Engine, build: Build, tmp_path: Path) -> None:
    caches = CacheMounts(engine._resources.store)
    before = {cache.directory for cache in caches.listed()}
    flag = f"--mount=type=cache,target=/c,sharing=locked,id={tmp_path}"
    build(f"FROM host\nRUN {flag} true\n")
    (directory,) = {cache.directory for cache in caches.listed()} - before
    with caches.hold(f"sha256:{directory.name}", Path.mkdir), pytest.raises(BuildStepFailedError) as raised:
        build(
            f"FROM host AS waiter\nRUN {flag} touch /made\nFROM host AS loser\nRUN sleep 0.2; exit 5\n"
            "FROM host\nCOPY --from=waiter /made /\nCOPY --from=loser /x /\n"
        )
    assert raised.value.exit_code == 5


def test_secrets_are_seen_by_the_command_alone(engine: Engine, build: Build, lines: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from a file")
    dockerfile = (
        "FROM host\nARG run\nRUN --mount=type=secret,id=text --mount=type=secret,id=path,target=/mine,mode=0440,uid=3 "
        "--mount=type=secret,id=bytes,env=TOKEN --mount=type=secret,id=absent "
        'sh -c \'test "$TOKEN" = raw-hush && test ! -e /run/secrets/absent && sha256sum < /run/secrets/text; '
        'stat -c "%a %u" /mine; cat /mine; ls /run/secrets\'\n'
    )
    secrets = {"text": "very-hush", "path": tmp_path / "file", "bytes": b"raw-hush"}
    image = build(dockerfile, secrets=secrets)
    assert "from a file" in printed(lines)[2]
    assert printed(lines)[1] == "440 3"
    assert layer_files(engine, image) == set()
    # In nothing that is kept, and not in the cache key either.
    everything = json.dumps(image.config.to_json().decode()) + "".join(lines)
    assert "hush" not in everything.replace("raw-hush &&", "").replace("= raw-hush", "")
    for directory, _, names in os.walk(engine.settings.root):
        for path in (Path(directory, name) for name in names if "layers" not in Path(directory).parts):
            with suppress(FileNotFoundError):  # other tests' containers come and go
                if path.is_file() and path.stat().st_size < 1 << 20:
                    assert b"very-hush" not in path.read_bytes(), path
    build(dockerfile, secrets={**secrets, "text": "another"})
    assert " ---> Using cache" in lines
    build(dockerfile)
    assert " ---> Using cache" in lines


def test_a_required_secret_has_to_be_there(build: Build) -> None:
    with pytest.raises(SecretNotGivenError, match=r"hand it to the build: secrets=\{'token'") as raised:
        build("FROM host\nRUN --mount=type=secret,id=token,required cat /run/secrets/token\n")
    assert (raised.value.line, raised.value.column) == (2, 28)
    with pytest.raises(SecretNotGivenError, match="cannot be read"):
        build("FROM host\nRUN --mount=type=secret,id=token true\n", secrets={"token": Path("/nowhere")})
    with pytest.raises(SecretNotGivenError, match="not UTF-8") as raised:
        build("FROM host\nRUN --mount=type=secret,id=token,env=TOKEN true\n", secrets={"token": b"\xffhush"})
    assert raised.value.__context__ is None
    with pytest.raises(InvalidSpecError):
        build("FROM host\n", secrets={"token": 3})


@pytest.fixture
def agent(tmp_path: Path, serve_agent: ServeAgent) -> Iterator[Path]:
    """An agent that answers whatever it is asked with one word."""
    with serve_agent(tmp_path / "agent", lambda _: b"signed"):
        yield tmp_path / "agent"


def test_an_ssh_agent_is_where_its_variable_says(
    engine: Engine, build: Build, agent: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = (
        "import os, socket; s = socket.socket(socket.AF_UNIX); s.connect(os.environ['SSH_AUTH_SOCK']); "
        "s.sendall(b'sign'); print(s.recv(100).decode(), os.environ['SSH_AUTH_SOCK'])"
    )
    image = build(f'FROM host\nRUN --mount=type=ssh python3 -c "{ask}"\n', ssh={"default": agent})
    assert printed(lines) == ["signed /run/buildkit/ssh_agent.0"]
    assert layer_files(engine, image) == set()
    monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
    build(f'FROM host\nRUN --mount=type=ssh,target=/a python3 -c "{ask}"\n', ssh="default")
    assert printed(lines) == ["signed /a"]
    with pytest.raises(SecretNotGivenError, match="ssh="):
        build("FROM host\nRUN --mount=type=ssh,id=other,required true\n", ssh="default")
    with pytest.raises(SecretNotGivenError, match="no agent's socket"):
        build("FROM host\nRUN --mount=type=ssh true\n", ssh={"default": "/etc/passwd"})


def test_the_network_of_a_run(build: Build, lines: list[str]) -> None:
    build("FROM host\nRUN --network=none cat /proc/net/dev\n")
    assert not any("eth0:" in line for line in lines)
    build("FROM host\nRUN --network=default cat /proc/net/dev\n")
    assert any("eth0:" in line for line in lines)
    build("FROM host\nRUN --network=host readlink /proc/self/ns/net\n", network="host")
    assert printed(lines) == [os.readlink("/proc/self/ns/net")]  # noqa: PTH115
    build("FROM host\nRUN cat /proc/net/dev\n", network="none")
    assert not any("eth0:" in line for line in lines)


@pytest.mark.parametrize(
    ("instruction", "column", "problem"),
    [
        ("RUN --network=host true", 15, "engine.build"),
        ("RUN --network=bridge true", 15, "default, none, host"),
        ("RUN --security=insecure true", 16, "default rights"),
        ("RUN --security=none true", 16, "sandbox or insecure"),
        ("RUN --mount=type=tmpfs true", 13, "expected target="),
        ("RUN --mount=target=/,source=x true", 20, "nothing can be mounted on /"),
        ("RUN --mount=target=/x,from=$stage true", 28, "no variables here"),
        ("RUN --mount=target=/x,from=later true\nFROM host AS later", 28, "comes later"),
        ("RUN --mount=type=secret,id=a,source=b true", 37, "not both"),
        ("RUN --mount=type=secret,id=a,from=b true", 35, "leave out from="),
        ("RUN --mount=type=secret true", 13, "expected id="),
        ("RUN --mount=type=ssh,source=b true", 29, "no source"),
    ],
)
def test_what_a_run_cannot_have(build: Build, instruction: str, column: int, problem: str) -> None:
    with pytest.raises(DockerfileError) as raised:
        build(f"FROM host\n{instruction}\n", target="0")
    assert problem in raised.value.problem
    assert (raised.value.line, raised.value.column) == (2, column)


def test_sources_that_are_not_there(build: Build, context: Path) -> None:
    with pytest.raises(CopySourceNotFoundError, match="nothing-here") as raised:
        build("FROM host\nRUN --mount=source=nothing-here,target=/x true\n")
    assert (raised.value.line, raised.value.column) == (2, 20)
    (context / "out").symlink_to("/etc")
    with pytest.raises(CopySourceNotFoundError, match="outside"):
        build("FROM host\nRUN --mount=source=out,target=/x true\n")
    with pytest.raises(CopySourceNotFoundError, match="not in that stage") as raised:
        build("FROM host AS a\nFROM host\nRUN --mount=from=a,source=/no/such,target=/x true\n")
    assert (raised.value.line, raised.value.column) == (3, 27)


def test_a_program_in_a_here_document(engine: Engine, build: Build, lines: list[str]) -> None:
    text = "#!/usr/bin/env python3\nimport sys\nprint(sys.argv, 'ä')\n"
    image = build(f"FROM host\nRUN <<EOF\n{text}EOF\n")
    assert printed(lines) == ["['/dev/pipes/EOF'] ä"]
    assert layer_files(engine, image) == set()
    build(f"FROM host\nRUN <<EOF\n{text}EOF\n")
    assert " ---> Using cache" in lines
    build(f"FROM host\nRUN <<EOF\n{text}print('more')\nEOF\n")
    assert printed(lines) == ["['/dev/pipes/EOF'] ä", "more"]


def test_here_documents_for_the_shell(build: Build, lines: list[str]) -> None:
    build("FROM host\nARG who=world\nRUN <<EOF\necho hello $who\nfalse\necho on\nEOF\n")
    assert printed(lines) == ["hello world", "on"]
    build("FROM host\nRUN cat <<one <<two - && echo end\nnot seen\none\nseen\ntwo\n")
    assert printed(lines)[-1] == "end"
    assert "seen" in printed(lines)


def test_what_a_run_writes_below_a_volume_is_kept(engine: Engine, build: Build) -> None:
    """As BuildKit: VOLUME is a line in the config. The classic builder loses what is written there."""
    image = build("FROM host\nVOLUME /data\nRUN test ! -e /data && mkdir /data && echo kept > /data/file\n")
    with engine.run(image, ["cat", "/data/file"]) as container:
        container.wait(timeout=30)
        assert container.logs() == "kept\n"


def test_the_environment_of_a_run(build: Build, lines: list[str]) -> None:
    build(
        "FROM host\nENV A=1\nARG B=2\nUSER nobody\n"
        "RUN env | sort; id -un; test ! -t 0 && wc -c < /dev/stdin; hostname; ls /proc/self/fd | wc -w\n",
        build_args={"http_proxy": "http://proxy.example:3128"},
    )
    assert printed(lines) == [
        "A=1",
        "B=2",
        "HOME=/nonexistent",
        "HTTP_PROXY=http://proxy.example:3128",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PWD=/",
        "http_proxy=http://proxy.example:3128",
        "nobody",
        "0",
        "buildkitsandbox",
        "4",
    ]


def test_the_hosts_file_is_the_same_wherever_it_is_built(build: Build, lines: list[str]) -> None:
    build("FROM host\nRUN getent hosts buildkitsandbox; grep buildkitsandbox /etc/hosts\n")
    assert printed(lines)[-1].split() == ["127.0.0.1", "buildkitsandbox"]


def test_output_comes_in_the_order_in_which_it_is_written(build: Build, lines: list[str]) -> None:
    build("FROM host\nRUN for i in $(seq 50); do echo out $i; echo err $i >&2; done\n")
    assert printed(lines) == [f"{stream} {number}" for number in range(1, 51) for stream in ("out", "err")]


@pytest.mark.parametrize(
    ("command", "code"), [("exit 7", 7), ("sh -c 'kill -9 $$'", 137), ("sh -c 'kill -TERM $$'; exit $?", 143)]
)
def test_exit_codes_and_signals(build: Build, command: str, code: int) -> None:
    with pytest.raises(BuildStepFailedError) as raised:
        build(f"FROM host\nRUN echo before; {command}\n")
    assert raised.value.exit_code == code
    assert raised.value.output.splitlines()[0] == "before"


def test_an_interrupted_run_ends_at_once(engine: Engine, build: Build, context: Path) -> None:
    """Ctrl-C arrives as KeyboardInterrupt wherever the build waits."""

    def interrupt(line: str) -> None:
        if line == "ready":
            raise KeyboardInterrupt

    command = "echo ready; sleep 1001"
    (context / "Dockerfile").write_text(f"FROM host\nRUN {command}\n")
    with pytest.raises(KeyboardInterrupt):
        engine.build(context, progress=interrupt)
    assert not [record for record, _ in engine._resources.records.live() if command in record.command]


BUILDER = """
import sys
from pathlib import Path
from pytest_pycontainer import Engine, Settings
with Engine(Settings(root=Path(sys.argv[1]), state=Path(sys.argv[2]))) as engine:
    engine.build(sys.argv[3], progress=lambda line: print(line, flush=True), secrets={"s": "hush"})
"""

if TYPE_CHECKING:
    from tests.engine.conftest import ServeAgent


def test_a_killed_build_leaves_a_store_that_works(engine: Engine, context: Path, tmp_path: Path) -> None:
    """What a step's mounts had is swept, and a cache that was locked is free."""
    mounts = "--mount=target=/in,rw --mount=type=cache,target=/cache,sharing=locked --mount=type=secret,id=s"
    (context / "Dockerfile").write_text(f"FROM host\nRUN {mounts} touch /cache/kept; echo in the midst; sleep 1000\n")
    settings = Settings(root=tmp_path / "store", state=engine.settings.state)
    command = [sys.executable, "-c", BUILDER, str(settings.root), str(settings.state), str(context)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as builder:
        assert builder.stdout is not None
        assert any(line == "in the midst\n" for line in builder.stdout)
        builder.kill()
    lines: list[str] = []
    with Engine(settings) as another:
        (context / "Dockerfile").write_text(f"FROM host\nRUN {mounts} ls /cache\n")
        another.build(context, progress=lines.append)
        assert printed(lines) == ["kept"]
        another.settle()
        deadline = time.monotonic() + 30
        # The killed build's monitor removes what was the container's, unless this engine was quicker.
        while left := list((settings.root / "containers").iterdir()):
            assert time.monotonic() < deadline, left
            time.sleep(0.01)
