from __future__ import annotations

import dataclasses
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_pycontainer.build.classic import ClassicLines
from pytest_pycontainer.build.execute import build_image
from pytest_pycontainer.build.modes import parse_mode
from pytest_pycontainer.build.progress import silent
from pytest_pycontainer.build.request import BuildRequest
from pytest_pycontainer.build.steps import Base, CopySource
from pytest_pycontainer.errors import (
    BuildStepFailedError,
    CopySourceNotFoundError,
    DockerfileError,
    DockerfileNotFoundError,
    ImageNotFoundError,
    ImageOutdatedError,
    InvalidReferenceError,
)
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image.config import DEFAULT_PATH, ImageConfig
from pytest_pycontainer.store.host import host_identity

if TYPE_CHECKING:
    from pytest_pycontainer.build.steps import RunStep
    from pytest_pycontainer.store.store import StoredImage

# The builder fixture's class lives in conftest.py, which importlib mode keeps out of reach.
Builder = Any


def environment(step: RunStep) -> dict[str, str]:
    return dict(step.environment)


# Images


def test_a_dockerfile_becomes_an_image(builder: Builder) -> None:
    (builder.context / "app.py").write_text("app")
    image = builder.build(
        'FROM host\nRUN write /etc/made yes\nCOPY app.py /srv/\nENV MODE=test\nEXPOSE 6379\nCMD ["app"]\n',
        tags=["my-app", "my-app:1"],
        labels={"b": "$x", "a": "1"},
    )
    config = image.config
    assert builder.files(image) == {"etc/made": "yes", "srv/app.py": "app"}
    assert config.env == (f"PATH={DEFAULT_PATH}", "MODE=test")
    assert config.cmd == ("app",)
    assert config.exposed_ports == ("6379/tcp",)
    assert config.labels == {"a": "1", "b": "$x"}
    assert config.host == host_identity()
    assert len(config.diff_ids) == 2
    assert builder.store.image("my-app:1") == builder.store.image("my-app") == image


def test_progress_reads_as_dockers(builder: Builder) -> None:
    text = 'FROM host\nRUN print hello world\nCMD ["x"]\n'
    image = builder.build(text, tags=["localhost:5000/app:2"])
    short = digests.short(image.id)
    patterns = [
        r"Step 1/3 : FROM host",
        r" ---> [0-9a-f]{12}",
        r"Step 2/3 : RUN print hello world",
        r" ---> Running in [0-9a-f]{12}",
        r"hello world",
        r"Removing intermediate container [0-9a-f]{12}",
        r" ---> [0-9a-f]{12}",
        r'Step 3/3 : CMD \["x"\]',
        rf" ---> {short}",
        rf"Successfully built {short}",
        r"Successfully tagged localhost:5000/app:2",
    ]
    assert len(builder.lines) == len(patterns)
    assert all(map(re.fullmatch, patterns, builder.lines)), builder.lines
    again = builder.build(text)
    assert again == image
    assert builder.lines[2:6] == [
        "Step 2/3 : RUN print hello world",
        " ---> Using cache",
        f" ---> {builder.lines[4][6:]}",
        'Step 3/3 : CMD ["x"]',
    ]


def test_history_reads_as_dockers(builder: Builder) -> None:
    image = builder.build("FROM scratch\nARG v=1\nRUN write /a $v\nENV a=1\nWORKDIR /w\nRUN nothing\n")
    history = [(entry.created_by, entry.empty_layer) for entry in image.config.history]
    assert history == [
        ("/bin/sh -c #(nop)  ARG v=1", True),
        ("|1 v=1 /bin/sh -c write /a $v", False),
        ("/bin/sh -c #(nop)  ENV a=1", True),
        ("/bin/sh -c #(nop) WORKDIR /w", False),
        ("|1 v=1 /bin/sh -c nothing", False),
    ]
    assert len(image.config.diff_ids) == 3
    assert image.config.diff_ids[2] == digests.EMPTY_LAYER


def test_times_honour_source_date_epoch(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    image = builder.build("FROM scratch\nENV a=1\n", args={"SOURCE_DATE_EPOCH": "1700000000"})
    assert image.config.created == "2023-11-14T22:13:20Z"
    assert image.config.history[0].created == image.config.created
    assert not any("not consumed" in line for line in builder.lines)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert builder.build("FROM scratch\nENV a=2\n").config.created == "1970-01-01T00:00:00Z"
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    created = builder.build("FROM scratch\nENV a=3\n").config.created
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", created)


def test_an_entrypoint_keeps_the_stages_own_command_only(builder: Builder) -> None:
    builder.build('FROM scratch\nCMD ["base"]\n', tags=["base"])
    assert builder.build('FROM base\nENTRYPOINT ["e"]\n').config.cmd is None
    assert builder.build('FROM base\nCMD ["own"]\nENTRYPOINT ["e"]\n').config.cmd == ("own",)


def test_every_image_has_a_path_and_scratch_a_working_directory(builder: Builder) -> None:
    config = builder.build("FROM scratch\nENV a=1\n", tags=["pathless"]).config
    assert config.env == (f"PATH={DEFAULT_PATH}", "a=1")
    assert config.working_directory == "/"
    own = ImageConfig("amd64", "linux", env=("b=2", "PATHS=3"))
    builder.store.tag(builder.store.put_image(own), "own")
    config = builder.build("FROM own\nENV a=1\n").config
    assert config.env == ("b=2", "PATHS=3", f"PATH={DEFAULT_PATH}", "a=1")
    assert config.working_directory == ""
    assert builder.build("FROM own\nENV PATH=/x\nFROM pathless\nENV PATH=/y\n").config.env == ("PATH=/y", "a=1")


# What a step runs with


def test_run_gets_the_stages_root_user_directory_and_environment(builder: Builder) -> None:
    image = builder.build(
        "FROM scratch\nRUN write /a 1\nARG a=arg\nENV a=env\nARG b\nARG c=$a-3\nARG unset\nENV d=env\nARG d=arg\n"
        "USER app:app\nWORKDIR x\nWORKDIR y\nRUN nothing\n",
        args={"b": "given", "http_proxy": "http://proxy"},
    )
    base, step = builder.executor.runs[1]
    assert step.command == ("/bin/sh", "-c", "nothing")
    assert (step.user, step.working_directory) == ("app:app", "/x/y")
    assert environment(step) == {
        "PATH": DEFAULT_PATH,
        "http_proxy": "http://proxy",
        "HTTP_PROXY": "http://proxy",
        "a": "env",
        "b": "given",
        "c": "env-3",
        "d": "arg",
    }
    assert not base.host
    assert len(base.layers) == 3
    assert (base.layers[-1] / "a").read_text() == "1"
    assert image.config.env == (f"PATH={DEFAULT_PATH}", "a=env", "d=env")
    assert "proxy" not in image.config.to_json().decode()
    assert image.config.history[-1].created_by == "|3 b=given c=env-3 d=arg /bin/sh -c nothing"


def test_run_on_the_host_image(builder: Builder) -> None:
    builder.build("FROM host\nRUN nothing\n")
    base, step = builder.executor.runs[0]
    assert base == Base((), host=True)
    assert step.working_directory == "/"
    assert environment(step) == {"PATH": DEFAULT_PATH}


def test_run_in_exec_form_and_in_another_shell(builder: Builder) -> None:
    builder.build('FROM host\nRUN ["print", "nothing"]\nSHELL ["/bin/bash", "-c"]\nRUN nothing\n')
    assert [step.command for _, step in builder.executor.runs] == [("print", "nothing"), ("/bin/bash", "-c", "nothing")]


# Copying


def test_a_stage_that_holds_the_same_is_copied_from_the_cache(builder: Builder) -> None:
    text = "FROM host AS a\nRUN {}\nFROM host\nCOPY --from=a /made /x\nRUN nothing\n"
    first = builder.build(text.format("write /made same"))
    second = builder.build(text.format("write /other thing;write /made same"))
    assert builder.cached == [False, True, True]
    assert second == first
    assert builder.executor.digests == 2
    assert builder.build(text.format("write /other thing;write /made same")) == first
    assert builder.executor.digests == 2  # it is known that these layers hold the same
    assert builder.build(text.format("write /made other")) != first
    assert builder.cached == [False, False, False]


def test_copy_from_the_context(builder: Builder) -> None:
    (builder.context / "src").mkdir()
    (builder.context / "src" / "a.py").write_text("a")
    (builder.context / "src" / "a.pyc").write_text("a")
    (builder.context / "link").symlink_to("src/a.py")
    (builder.context / ".dockerignore").write_text("**/*.pyc\n")
    builder.build(
        "FROM host\nARG who=app\nWORKDIR /w\nCOPY src lib\n"
        "COPY --chown=$who:7 --chmod=0640 link src/a.py ./\nCOPY src .\n"
    )
    _, first, second, third = (step for _, step in builder.executor.copies)
    assert first.root == builder.context
    assert (first.sources, first.destination) == ((CopySource("src", ("a.py",)),), "/w/lib")
    assert (first.owner, first.mode) == ("", None)
    assert second.sources == (CopySource("src/a.py", name="link"), CopySource("src/a.py"))
    assert (second.destination, second.owner, second.mode) == ("/w/", "app:7", parse_mode("640"))
    assert third.destination == "/w/"


def test_a_dockerfiles_own_dockerignore_wins(builder: Builder) -> None:
    (builder.context / "a").touch()
    (builder.context / ".dockerignore").write_text("a\n")
    (builder.context / "Dockerfile.dockerignore").write_text("b\n")
    builder.build("FROM host\nCOPY a /\n")


def test_copy_from_stages_and_images(builder: Builder) -> None:
    base = builder.build("FROM scratch\nRUN write /data image\n", tags=["base"])
    image = builder.build(
        "FROM host AS made\nRUN write /made/x stage\nFROM scratch\n"
        "COPY --from=made /made/x /y\nCOPY --from=0 made/* /z/\nCOPY --from=base data /data\n"
    )
    stage, wild, other = (step for _, step in builder.executor.copies)
    assert isinstance(stage.root, Base)
    assert (stage.root.host, len(stage.root.layers)) == (True, 1)
    assert stage.sources == (CopySource("made/x"),)
    assert wild.sources == (CopySource("made", pattern=("[^/]*",)),)
    assert other.root == Base(builder.store.layer_directories(base.config), host=False)
    assert builder.files(image) == {"y": "stage", "z/x": "stage", "data": "image"}


def test_workdir_makes_a_directory(builder: Builder) -> None:
    image = builder.build("FROM scratch\nWORKDIR /srv/app\n")
    (_, step) = builder.executor.copies[0]
    assert (step.sources, step.destination) == ((), "/srv/app")
    assert image.config.working_directory == "/srv/app"
    (layer,) = builder.store.layer_directories(image.config)
    assert (layer / "srv" / "app").is_dir()


# The cache


def test_a_second_build_runs_nothing(builder: Builder) -> None:
    (builder.context / "a").write_text("1")
    text = "FROM host\nRUN write /x 1\nCOPY a /a\nWORKDIR /w\nENV a=1\nCMD x\n"
    first = builder.build(text)
    done = len(builder.executor.runs), len(builder.executor.copies)
    assert builder.build(text) == first
    assert (len(builder.executor.runs), len(builder.executor.copies)) == done
    assert builder.cached == [True] * 5


@pytest.mark.parametrize(
    ("before", "after", "cached"),
    [
        ("RUN nothing\nRUN write /a 1", "RUN nothing\nRUN write /a 2", [True, False]),
        ("RUN nothing\nENV a=1", "RUN nothing;nothing\nENV a=1", [False, False]),
        ("ENV a=1\nRUN nothing", "ENV a=2\nRUN nothing", [False, False]),
        ("RUN nothing\nCMD a", 'RUN   nothing\nCMD ["/bin/sh", "-c", "a"]', [True, True]),
        ("COPY a /a", "COPY --chmod=600 a /a", [False]),
        ("COPY a /a", "COPY --chown=1 a /a", [False]),
        ("COPY a /a", "COPY a /b", [False]),
        ("COPY a /a", "COPY ./a /a", [True]),
        ("WORKDIR /a", "WORKDIR /b", [False]),
        ("USER a\nRUN nothing", "USER b\nRUN nothing", [False, False]),
        ('RUN ["nothing"]', "RUN nothing", [False]),
    ],
)
def test_a_step_is_cached_until_it_or_one_before_it_changes(
    builder: Builder, before: str, after: str, cached: list[bool]
) -> None:
    (builder.context / "a").write_text("1")
    builder.build(f"FROM host\n{before}\n")
    builder.build(f"FROM host\n{after}\n")
    assert builder.cached == cached


def test_copy_is_cached_until_what_it_reads_changes(builder: Builder) -> None:
    for name in ("a", "b"):
        (builder.context / name).write_text("1")
    text = "FROM host\nCOPY a /a\nRUN nothing\n"
    builder.build(text)
    (builder.context / "b").write_text("2")
    builder.build(text)
    assert builder.cached == [True, True]
    (builder.context / "a").write_text("2")
    assert builder.files(builder.build(text)) == {"a": "2"}
    assert builder.cached == [False, False]


def test_build_arguments_reach_only_what_they_are_declared_for(builder: Builder) -> None:
    text = "FROM host\nRUN nothing\nARG v\nENV fixed=1\nRUN nothing\n"
    builder.build(text, args={"v": "1"})
    builder.build(text, args={"v": "2"})
    assert builder.cached == [True, True, True, False]
    builder.build(text, args={"v": "2", "http_proxy": "http://other"})
    assert builder.cached == [True] * 4


def test_a_stage_copied_from_counts_with_its_content(builder: Builder) -> None:
    text = "FROM host AS a\nRUN write /x {}\nFROM scratch\nCOPY --from=a /x /x\n"
    builder.build(text.format(1))
    builder.build(text.format(1))
    assert builder.cached == [True, True]
    assert builder.files(builder.build(text.format(2))) == {"x": "2"}
    assert builder.cached == [False, False]


def test_another_base_is_another_build(builder: Builder) -> None:
    builder.build("FROM scratch\nENV a=1\n", tags=["base"])
    builder.build("FROM base\nRUN nothing\n")
    builder.build("FROM scratch\nENV a=2\n", tags=["base"])
    builder.build("FROM base\nRUN nothing\n")
    assert builder.cached == [False]


def test_no_cache_runs_all_and_leaves_a_consistent_cache(builder: Builder) -> None:
    text = "FROM host\nRUN write /x 1\nENV a=1\n"
    first = builder.build(text)
    second = builder.build(text, no_cache=True)
    assert builder.cached == [False, False]
    assert second.id != first.id
    assert builder.build(text) == second


def test_a_layer_that_is_gone_is_made_again(builder: Builder) -> None:
    text = "FROM host\nRUN write /x 1\nENV a=1\n"
    image = builder.build(text)
    (layer,) = builder.store.layer_directories(image.config)
    layer.rename(builder.store.root / "gone")
    assert builder.files(builder.build(text)) == {"x": "1"}
    assert builder.cached == [False, False]


def test_two_that_build_the_same_at_once_build_it_once(builder: Builder, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = type(builder)(tmp_path / "other")
    other.store = builder.store
    start = threading.Barrier(2)
    images: list[StoredImage] = []

    def build(one: Builder) -> None:
        start.wait(10)
        images.append(one.build("FROM host\nRUN write /x 1\nRUN write /y 2\nCMD x\n"))

    threads = [threading.Thread(target=build, args=(one,)) for one in (builder, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(images) == 2
    assert images[0] == images[1]
    assert len(builder.executor.runs) + len(other.executor.runs) == 2


# Stages and build arguments


def test_unused_stages_are_skipped_and_the_target_ends_the_build(builder: Builder) -> None:
    text = "FROM host AS a\nRUN write /a 1\nFROM host AS b\nRUN write /b 1\nFROM a AS c\nRUN write /c 1\n"
    assert builder.files(builder.build(text)) == {"a": "1", "c": "1"}
    assert "Step 4/4 : RUN write /c 1" in builder.lines
    assert builder.files(builder.build(text, target="b")) == {"b": "1"}
    assert next(line for line in builder.lines if line.startswith("Step")) == "Step 1/2 : FROM host AS b"


def test_arguments_pass_from_before_the_first_stage_and_to_stages_that_stand_on_one(builder: Builder) -> None:
    builder.build(
        "ARG v=outer\nARG base=host\nFROM $base AS a\nRUN nothing\nARG v\nARG TARGETOS\nRUN nothing;nothing\n"
        "FROM a\nRUN nothing\n"
    )
    first, second, third = (environment(step) for _, step in builder.executor.runs)
    assert "v" not in first
    assert (second["v"], second["TARGETOS"]) == ("outer", "linux")
    assert third["v"] == "outer"


def test_arguments_that_nothing_declares_are_named(builder: Builder) -> None:
    builder.build("ARG a\nFROM host\nARG b\n", args={"a": "1", "b": "1", "typo": "1", "NO_PROXY": "x"})
    assert [line for line in builder.lines if "Warning" in line] == [
        "[Warning] One or more build-args [typo] were not consumed"
    ]


# Bad input


def test_a_step_that_fails(builder: Builder) -> None:
    lines = "\\n".join(f"line{number}" for number in range(60))
    with pytest.raises(BuildStepFailedError) as caught:
        builder.build(f"FROM host\nENV a=1\nRUN print {lines};write /x 1;fail 3\nRUN nothing\n", tags=["never"])
    error = caught.value
    assert (error.step, error.steps, error.exit_code) == (3, 4, 3)
    assert error.instruction.startswith("RUN print line0")
    assert error.output.splitlines() == [f"line{number}" for number in range(10, 60)]
    assert "line0" in builder.lines
    assert list(builder.store.layers.iterdir()) == []
    with pytest.raises(ImageNotFoundError):
        builder.store.image("never")
    with pytest.raises(BuildStepFailedError):
        builder.build("FROM host\nENV a=1\nRUN fail 3\n")


def test_the_last_line_counts_without_its_newline(builder: Builder) -> None:
    with pytest.raises(BuildStepFailedError) as caught:
        builder.build("FROM host\nRUN print one;print-no-newline two;fail 1\n")
    assert caught.value.output == "one\ntwo"
    assert builder.lines[-1] == "two"


def test_no_dockerfile(builder: Builder, tmp_path: Path) -> None:
    def build(context: Path, dockerfile: str) -> None:
        request = BuildRequest(context=context, dockerfile=dockerfile)
        build_image(builder.store, request, builder.tools(ClassicLines(builder.lines.append)))

    (tmp_path / "file").touch()
    for context, name in (
        (builder.context, "Dockerfile"),
        (tmp_path, "."),
        (tmp_path, "file/x"),
    ):
        with pytest.raises(DockerfileNotFoundError, match=re.escape(str(context / name))):
            build(context, name)
    (builder.context / "other.Dockerfile").write_text("FROM host\n")
    build(builder.context, "other.Dockerfile")
    assert builder.lines[0] == "Step 1/1 : FROM host"


def test_a_dockerfile_that_is_no_utf8(builder: Builder) -> None:
    (builder.context / "latin").write_bytes(b"FROM host\n# caf\xe9\n")
    with pytest.raises(DockerfileError, match="not UTF-8") as caught:
        build_image(builder.store, BuildRequest(context=builder.context, dockerfile="latin"), builder.tools(silent))
    assert (caught.value.line, caught.value.column) == (2, 6)


@pytest.mark.parametrize(
    ("text", "kind", "column", "problem"),
    [
        ("COPY none /", CopySourceNotFoundError, 6, "none does not exist in the build context"),
        ("COPY a ../b /", CopySourceNotFoundError, 8, "../b lies outside the build context"),
        ("COPY a hidden /", CopySourceNotFoundError, 8, ".dockerignore excludes it"),
        ("COPY a link /", CopySourceNotFoundError, 8, "link lies outside the build context"),
        ("COPY --from=stage x /none /y/", CopySourceNotFoundError, 21, "none is not in that stage"),
        ("COPY --from=stag x /y", DockerfileError, 13, "stag is neither a stage nor an image"),
        ("COPY --from=BAD? x /y", DockerfileError, 13, "BAD? is neither a stage nor an image"),
        ("COPY a b /dir", DockerfileError, 10, "must end with /"),
        ("COPY [ab] /dir", DockerfileError, 11, "must end with /"),
        ("COPY --chmod=u+y a /", DockerfileError, 14, "u+y is no mode"),
        ("COPY ${a /", DockerfileError, 6, "has no }"),
        ("COPY $a} /", CopySourceNotFoundError, 6, "} does not exist"),
        ("WORKDIR $unset", DockerfileError, 9, "empty"),
        ("ARG x=${a", DockerfileError, 7, "has no }"),
    ],
)
def test_errors_point_at_what_is_wrong(
    builder: Builder, text: str, kind: type[DockerfileError], column: int, problem: str
) -> None:
    for name in ("a", "b", "hidden"):
        (builder.context / name).touch()
    (builder.context / "link").symlink_to("/etc/passwd")
    (builder.context / ".dockerignore").write_text("hidden\n")
    with pytest.raises(DockerfileError) as caught:
        builder.build(f"FROM host AS stage\nRUN write /x 1\nFROM host\n{text}\n")
    assert type(caught.value) is kind
    assert problem in caught.value.problem
    assert (caught.value.line, caught.value.column) == (4, column)
    assert caught.value.file == str(builder.context / "Dockerfile")


def test_bases_that_cannot_be(builder: Builder) -> None:
    with pytest.raises(ImageNotFoundError, match="'redis'"):
        builder.build("FROM redis\n")
    with pytest.raises(DockerfileError, match="names are lower-case") as caught:
        builder.build("FROM host\nFROM Redis\n")
    assert (caught.value.line, caught.value.column) == (2, 6)
    with pytest.raises(DockerfileError, match="stage later is not above"):
        builder.build("FROM later\nFROM host AS later\nCOPY --from=0 a b\n")
    with pytest.raises(DockerfileError, match="stage self is not above"):
        builder.build("FROM self AS self\n")


def test_a_base_on_an_outdated_host_is_refused(builder: Builder) -> None:
    old = ImageConfig.scratch()
    builder.store.tag(builder.store.put_image(dataclasses.replace(old, host=digests.of(b"before"))), "old")
    with pytest.raises(ImageOutdatedError, match="'old'"):
        builder.build("FROM old\n")


@pytest.mark.parametrize("tag", ["host", "Bad", "a:b:c"])
def test_a_bad_tag_is_refused_before_anything_is_built(builder: Builder, tag: str) -> None:
    with pytest.raises(InvalidReferenceError):
        builder.build("FROM host\nRUN write /x 1\n", tags=["good", tag])
    assert builder.executor.runs == []
