"""Dockerfiles carried out for real."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_pycontainer import Engine, Image
from pytest_pycontainer.errors import (
    BuildStepFailedError,
    CopyFailedError,
    CopySourceNotFoundError,
    DockerfileError,
    DockerfileNotFoundError,
    ImageNotFoundError,
    RegistryUnavailableError,
)

Build = Callable[..., Image]


@pytest.fixture
def build(engine: Engine, context: Path) -> Build:
    def build(dockerfile: str, **options: object) -> Image:
        (context / "Dockerfile").write_text(dockerfile)
        return engine.build(context, **options)  # type: ignore[arg-type]

    return build


def output(engine: Engine, image: Image, command: str | None = None) -> str:
    with engine.run(image, None if command is None else ["sh", "-c", command]) as c:
        c.wait(timeout=60)
        return c.logs()


def test_what_run_writes_is_in_the_image_and_nowhere_else(engine: Engine, build: Build) -> None:
    image = build(
        "FROM host\nRUN mkdir /made && echo content > /made/file && rm -rf /etc/apt && chmod 4755 /made/file\n"
        'RUN ["sh", "-c", "cat /made/file > /made/copy"]\nCMD ["cat", "/made/copy"]\n'
    )
    assert output(engine, image) == "content\n"
    assert (
        output(engine, image, "ls -d /etc/apt 2>/dev/null; stat -c %a /made/file; echo gone > /made/copy") == "4755\n"
    )
    assert output(engine, image) == "content\n"
    assert not Path("/made").exists()
    assert Path("/etc/apt").exists()


def test_the_config_is_what_a_container_runs_with(engine: Engine, build: Build) -> None:
    image = build(
        "FROM host\nARG colour=red\nENV PAINT=$colour SIZE=big\nWORKDIR /work/here\nUSER nobody:nogroup\n"
        'LABEL a=b\nEXPOSE 80 53/udp\nENTRYPOINT ["sh", "-c"]\nCMD ["echo $PAINT $SIZE; pwd; id -un"]\n',
        build_args={"colour": "blue"},
    )
    assert output(engine, image) == "blue big\n/work/here\nnobody\n"
    assert image.config.labels == {"a": "b"}
    assert image.config.exposed_ports == ("53/udp", "80/tcp")
    with engine.run(image, ["echo $0"]) as c:
        c.wait(timeout=30)
        assert c.logs() == "sh\n"
    with engine.run(image, ["-u"], entrypoint="id") as c:
        c.wait(timeout=30)
        assert c.logs() == "65534\n"


def test_a_volume_is_a_directory_and_a_working_directory_its_users(engine: Engine, build: Build) -> None:
    image = build("FROM host\nVOLUME /data\nUSER nobody\nWORKDIR /w/x\nRUN touch y\n")
    with engine.run(image, ["sh", "-c", "ls -d /data /w/x/y; stat -c %U /w /w/x"]) as c:
        c.wait(timeout=30)
        assert c.logs().split() == ["/data", "/w/x/y", "nobody", "nobody"]


def test_copy_as_docker_copies(engine: Engine, build: Build, context: Path) -> None:
    (context / "dir/sub").mkdir(parents=True)
    (context / "dir/sub/deep").write_text("deep")
    (context / "dir/top").write_text("top")
    (context / "dir/link").symlink_to("top")
    (context / "script").write_text("#!/bin/sh\n")
    (context / "script").chmod(0o755)
    os.utime(context / "script", (1_000_000_000, 1_000_000_000))
    os.chown(context / "script", 1234, 1234)
    image = build(
        "FROM host\nRUN mkdir /real && ln -s /real /alias\n"
        "COPY script /bin/new-name\nCOPY script dir/top /several/\nCOPY dir /alias\n"
        "COPY --chown=nobody --chmod=600 script /mine\n"
        "WORKDIR /rel\nCOPY dir/t* .\n"
    )
    script = "stat -c '%n %a %u:%g' /bin/new-name /several/script /mine; find /real /rel | sort"
    lines = output(engine, image, script).splitlines()
    assert lines[:3] == ["/bin/new-name 755 0:0", "/several/script 755 0:0", "/mine 600 65534:65534"]
    assert lines[3:] == ["/real", "/real/link", "/real/sub", "/real/sub/deep", "/real/top", "/rel", "/rel/top"]
    assert (
        output(engine, image, "readlink /real/link; stat -c %Y /bin/new-name; cat /rel/top") == "top\n1000000000\ntop"
    )


def test_stages_hand_over_files(engine: Engine, build: Build) -> None:
    image = build(
        "FROM host AS maker\nRUN mkdir -p /out/a /out/b && echo 1 > /out/a/one && echo 2 > /out/b/two\n"
        "RUN chown 7:7 /out/a/one\n"
        "FROM host AS unused\nRUN exit 1\n"
        "FROM host\nCOPY --from=maker /out /in\nCOPY --from=0 /out/*/t* /picked/\n"
    )
    assert output(engine, image, "cd /; find in picked | sort; stat -c %u in/a/one").split() == [
        *("in", "in/a", "in/a/one", "in/b", "in/b/two", "picked", "picked/two", "7"),
    ]


def test_scratch_holds_what_is_copied_and_nothing_else(engine: Engine, build: Build) -> None:
    image = build('FROM scratch\nCOPY --from=host /etc/hostname /data\nCMD ["/nothing"]\n')
    assert image.config.host is None
    (layer,) = engine._resources.store.layer_directories(image.config)
    assert sorted(path.name for path in layer.iterdir()) == ["data"]
    assert stat.S_ISREG((layer / "data").stat().st_mode)


def test_a_copy_never_leaves_the_image(engine: Engine, build: Build, context: Path, tmp_path: Path) -> None:
    """CVE-2018-15664 and its kin: links in the image lead nowhere but into the image."""
    (context / "file").write_text("x")
    build(
        f"FROM host\nRUN ln -s {tmp_path} /out && ln -s ../../../../../..{tmp_path} /up\n"
        "COPY file /out/\nCOPY file /up/\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["context"]


def test_an_unchanged_build_runs_nothing(engine: Engine, build: Build, context: Path) -> None:
    (context / "a").write_text("1")
    (context / "b").write_text("1")
    text = "FROM host\n" + "".join(
        f"RUN date +%s%N > /{place}\n{copy}"
        for place, copy in (("first", "COPY a /a\n"), ("second", "COPY b /b\n"), ("third", ""))
    )
    lines: list[str] = []
    first = build(text)
    assert build(text, progress=lines.append).id == first.id
    assert sum("Using cache" in line for line in lines) == 5
    (context / "b").write_text("2")
    changed = build(text)
    marks = "cat /first /second /third"
    before, after = (output(engine, image, marks).split() for image in (first, changed))
    assert (before[:2], before[2] != after[2]) == (after[:2], True)
    again = build(text, no_cache=True)
    assert output(engine, again, marks).split()[0] != before[0]


def test_progress_reads_as_dockers(build: Build) -> None:
    said: list[str] = []
    image = build("FROM host\nRUN echo from inside\nENV A=b\n", tag="progress-test", progress=said.append)
    text = "\n".join(said)
    for expected in ("Step 1/3 : FROM host", "Step 2/3 : RUN echo from inside", "from inside", " ---> ", "Running in"):
        assert expected in text
    assert text.rstrip().endswith(f"Successfully built {image.short_id}\nSuccessfully tagged progress-test:latest")


def test_tags_find_the_image_in_any_engine(engine: Engine, build: Build) -> None:
    image = build("FROM host\nENV TAGGED=yes\n", tag=["tagged-test:1", "tagged-test"])
    assert engine.image("tagged-test").id == engine.image("tagged-test:1").id == image.id
    assert engine.image(image.short_id).id == image.id
    with pytest.raises(ImageNotFoundError, match="did you mean tagged-test"):
        engine.run("taged-test", pull="never")


def test_a_failing_run_says_which_and_why(engine: Engine, build: Build) -> None:
    before = sorted((engine.settings.root / "layers").iterdir())
    with pytest.raises(BuildStepFailedError) as raised:
        build("FROM host\nENV A=b\nRUN echo the reason >&2; exit 42\n")
    error = raised.value
    assert (error.step, error.steps, error.exit_code) == (3, 3, 42)
    assert "the reason" in error.output
    assert "step 3/3 (RUN echo the reason >&2; exit 42) exited with code 42" in str(error)
    assert sorted((engine.settings.root / "layers").iterdir()) == before


def test_a_run_whose_command_is_missing(build: Build) -> None:
    with pytest.raises(BuildStepFailedError, match="no such file in the image") as raised:
        build('FROM host\nRUN ["/no/such/program"]\n')
    assert raised.value.exit_code == 127


@pytest.mark.parametrize(
    ("dockerfile", "kind", "message"),
    [
        ("FROM host\nRUNN true\n", DockerfileError, r"Dockerfile:2:1: .*\n    RUNN true\n    \^"),
        ("FROM host\nCOPY nothing /\n", CopySourceNotFoundError, r"Dockerfile:2:6: "),
        ("FROM host AS a\nFROM host\nCOPY --from=a /nothing /\n", CopySourceNotFoundError, "/nothing"),
        ("FROM localhost:1/no-such-image\n", RegistryUnavailableError, "localhost:1"),
        ("FROM host\nCOPY --from=localhost:1/none /x /\n", DockerfileError, "neither a stage nor an image"),
        ("FROM localhost:1/b\nFROM host AS localhost:1/b\n", DockerfileError, "AS"),
    ],
)
def test_what_can_not_be_built(build: Build, dockerfile: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        build(dockerfile)


def test_a_missing_dockerfile(engine: Engine, context: Path) -> None:
    with pytest.raises(DockerfileNotFoundError, match="Dockerfile"):
        engine.build(context)


def test_a_build_reaches_the_outside_by_name(engine: Engine, build: Build) -> None:
    image = build(
        "FROM host\nRUN getent hosts $(sed -n 's#^URIs: http://\\([^/]*\\)/.*#\\1#p' "
        "/etc/apt/sources.list.d/*.sources | head -1) > /resolved\n"
    )
    assert output(engine, image, "wc -l < /resolved").strip() != "0"


def test_a_copy_onto_a_directory_fails_and_says_so(build: Build, context: Path) -> None:
    (context / "file").write_text("x")
    with pytest.raises(CopyFailedError, match="copy file to /place/: /place/file is a directory"):
        build("FROM host\nRUN mkdir -p /place/file\nCOPY file /place/\n")
