"""Bind mounts, volumes and tmpfs, as containers and their callers see them."""

from __future__ import annotations

import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import pytest

from pytest_pycontainer import Engine, Image, Settings
from pytest_pycontainer.errors import ContainerStartError, InvalidSpecError, VolumeInUseError, VolumeNotFoundError
from pytest_pycontainer.kernel import mount


def output(engine: Engine, script: str, image: str | Image = "host", **options: object) -> str:
    with engine.run(image, ["sh", "-c", f"exec 2>&1; {script}"], **options) as container:  # type: ignore[arg-type]
        container.wait(timeout=30)
        return container.logs()


@pytest.fixture(scope="module")
def image(engine: Engine) -> Image:
    """An image with a volume, which has content of another owner, a hard link, and a link that leads out of it."""
    dockerfile = (
        "FROM host\n"
        "RUN mkdir -p /srv/data/sub && cd /srv/data && echo first > file && ln file hard && ln -s /etc/passwd out"
        " && chown 12:34 . file && chmod 2750 . && chmod 640 file && echo other > sub/deep\n"
        "VOLUME /srv/data /srv/missing\n"
    )
    return engine.build({"Dockerfile": dockerfile})


# Bind mounts


def test_a_directory_of_this_machine_is_read_and_written(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from outside")
    said = output(
        engine, "cat /made/for/it/in; echo from inside > /made/for/it/out", volumes={tmp_path: "/made/for/it"}
    )
    assert said == "from outside"
    assert (tmp_path / "out").read_text() == "from inside\n"


def test_read_only_holds_for_what_is_mounted_below_too(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    said = output(engine, "touch /mnt/new; echo y > /mnt/file", volumes=[f"{tmp_path}:/mnt:ro,z"])
    assert said.count("Read-only") == 2
    assert (tmp_path / "file").read_text() == "x"


def test_a_single_file(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine\n")
    mounts = [f"type=bind,source={tmp_path}/file,target=/etc/hostname,readonly"]
    assert output(engine, "cat /etc/hostname; echo x > /etc/hostname", mounts=mounts).startswith("mine\n")
    assert (tmp_path / "file").read_text() == "mine\n"


def test_a_relative_path_begins_with_a_dot(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("here")
    monkeypatch.chdir(tmp_path)
    assert output(engine, "cat /mnt/file", volumes={"./data": "/mnt:ro"}) == "here"


def test_inner_mounts_are_not_hidden_whatever_their_order(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("inner")
    said = output(
        engine, "cat /mnt/a/b/file; cat /etc/hostname", volumes=[f"{tmp_path}:/mnt/a/b", "/mnt", "/etc"], hostname="me"
    )
    assert said == "innerme\n"


@pytest.mark.parametrize("userns", ["host", "auto"])
def test_what_is_mounted_later_shows_with_rslave_only(tmp_path: Path, userns: Literal["host", "auto"]) -> None:
    shared = tmp_path / "shared"
    (shared / "sub").mkdir(parents=True)
    mount.bind(str(shared), str(shared))
    try:
        mount.mount("none", str(shared), None, 1 << 20)  # MS_SHARED
        with Engine(Settings(root=tmp_path / "store", state=tmp_path / "state")) as engine:
            command = ["sleep", "1000"]
            volumes = [f"{shared}:/slave:rslave", f"{shared}:/private"]
            with engine.run("host", command, volumes=volumes, userns=userns) as container:
                mount.mount("tmpfs", str(shared / "sub"), "tmpfs")
                try:
                    (shared / "sub/file").touch()
                    assert container.exec(["ls", "/slave/sub", "/private/sub"]).stdout == (
                        "/private/sub:\n\n/slave/sub:\nfile\n"
                    )
                finally:
                    mount.detach(str(shared / "sub"))
    finally:
        mount.detach(str(shared))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"volumes": ["/nowhere/at/all:/mnt"]}, "nothing is at /nowhere/at/all"),
        ({"volumes": [f"/{'x' * 300}:/mnt"]}, "that can be reached .File name too long"),
        ({"volumes": {"data": "relative"}}, "an absolute path in the container"),
        ({"volumes": ["/"]}, "other than /"),
        ({"volumes": ["/etc:/x:rshared"]}, "rprivate or rslave"),
        ({"volumes": ["/etc:/x:r0"]}, "the options ro"),
        ({"volumes": ["a:b:c:d"]}, "TARGET absolute"),
        ({"volumes": ["..:x"]}, "an absolute path"),
        ({"volumes": {"a/b": "/x"}}, "letters, digits"),
        ({"volumes": 5}, "a sequence of texts"),
        ({"volumes": ["/etc:/x", "/usr:/x/"]}, "/etc and /usr.*one mount at /x"),
        ({"volumes": ["data:/x"], "tmpfs": ["/y/../x"]}, "volume data and a tmpfs"),
        ({"tmpfs": {"/x": "size=much"}}, "tmpfs size"),
        ({"tmpfs": {"/x": "mode=9"}}, "mode= .octal."),
        ({"mounts": ["type=bind,target=/x"]}, "source="),
        ({"mounts": ["type=nfs,target=/x"]}, "type=bind, type=volume or type=tmpfs"),
        ({"mounts": ["type=bind,src=/etc,dst=/x,tmpfs-size=5"]}, "not tmpfs-size"),
        ({"mounts": ["type=bind,src=/etc,dst=/x,readonly=perhaps"]}, "true or false"),
        ({"mounts": ["src=/etc,dst=/x"]}, "type=bind for a path"),
    ],
)
def test_bad_mounts_say_what_is_wanted(engine: Engine, options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidSpecError, match=message):
        engine.run("host", ["true"], **options)  # type: ignore[arg-type]


def test_nothing_is_mounted_in_proc(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(ContainerStartError, match="mount /proc/x"):
        engine.run("host", ["true"], volumes={tmp_path: "/proc/x"})


# tmpfs


def test_a_tmpfs_has_dockers_defaults_and_options(engine: Engine) -> None:
    script = "grep -E ' /(scratch|other) ' /proc/self/mounts; stat -c '%a %u' /scratch /other"
    said = output(engine, script, tmpfs={"/scratch": "size=64k,mode=700,uid=5", "/other": "exec"})
    scratch, other, *modes = sorted(said.splitlines(), key=lambda line: "/other" in line)[:2] + said.splitlines()[2:]
    assert "rw,nosuid,nodev,noexec" in scratch
    assert "size=64k" in scratch
    assert "noexec" not in other
    assert modes == ["700 5", "1777 0"]
    limited = output(engine, "head -c 100000 /dev/zero > /x/file; echo $?", mounts=["type=tmpfs,dst=/x,tmpfs-size=64k"])
    assert limited.endswith("1\n")


# Volumes


def test_a_named_volume_outlives_its_containers(engine: Engine) -> None:
    with engine.volume("kept") as volume:
        output(engine, "echo one >> /data/file", volumes={"kept": "/data"})
        assert output(engine, "echo two >> /other/file; cat /other/file", volumes={volume: "/other"}) == "one\ntwo\n"
        assert (volume.path / "file").read_text() == "one\ntwo\n"
        assert engine.volume("kept") == volume
        assert volume in engine.volumes()
    assert volume not in engine.volumes()
    volume.remove()


def test_a_volume_starts_with_what_the_image_has(engine: Engine, image: Image) -> None:
    with engine.volume("filled") as volume:
        show = "cd /srv/data; stat -c '%n %u %g %a %h' . file hard sub/deep; readlink out"
        said = output(engine, show, image, volumes={"filled": "/srv/data"})
        assert said == ". 12 34 2750 3\nfile 12 34 640 2\nhard 12 34 640 2\nsub/deep 0 0 644 1\n/etc/passwd\n"
        (volume.path / "file").write_text("changed")
        assert output(engine, "cat /srv/data/file", image, volumes=["filled:/srv/data"]) == "changed"
        assert sorted(path.name for path in volume.path.parent.iterdir()) == ["content", "volume.json"]
    with engine.volume("bare"):
        assert output(engine, "ls /srv/data", image, volumes=["bare:/srv/data:nocopy"]) == ""


def test_an_interrupted_filling_goes_on(engine: Engine, image: Image) -> None:
    with engine.volume("interrupted") as volume:
        half = volume.path.parent / "filled"
        half.mkdir()
        (half / "rest").write_text("the rest")
        (volume.path / "moved").write_text("moved")
        (volume.path.parent / "filling").mkdir()
        assert output(engine, "cd /srv/data; cat moved rest", image, volumes={volume: "/srv/data"}) == "movedthe rest"


def test_containers_that_begin_at_once_fill_a_volume_once(engine: Engine, image: Image) -> None:
    with engine.volume("at-once"), ThreadPoolExecutor(4) as threads:
        said = threads.map(lambda _: output(engine, "ls /srv/data", image, volumes=["at-once:/srv/data"]), range(4))
        assert set(said) == {"file\nhard\nout\nsub\n"}


def test_an_images_volumes_are_the_containers_own(engine: Engine, image: Image) -> None:
    with engine.run(image, ["sh", "-c", "echo new > /srv/data/new; sleep 1000"]) as container:
        directory = container.upper.parent
        assert container.exec(["grep", "-c", " /srv/", "/proc/self/mounts"]).stdout == "2\n"
        assert container.exec(["cat", "/srv/data/file"]).stdout == "first\n"
        assert not (container.upper / "srv/data/new").exists()
    engine.settle()
    assert not directory.exists()
    assert output(engine, "ls /srv/data", image) == "file\nhard\nout\nsub\n"


def test_a_volume_in_use_stays(engine: Engine) -> None:
    with (
        engine.volume("busy") as volume,
        engine.create("host", ["true"], name="its-user", volumes={volume: "/data"}),
        Engine(engine.settings) as other,
    ):
        with pytest.raises(VolumeInUseError, match="its-user use it") as error:
            volume.remove()
        assert error.value.containers == ("its-user",)
        with pytest.raises(VolumeInUseError):
            other.volume("busy").remove()


def test_disk_usage_counts_volumes(tmp_path: Path) -> None:
    with Engine(Settings(root=tmp_path / "store", state=tmp_path / "state")) as engine:
        engine.volume("kept")
        with engine.create("host", ["true"], volumes=["kept:/data", "/own"]):
            usage = engine.disk_usage().volumes
            assert (usage.count, usage.in_use, usage.reclaimable_bytes) == (2, 2, 0)
        usage = engine.disk_usage().volumes
        assert (usage.count, usage.in_use) == (1, 0)
        assert usage.reclaimable_bytes == usage.bytes > 0


def test_a_removed_volume_is_not_made_again_by_its_handle(engine: Engine) -> None:
    volume = engine.volume()
    volume.remove()
    with pytest.raises(VolumeNotFoundError):
        engine.run("host", ["true"], volumes={volume: "/data"})


def test_a_volume_without_a_name_goes_with_its_engine(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path / "store", state=tmp_path / "state")
    with Engine(settings) as engine:
        path = engine.volume().path
        assert path.is_dir()
    assert not path.exists()
    script = (
        "import os, sys; from pathlib import Path; from pytest_pycontainer import Engine, Settings\n"
        f"engine = Engine(Settings(root=Path({str(settings.root)!r}), state=Path({str(settings.state)!r})))\n"
        "volume = engine.volume(); engine.volume('named'); print(volume.path, flush=True); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert killed.returncode == -9, killed.stderr
    assert Path(killed.stdout.strip()).is_dir()
    with Engine(settings) as engine:
        assert [volume.name for volume in engine.volumes()] == ["named"]
    assert not Path(killed.stdout.strip()).exists()


def test_nobody_else_looks_into_volumes(engine: Engine) -> None:
    with engine.volume() as volume:
        assert stat.S_IMODE(volume.path.parent.parent.stat().st_mode) == 0o700


def test_a_container_that_fails_to_start_keeps_no_volume(engine: Engine) -> None:
    with engine.volume("free") as volume, pytest.raises(ContainerStartError):
        engine.run("host", ["/no/such/program"], volumes={volume: "/data"})
