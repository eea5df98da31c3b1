"""Root file systems go out of containers and come in as images."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from pytest_pycontainer import Engine, Image
from pytest_pycontainer.errors import (
    ContainerNotFoundError,
    DockerfileError,
    ImageNotPortableError,
    InvalidArchiveError,
    InvalidReferenceError,
    InvalidSpecError,
    StoreError,
)

SCRIPT = "echo new > /etc/new; rm /etc/gone; ln /etc/kept /etc/hard; echo ready; exec sleep 60"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system with a static shell: busybox would do, but a base Debian has none."""
    root = tmp_path_factory.mktemp("root")
    libraries = subprocess.run(["ldd", "/bin/sh"], check=True, capture_output=True, text=True, timeout=10).stdout
    needed = {"/bin/sh", "/bin/sleep", "/bin/rm", "/bin/ln", "/bin/cat"}
    for program in tuple(needed):
        listed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True, timeout=10).stdout
        needed |= {word for word in (libraries + listed).split() if word.startswith("/")}
    for file in needed:
        target = root / file.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(Path(file).read_bytes())
        target.chmod(0o755)
    (root / "etc").mkdir()
    for name in ("gone", "kept"):
        (root / "etc" / name).write_text(name)
    return root


@pytest.fixture(scope="module")
def image(engine: Engine, root: Path) -> Image:
    return engine.import_image(
        root, tag="imported:1", changes=['CMD ["/bin/sh", "-c", "echo hello"]'], message="by hand"
    )


def read(archive: bytes) -> dict[str, bytes | None]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name: None if member.issym() else content(tar, member) for member in tar}


def content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | None:
    file = tar.extractfile(member)
    return None if file is None else file.read()


def test_an_imported_image_runs(engine: Engine, image: Image) -> None:
    with engine.run("imported:1") as container:
        assert container.wait(timeout=20) == 0
        assert container.logs() == "hello\n"
    assert image.tags == ("imported:1",)
    (history,) = image.config.history
    assert (history.comment, history.created) == ("by hand", image.config.created)


def test_changes_are_dockerfile_instructions(engine: Engine, root: Path) -> None:
    changes = [
        "ENV A=1 B=two",
        "ENV C=$A$B",
        "WORKDIR /srv",
        "WORKDIR sub",
        "USER 7",
        "EXPOSE 80 53/udp",
        "VOLUME /data",
        'LABEL x="y z"',
        "STOPSIGNAL SIGINT",
        'ENTRYPOINT ["/bin/sh"]',
        "CMD -c true",
        "ONBUILD RUN x",
        "HEALTHCHECK NONE",
    ]
    config = engine.import_image(root, changes=changes).config
    assert config.env == ("A=1", "B=two", "C=1two")
    assert (config.working_directory, config.user) == ("/srv/sub", "7")
    assert config.exposed_ports == ("53/udp", "80/tcp")
    assert (config.volumes, dict(config.labels), config.stop_signal) == (("/data",), {"x": "y z"}, "SIGINT")
    assert (config.entrypoint, config.cmd) == (("/bin/sh",), ("/bin/sh", "-c", "-c true"))
    assert config.on_build == ("RUN x",)
    assert engine.import_image(root).config.history[0].comment == f"Imported from {root}"


def test_an_image_for_another_machine(engine: Engine, root: Path) -> None:
    config = engine.import_image(root, platform="linux/arm/v7").config
    assert (config.os, config.architecture, config.variant) == ("linux", "arm", "v7")


def test_what_cannot_be_imported(engine: Engine, root: Path, tmp_path: Path) -> None:
    with pytest.raises(DockerfileError, match=r"changes\[2\]:1:1: this instruction changes no image's config"):
        engine.import_image(root, changes=["CMD x", "RUN y"])
    with pytest.raises(InvalidSpecError, match="list of Dockerfile instructions"):
        engine.import_image(root, changes="CMD x")
    with pytest.raises(InvalidReferenceError):
        engine.import_image(root, tag="UPPER")
    with pytest.raises(InvalidArchiveError, match="No such file"):
        engine.import_image(tmp_path / "nothing")
    with pytest.raises(InvalidArchiveError, match="no file or directory is named"):
        engine.import_image("")


@pytest.mark.parametrize("state", ["running", "exited", "created"])
def test_a_container_is_exported_as_it_is(engine: Engine, image: Image, tmp_path: Path, state: str) -> None:
    script = SCRIPT if state == "running" else SCRIPT.replace("exec sleep 60", "")
    with engine.create(image, ["/bin/sh", "-c", script]) as container:
        if state != "created":
            container.start()
            next(iter(container.follow(timeout=20)))
        if state == "exited":
            container.wait(timeout=20)
        container.export(tmp_path / "root.tar")
        stream = io.BytesIO()
        container.export(stream)
    found = read((tmp_path / "root.tar").read_bytes())
    if state == "created":
        assert found["etc/gone"] == b"gone"
        assert "etc/new" not in found
        return
    assert (tmp_path / "root.tar").read_bytes() == stream.getvalue()
    assert found["etc/new"] == b"new\n"
    assert "etc/gone" not in found
    # The names of a hard link to what a lower layer had: the kernel has copied one file up for both.
    assert found["etc/hard"] == found["etc/kept"] == b"kept"
    assert found["etc/hosts"] == found["etc/hostname"] == found["etc/resolv.conf"] == b""
    assert not [name for name in found if name.startswith(("proc/", "sys/", "dev/"))]
    assert {"proc", "sys", "dev"} <= set(found)


def test_what_is_exported_is_imported(engine: Engine, image: Image, tmp_path: Path) -> None:
    with engine.run(image, ["/bin/sh", "-c", SCRIPT.replace("exec sleep 60", "")]) as container:
        assert container.wait(timeout=20) == 0
        container.export(tmp_path / "root.tar")
    again = engine.import_image(tmp_path / "root.tar")
    with engine.run(again, ["/bin/cat", "/etc/new", "/etc/kept"]) as container:
        assert container.wait(timeout=20) == 0
        assert container.logs() == "new\nkept"
    again.export(tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == (tmp_path / "root.tar").read_bytes()


def test_what_cannot_be_exported(engine: Engine, image: Image, tmp_path: Path) -> None:
    with engine.create("host", ["true"]) as container, pytest.raises(ImageNotPortableError, match="'host'"):
        container.export(tmp_path / "host.tar")
    with engine.create(image) as container:
        with pytest.raises(StoreError, match=r"cannot write .*nowhere"):
            container.export(tmp_path / "nowhere" / "root.tar")
        with pytest.raises(StoreError, match="No space left"):
            container.export("/dev/full")
    assert Path("/dev/full").exists()
    with pytest.raises(ContainerNotFoundError):
        container.export(tmp_path / "gone.tar")
    assert list(tmp_path.iterdir()) == []
