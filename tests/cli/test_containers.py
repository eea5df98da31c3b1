"""``pycontainer`` with containers that another engine has: listed, looked into, changed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_pycontainer import Container, Engine, wait
from tests.cli.conftest import Call

SOON = 30.0


@pytest.fixture
def web(engine: Engine) -> Iterator[Container]:
    """A container that has written something, and runs."""
    script = "echo out; echo err >&2; echo content > /var/new; echo ready; exec sleep 1000"
    with engine.run(
        "host", ["sh", "-c", script], ports=[80], labels={"tier": "test"}, wait=wait.log("ready")
    ) as container:
        yield container


def test_ps(call: Call, web: Container) -> None:
    form = "{{.ID}}|{{.Image}}|{{.Command}}|{{.Ports}}|{{.Names}}|{{.State}}|{{.Labels}}|{{.Networks}}"
    port = f"127.0.0.1:{web.port(80)}->80/tcp"
    command = '"sh -c \'echo out; ec…"'
    listed = call("ps", "-f", f"name={web.name}", "--format", form).out
    assert listed == f"{web.short_id}|host|{command}|{port}|{web.name}|running|tier=test|bridge\n"
    assert re.fullmatch(r"Up .*\n", call("ps", "-f", f"id={web.id}", "--format", "{{.Status}}").out)
    assert call("ps", "-q", "--no-trunc", "-f", f"name={web.name}").out == f"{web.id}\n"
    heading = call("ps", "-s", "-f", "name=nobody").out
    assert heading.split("   ")[0] == "CONTAINER ID"
    assert heading.rstrip().endswith("SIZE")
    web.pause()
    assert "(Paused)" in call("container", "ls", "-f", f"name={web.name}").out
    web.unpause()
    web.stop(timeout=0)
    assert call("ps", "-q", "-f", f"name={web.name}").out == ""
    exited = call("ps", "-a", "-f", f"name={web.name}", "--format", "{{.Status}}").out
    assert re.fullmatch(r"Exited \(137\) .* ago\n", exited)
    assert call("ps", "-q", "-f", "exited=137", "-f", f"name={web.name}").out == f"{web.short_id}\n"
    assert call("ps", "-q", "-l").out != ""


def test_filters_of_ps(call: Call, web: Container) -> None:
    mine = ("-f", f"name={web.name}")
    port = web.port(80)
    fitting = "label=tier", "label=tier=test", "status=running", f"publish={port}", "ancestor=host", "network=bridge"
    for text in (*fitting, "health=none"):
        assert call("ps", "-q", *mine, "-f", text).out == f"{web.short_id}\n", text
    for text in ("label=tier=prod", "status=exited", "publish=1", "ancestor=redis", "health=healthy", "exited=0"):
        assert call("ps", "-q", *mine, "-f", text).out == "", text
    assert "invalid filter 'colour'" in call("ps", "-f", "colour=red").err
    assert "bad format of filter" in call("ps", "-f", "status").err


def test_logs(call: Call, web: Container) -> None:
    assert call("logs", web.name) == (0, "out\nready\n", "err\n")
    last = call("logs", "-n", "1", web.short_id)
    assert last.out + last.err in ("ready\n", "err\n")  # read from two pipes
    stamped = call("logs", "-t", web.name).out.splitlines()
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\S+Z (out|ready)", line) for line in stamped)
    assert call("logs", "--since", "1h", "--until", "50m", web.name) == (0, "", "")
    web.kill()
    assert call("logs", "-f", web.name) == (0, "out\nready\n", "err\n")
    assert call("logs", "-n", "few", web.name).code == 1


def test_exec(call: Call, web: Container) -> None:
    script = "echo $A $B $PWD; echo bad >&2; exit 7"
    ended = call("exec", "-e", "A=1", "-e", "B", "-w", "/var", web.name, "sh", "-c", script)
    assert ended == (7, "1 /var\n", "bad\n")
    assert call("exec", "-u", "65534", web.name, "id", "-u").out == "65534\n"
    missing = call("exec", web.name, "nothing-here")
    assert (missing.code, missing.out) == (127, "")
    assert call("exec", "-d", web.name, "sh", "-c", "echo detached > /tmp/file; sleep 1000") == (0, "", "")
    assert call("exec", "nobody", "true").code == 1


def test_env_files(call: Call, web: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "env"
    monkeypatch.setenv("FROM_HERE", "here")
    monkeypatch.delenv("NOT_HERE", raising=False)
    file.write_text("# a comment\n\nA=1=2\n  B= x \nFROM_HERE\nNOT_HERE\n")
    script = 'echo "$A|$B|$FROM_HERE|${NOT_HERE-none}|$C"'
    assert (
        call("exec", "--env-file", str(file), "-e", "C=3", web.name, "sh", "-c", script).out == "1=2| x |here|none|3\n"
    )
    file.write_bytes(b"A=1\nB=\xff\n")
    assert f"env file {file}, line 2" in call("exec", "--env-file", str(file), web.name, "true").err
    file.write_text("A B=1\n")
    assert f"env file {file}, line 1: 'A B'" in call("exec", "--env-file", str(file), web.name, "true").err
    missing = call("exec", "--env-file", "/nothing/here", web.name, "true")
    assert (missing.code, "open /nothing/here: No such file or directory" in missing.err) == (125, True)


def test_a_life(call: Call, web: Container) -> None:
    assert call("pause", web.name) == (0, f"{web.name}\n", "")
    assert call("unpause", web.name).code == 0
    assert call("rename", web.name, f"{web.name}-new") == (0, "", "")
    assert call("stop", "-t", "0", web.name, "nobody") == (
        1,
        f"{web.name}\n",
        "Error: no container 'nobody'; it may have been removed\n",
    )
    assert call("wait", web.name).out == "137\n"
    assert call("start", web.name).out == f"{web.name}\n"
    assert call("restart", "-t", "0", web.name).code == 0
    assert web.status == "running"
    assert call("kill", "-s", "TERM", web.name).code == 0
    assert call("kill", "-s", "NONE", web.name).code == 1
    refused = call("rm", web.name)
    assert (refused.code, refused.out) == (1, "")
    assert "running" in refused.err
    assert call("rm", "-f", web.name).code == 0
    assert web.status == "removed"


def test_what_is_in_it(call: Call, web: Container, tmp_path: Path) -> None:
    assert call("cp", f"{web.name}:/var/new", str(tmp_path)).code == 0
    assert (tmp_path / "new").read_text() == "content\n"
    (tmp_path / "to").write_text("from here")
    assert call("cp", str(tmp_path / "to"), f"{web.name}:/tmp/").code == 0
    assert web.read("/tmp/to") == b"from here"
    assert {"A /tmp/to", "A /var/new"} <= set(call("diff", web.name).out.splitlines())
    assert "container source" in call("cp", "a", "b").err
    made = call("commit", "-a", "me", "-c", "LABEL x=y", web.name, f"committed/{tmp_path.name}:1")
    form = "{{.Author}} {{.Config.Labels.x}} {{.Config.Labels.tier}}"
    assert call("inspect", "-f", form, made.out.strip()).out == "me y test\n"


def test_inspect(call: Call, web: Container) -> None:
    (found,) = json.loads(call("inspect", web.name).out)
    assert (found["Id"], found["Name"], found["State"]["Status"]) == (web.id, f"/{web.name}", "running")
    assert found["State"]["Pid"] == web.pid
    assert found["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"] == str(web.port(80))
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    assert call("inspect", "-f", form, web.short_id).out == f"{web.ip_address}\n"
    assert call("port", web.name).out == f"80/tcp -> 127.0.0.1:{web.port(80)}\n"
    assert call("port", web.name, "80").out == f"127.0.0.1:{web.port(80)}\n"
    assert call("port", web.name, "81/udp").err == f"Error: no public port '81/udp' published for {web.name}\n"
    rows = [line.split(maxsplit=3) for line in call("top", web.name).out.splitlines()]
    assert rows == [["UID", "PID", "PPID", "CMD"], ["root", str(web.pid), "0", "sleep 1000"]]
    (used,) = call("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", web.name).out.splitlines()
    assert used == f"{web.name} 1"
