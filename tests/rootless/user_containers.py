"""Containers of an ordinary user: tests that ``test_containers.py`` has an ordinary user run.

``HAS_IDS`` says whether the user has some in /etc/subuid and /etc/subgid.
"""

from __future__ import annotations

import io
import os
import select
import signal
import socket
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from pytest_pycontainer import Container, Engine, Image, wait
from pytest_pycontainer.errors import (
    ContainerFileError,
    ContainerHasNoCgroupError,
    ContainerStartError,
    InvalidSpecError,
    RootRequiredError,
    UnsupportedLimitError,
)

HAS_IDS = os.environ["HAS_IDS"] == "yes"
PATIENCE = 120.0

# A file of a user that only that user and root may read, a device, and a set-uid program.
ENTRIES = (
    ("private", 0o600, 7, 8, tarfile.REGTYPE, b"secret\n"),
    ("node", 0o644, 0, 0, tarfile.CHRTYPE, b""),
    ("closed", 0o700, 7, 8, tarfile.DIRTYPE, b""),
    ("closed/inside", 0o644, 7, 8, tarfile.REGTYPE, b"inside\n"),
)


def archive() -> io.BytesIO:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, mode, uid, gid, kind, content in ENTRIES:
            entry = tarfile.TarInfo(name)
            entry.mode, entry.uid, entry.gid, entry.type, entry.size = mode, uid, gid, kind, len(content)
            entry.devmajor, entry.devminor = 1, 3
            tar.addfile(entry, io.BytesIO(content))
    file.seek(0)
    return file


@pytest.fixture(scope="session")
def image(engine: Engine) -> Image:
    """Files of whatever users on the host image: an archive can't stand alone, for it has no programs."""
    context: dict[str, str | bytes] = {"Dockerfile": "FROM host\nADD files.tar /files\n"}
    context["files.tar"] = archive().getvalue()
    return engine.build(context, tag="files")


def output(container: Container) -> str:
    with container:
        assert container.wait(timeout=PATIENCE) == 0, container.logs()
        return container.logs()


def run(engine: Engine, image: Image | str, script: str, **options: object) -> str:
    return output(engine.run(image, ["sh", "-ec", script], network="none", **options))  # type: ignore[arg-type]


def test_root_in_the_container_is_the_user_outside(engine: Engine) -> None:
    assert os.geteuid() != 0
    container = engine.run("host", ["sleep", "1000"], network="none")
    assert container.exec(["id", "-u"]).stdout == "0\n"
    assert f"Uid:\t{os.getuid()}\t" in Path(f"/proc/{container.pid}/status").read_text()
    container.remove(force=True)


def test_the_host_image_takes_new_files_where_they_usually_go(engine: Engine) -> None:
    places = "/etc /usr/local/bin /var/lib /opt /srv /home /root /tmp /usr/lib/x86_64-linux-gnu /new"
    run(engine, "host", f"for place in {places}; do mkdir -p $place; touch $place/mine; test -O $place/mine; done")
    assert not Path("/usr/local/bin/mine").exists()
    run(engine, "host", "test ! -e /usr/local/bin/mine; python3 -c 'import json'; test -r /etc/passwd")


def test_the_host_image_hides_the_store_and_what_runs(engine: Engine) -> None:
    root = engine.settings.root
    assert root.is_dir()
    run(engine, "host", f'test ! -e {root}; test -z "$(ls -A /tmp)"; test -c /dev/null; echo x > /dev/null')


def test_a_read_only_host_image_is_so_in_all_its_parts(engine: Engine) -> None:
    script = (
        "for place in / /etc /usr /usr/local/bin /var/lib /opt; do ! touch $place/mine 2>/dev/null; done; touch /data/x"
    )
    run(engine, "host", script, read_only=True, tmpfs=["/data"])


def test_an_images_files_belong_to_its_users(engine: Engine, image: Image) -> None:
    listed = run(engine, image, "stat -c '%n %a %u:%g' /files/private /files/closed; ls /files; cat /files/private")
    owner = "7:8" if HAS_IDS else "0:0"
    # Without them, all is root's; a device there can be for nobody.
    assert listed == f"/files/private 600 {owner}\n/files/closed 700 {owner}\nclosed\nprivate\nsecret\n"


def test_what_other_users_have_written_is_told_read_committed_and_exported(engine: Engine, image: Image) -> None:
    script = (
        "chown 12:13 /files/closed/inside; umask 077; echo new > /files/new; chown 12:13 /files/new; rm /files/private"
    )
    if not HAS_IDS:
        with pytest.raises(AssertionError, match="Invalid argument"):
            run(engine, image, script)
        script = script.replace("chown", ": chown")
    with engine.run(image, ["sh", "-ec", script], network="none") as container:
        assert container.wait(timeout=PATIENCE) == 0, container.logs()
        changes = {change.path: change.kind for change in container.diff() if change.path.startswith("/files/")}
        assert changes["/files/new"] == "A"
        assert changes["/files/private"] == "D"
        assert container.read("/files/new") == b"new\n"
        assert container.written_bytes > 0
        committed = container.commit("committed")
    owner = "12:13" if HAS_IDS else "0:0"
    assert run(engine, committed, "stat -c %u:%g /files/new; test ! -e /files/private") == f"{owner}\n"
    exported = io.BytesIO()
    plain = engine.import_image(archive(), tag="plain")
    plain.export(exported)
    exported.seek(0)
    with tarfile.open(fileobj=exported) as tar:
        assert tar.extractfile("closed/inside").read() == b"inside\n"  # type: ignore[union-attr]
        assert tar.getmember("private").uid == (7 if HAS_IDS else 0)
    engine.remove("plain")


def test_a_builds_files_belong_to_whom_they_are_meant_for(engine: Engine, tmp_path: Path) -> None:
    dockerfile = """FROM host
COPY --chown=7:8 file /copied
RUN --mount=type=cache,target=/c,uid=7,gid=8,mode=0700,id=PLACE --mount=type=secret,id=s,target=/s,uid=7 \\
    --mount=type=ssh,target=/a,uid=7,gid=8 \\
    stat -c '%n %u:%g %a' /copied /c /s /a > /told
"""
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(tmp_path / "agent"))
        agent.listen()
        image = engine.build(
            {"Dockerfile": dockerfile.replace("PLACE", str(tmp_path)), "file": "content"},
            secrets={"s": b"secret"},
            ssh={"default": tmp_path / "agent"},
        )
    owner = "7:8" if HAS_IDS else "0:0"
    told = f"/copied {owner} 644\n/c {owner} 700\n/s {owner[0]}:0 400\n/a {owner} 600\n"
    assert run(engine, image, "cat /told") == told


def test_who_is_not_here_is_told(engine: Engine) -> None:
    with engine.run("host", ["sleep", "1000"], network="none") as container:
        if HAS_IDS:
            with pytest.raises(
                ContainerFileError, match=r"user 70000 and group 0 are not among the 65537 .*/etc/subuid"
            ):
                container.write("/etc/theirs", "", owner=(70000, 0))
        else:
            container.write("/etc/theirs", "", owner=(70000, 0))
            assert container.file("/etc/theirs").uid == 0
    tmpfs = {"tmpfs": ["/t:uid=7,gid=8,mode=700"]}
    assert run(engine, "host", "stat -c %u:%g /t", **tmpfs) == ("7:8\n" if HAS_IDS else "0:0\n")


NO_SUCH_IDS: tuple[tuple[dict[str, object], str], ...] = (
    ({"user": "70000:70000"}, r"no groups with the numbers 70000 here; .*usermod --add-subuids"),
    ({"user": "70000:0"}, r"no users with the numbers 70000:0 here; .*usermod --add-subuids"),
)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"oom_score_adj": -1000},
            r"it takes CAP_SYS_RESOURCE to have it below that of whoever started pytest; name a ",
        ),
        ({"ulimits": {"nofile": -1}}, r"hard limit that pytest was started with, \d+, .*name a lower one"),
        *(NO_SUCH_IDS if HAS_IDS else ()),  # who is the only user that there is, is called by any number
    ],
)
def test_what_takes_more_rights_says_what_to_do(engine: Engine, options: dict[str, object], told: str) -> None:
    with pytest.raises(ContainerStartError, match=told):
        run(engine, "host", "true", **options)


def test_an_image_is_saved_as_it_came(engine: Engine) -> None:
    content = archive().getvalue()
    image = engine.import_image(io.BytesIO(content), tag="saved")
    saved = io.BytesIO()
    engine.save(["saved"], saved)
    with tarfile.open(fileobj=io.BytesIO(saved.getvalue())) as tar:
        blobs = [tar.extractfile(member) for member in tar if member.isfile()]
        assert content in [blob.read() for blob in blobs if blob is not None]
    engine.remove("saved")
    assert engine.load(io.BytesIO(saved.getvalue()))[0].id == image.id
    engine.remove("saved")


def test_a_layer_that_deletes_and_one_that_hides(engine: Engine) -> None:
    dockerfile = "FROM files\nRUN rm -r /files/closed && mkdir /files/closed && echo other > /files/closed/other\n"
    image = engine.build({"Dockerfile": dockerfile})
    assert run(engine, image, "ls /files/closed") == "other\n"
    # By way of its archive, in which such a directory is marked in another way.
    with engine.run(image, ["rm", "/files/private"], network="none") as container:
        container.wait(timeout=PATIENCE)
        assert run(engine, container.commit(), "ls /files/closed; ls /files") == "other\nclosed\n"


def test_files_go_in_and_come_out(engine: Engine, image: Image, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("content")
    container = engine.run(image, ["sleep", "1000"], network="none")
    container.copy_to(tmp_path / "tree", "/etc/tree")
    container.write("/etc/note", "text", owner=(3, 4) if HAS_IDS else (0, 0))
    assert container.exec(["sh", "-c", "stat -c %u:%g /etc/tree/file; cat /etc/tree/file"]).stdout == "0:0\ncontent"
    assert container.exec(["stat", "-c", "%u:%g", "/etc/note"]).stdout == ("3:4\n" if HAS_IDS else "0:0\n")
    container.copy_from("/files/closed", tmp_path / "closed")
    assert (tmp_path / "closed/inside").read_text() == "inside\n"
    assert (tmp_path / "closed/inside").stat().st_uid == os.getuid()
    packed = io.BytesIO()
    container.get_archive("/files/closed", packed)
    packed.seek(0)
    container.put_archive("/srv", packed)
    assert container.exec(["cat", "/srv/closed/inside"]).stdout == "inside\n"
    container.remove(force=True)


def test_a_volume_keeps_what_whatever_user_has_written(engine: Engine, image: Image) -> None:
    run(
        engine,
        image,
        "umask 077; mkdir /data/d; echo kept > /data/d/file; (chown -R 5:5 /data || true)",
        volumes=["kept:/data"],
    )
    assert run(engine, image, "cat /data/d/file", volumes=["kept:/data"]) == "kept\n"
    with engine.volume("kept") as volume:
        assert volume.size > 0


def test_other_users(engine: Engine) -> None:
    if HAS_IDS:
        assert run(engine, "host", "id -u; id -G", user="7:8", group_add=["9"]) == "7\n8 9\n"
        return
    # There is one only, who is called what is wanted: root's files are then that user's.
    assert run(engine, "host", "id -u; id -G; touch /etc/mine; stat -c %u:%g /etc /etc/mine", user="7:8") == (
        "7\n8\n7:8\n7:8\n"
    )
    container = engine.run("host", ["sleep", "1000"], network="none", user="7:8", init=True)
    assert container.exec(["sh", "-c", "id -u; kill -0 1"], user="0:0").stdout == "0\n"
    assert container.exec(["sh", "-c", "id -u; kill -9 $(pgrep sleep)"]).stdout == "7\n"
    assert container.wait(timeout=PATIENCE) == 128 + signal.SIGKILL
    container.remove()
    with pytest.raises(ContainerStartError, match=r"no groups with the numbers 9 here; .*/etc/subuid.*usermod"):
        run(engine, "host", "true", group_add=["9"])


def test_what_the_user_may_not_reach_is_no_volume(engine: Engine, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(0)
    with pytest.raises(InvalidSpecError, match=r"a source that can be reached \(Permission denied\)"):
        engine.run("host", ["true"], volumes=[f"{closed}/file:/file"])
    closed.rmdir()


@pytest.mark.parametrize(
    "options",
    [
        {"userns": "auto"},
        {"pid": "host"},
        {"pid": "container:other"},
        {"ipc": "host"},
        {"devices": ["/dev/zero:/dev/x"]},
        {"device_cgroup_rules": ["c 1:3 rwm"]},
    ],
)
def test_what_takes_root_is_said_before_anything_is_made(engine: Engine, options: dict[str, object]) -> None:
    before = engine.containers()
    with pytest.raises(RootRequiredError, match=rf"can't have {next(iter(options))}=.*or run pytest as root"):
        run(engine, "host", "true", **options)
    assert engine.containers() == before


def test_a_limit_is_an_error_where_no_cgroup_is_the_users(engine: Engine) -> None:
    with pytest.raises(UnsupportedLimitError, match=r"memory.*available: none"):
        run(engine, "host", "true", memory="100m")
    container = engine.run("host", ["sleep", "1000"], network="none")
    if os.environ.get("HAS_CGROUP") == "yes":
        container.pause()
        container.unpause()
        assert container.stats().networks == ()
    else:
        for method in (container.pause, container.stats, container.commit):
            with pytest.raises(ContainerHasNoCgroupError, match=r"it has no cgroup, .*systemd-run --user --scope"):
                method()
        container.commit(pause=False)
    container.remove(force=True)


def test_a_privileged_one_has_all_rights_in_its_namespaces(engine: Engine) -> None:
    run(
        engine,
        "host",
        "mkdir /tmp/m; mount -t tmpfs x /tmp/m; mknod /tmp/m/p p; ! mknod /tmp/m/n c 1 3",
        privileged=True,
    )


def test_who_runs_and_listens_and_what_files_are(engine: Engine, image: Image) -> None:
    serve = "import socket, time; s = socket.create_server(('127.0.0.1', 8080)); time.sleep(1000)"
    ready = wait.port(8080, timeout=PATIENCE) & wait.file("/files/private") & wait.until(lambda c: c.processes())
    with engine.run(image, ["python3", "-c", serve], network="none", env={"COLOUR": "red"}, wait=ready) as container:
        assert repr(container.listening()) == "<Listening 127.0.0.1:8080/tcp (python3)>"
        assert [(process.command[0], process.pid_in_container) for process in container.processes()] == [("python3", 1)]
        assert container.environment()["COLOUR"] == "red"
        private = container.file("/files/private")
        owner = (7, 8) if HAS_IDS else (0, 0)
        assert (private.text, private.mode, private.uid, private.gid) == ("secret\n", 0o600, *owner)


def test_it_starts_again_as_it_was(engine: Engine, image: Image) -> None:
    container = engine.run(image, ["sh", "-c", "echo $$ >> /etc/runs; wc -l < /etc/runs"], network="none")
    assert container.wait(timeout=PATIENCE) == 0
    container.start()
    assert container.wait(timeout=PATIENCE) == 0
    assert container.logs() == "1\n2\n"
    container.remove()


OWNER = """
import sys
from pathlib import Path
from pytest_pycontainer import Engine, Settings
engine = Engine(Settings(root=Path(sys.argv[1]), state=Path(sys.argv[2])))
script = "umask 077; mkdir /d; touch /d/f; chown -R 7:7 /d; sleep 1000"
container = engine.run("files", ["sh", "-c", script], network="none")
print(container.id, container.pid, flush=True)
input()
"""


def test_whoever_is_killed_leaves_nothing(engine: Engine, image: Image) -> None:
    command = [sys.executable, "-c", OWNER, str(engine.settings.root), str(engine.settings.state)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        container_id, pid = owner.stdout.readline().split()
        directory = engine.settings.root / "containers" / container_id
        assert directory.is_dir()
        init = os.pidfd_open(int(pid))
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    assert select.select([init], [], [], PATIENCE)[0]
    os.close(init)
    with Engine(engine.settings) as other:
        while directory.exists():  # its monitor is at it, or this engine is, which sweeps what is left
            other.containers(others=True)
            run(other, "host", "true")


def test_prune_takes_all_away(engine: Engine, image: Image) -> None:
    engine.prune(all=True)
    assert not [path for path in (engine.settings.root / "layers").iterdir() if path.is_dir()]
    assert not list((engine.settings.root / "tmp").iterdir())
