"""``pycontainer``'s images: listed, named, inspected, saved, removed."""

from __future__ import annotations

import io
import json
import re
import tarfile
from pathlib import Path

import pytest

from pytest_pycontainer import Engine, Image
from tests.cli.conftest import Call


@pytest.fixture
def image(engine: Engine, tmp_path: Path) -> Image:
    """An image of its own with two names."""
    (tmp_path / "Dockerfile").write_text(f"FROM scratch\nCOPY file /\nLABEL a=b test={tmp_path.name}\n")
    (tmp_path / "file").write_text("content")
    return engine.build(tmp_path, tag=[f"cli/{tmp_path.name.replace('_', '-')}:1", f"cli/{tmp_path.name}:2"])


def test_a_list_is_a_table_as_dockers(call: Call, image: Image) -> None:
    repository, _, tag = image.tags[0].rpartition(":")
    listed = call("images", repository)
    heading, *rows = listed.out.splitlines()
    assert heading.split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    begin = heading.index("IMAGE ID")
    assert {row[begin : begin + 12] for row in rows} == {image.short_id}
    assert (listed.code, listed.err) == (0, "")
    assert call("images", "-q", repository).out == f"{image.short_id}\n"
    assert call("images", "-q", "--no-trunc", f"{repository}:{tag}").out == f"{image.id}\n"
    assert call("image", "ls", "--format", "{{.Repository}}|{{.Tag}}", repository).out == f"{repository}|{tag}\n"
    assert json.loads(call("images", "--format", "json", repository).out)["ID"] == image.short_id
    table = call("images", "--format", r"table {{.Tag}}\t{{.ID}}", repository).out.splitlines()
    assert [line.split() for line in table] == [["TAG", "IMAGE", "ID"], [tag, image.short_id]]


def test_filters(call: Call, image: Image, tmp_path: Path) -> None:
    label = f"label=test={tmp_path.name}"
    assert call("images", "-q", "-f", label).out == f"{image.short_id}\n"
    assert call("images", "-q", "-f", label, "--filter", "dangling=true").out == ""
    assert call("images", "-q", "-f", f"reference={image.tags[0]}").out == f"{image.short_id}\n"
    refused = call("images", "-f", "colour=red")
    assert (refused.code, refused.out) == (1, "")
    assert "invalid filter 'colour': known are dangling, label, reference" in refused.err


def test_its_history(call: Call, image: Image) -> None:
    rows = call("history", "--format", "{{.ID}}|{{.CreatedBy}}|{{.Size}}", image.tags[0]).out.splitlines()
    assert re.fullmatch(rf"{image.short_id}\|.*LABEL.*\|0B", rows[0])
    assert re.fullmatch(r"<missing>\|.*COPY.*\|\d.*B", rows[1])
    assert call("history", "-q", "--no-trunc", image.tags[0]).out.splitlines() == [image.id, "<missing>"]
    assert call("history", "--human=false", "--format", "{{.Size}}", image.tags[0]).out.splitlines()[1].isdecimal()


def test_inspect(call: Call, image: Image) -> None:
    (found,) = json.loads(call("image", "inspect", image.tags[0]).out)
    assert (found["Id"], found["Config"]["Labels"]["a"]) == (image.id, "b")
    assert found["RepoTags"] == list(image.tags)
    assert call("inspect", "-f", "{{.Os}} {{len .RootFS.Layers}}", image.id).out == "linux 1\n"
    nothing = call("inspect", "--type", "image", "nothing-here")
    assert (nothing.code, nothing.out) == (1, "[]\n")
    assert "nothing-here" in nothing.err


def test_a_further_name_and_none(call: Call, image: Image) -> None:
    name = f"{image.tags[0]}-more"
    assert call("tag", image.tags[0], name) == (0, "", "")
    removed = call("rmi", name, "nothing-here")
    assert (removed.code, removed.out) == (1, f"Untagged: {name}\n")
    assert removed.err.startswith("Error: no image 'nothing-here'")
    last = call("rmi", *image.tags)
    assert last.code == 0
    assert last.out.splitlines()[-1].startswith("Deleted: sha256:")


def test_saved_and_loaded(call: Call, image: Image, tmp_path: Path) -> None:
    archive = tmp_path / "saved.tar"
    assert call("save", "-o", str(archive), image.tags[0]) == (0, "", "")
    assert call("rmi", "-f", image.id).code == 0
    assert call("load", "-i", str(archive)).out == f"Loaded image: {image.tags[0]}\n"
    assert call("images", "-q", "--no-trunc", image.tags[0]).out == f"{image.id}\n"


def test_a_root_file_system_becomes_an_image(call: Call, tmp_path: Path) -> None:
    archive = tmp_path / "root.tar"
    with tarfile.open(archive, "w") as file:
        member = tarfile.TarInfo("hello")
        member.size = 2
        file.addfile(member, io.BytesIO(b"hi"))
    made = call("import", "-c", 'CMD ["/hello"]', "-m", "by hand", str(archive), f"imported/{tmp_path.name}:1")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}\n", made.out)
    assert call("inspect", "-f", "{{json .Config.Cmd}} {{.Comment}}", made.out.strip()).out == '["/hello"] by hand\n'


def test_a_build(call: Call, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch AS one\nARG x\nLABEL x=$x\nFROM one\nLABEL two=2\n")
    identity = tmp_path / "id"
    tag = f"built/{tmp_path.name}:1"
    built = call("build", "-t", tag, "--build-arg", "x=5", "--iidfile", str(identity), str(tmp_path))
    assert built.out.splitlines()[-1] == f"Successfully tagged {tag}"
    assert call("inspect", "-f", "{{.Config.Labels.x}}{{.Config.Labels.two}}", tag).out == "52\n"
    quiet = call("build", "-q", "--build-arg", "x=5", str(tmp_path))
    assert quiet.out == f"{identity.read_text()}\n"
    part = call("build", "-q", "--target", "one", "--label", "l=m", str(tmp_path)).out.strip()
    assert call("inspect", "-f", "{{json .Config.Labels}}", part).out == '{"l":"m","x":""}\n'
    (tmp_path / "Dockerfile").write_text("FROM host\nRUN echo said; exit 7\n")
    failed = call("build", str(tmp_path))
    assert (failed.code, "said" in failed.out) == (7, True)
    assert "exit 7" in failed.err
    assert call("build", "--progress", "rainbow", str(tmp_path)).code == 1
    assert "nothing-here" in call("build", str(tmp_path / "nothing-here")).err
