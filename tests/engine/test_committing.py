"""What containers have changed: told, and made images."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pytest_pycontainer import Container, Engine, Image
from pytest_pycontainer.errors import DockerfileError, InvalidReferenceError, InvalidSpecError

DOCKERFILE = """
FROM host
RUN mkdir -p /base/kept /base/gone /base/again && touch /base/gone/x /base/again/old /base/again/both /base/kept/file
ENV FROM_IMAGE=1
ENTRYPOINT ["sh", "-c"]
CMD ["echo image"]
"""
SCRIPT = (
    "cd /base; echo new > new; rm -r gone; rm -r again; mkdir again; echo both > again/both; chmod 600 kept/file;"
    "ln -s /etc/passwd link; mkdir -p deep/er; echo volume > /data/file; echo ready; "
)
CHANGES = [
    *("C /base", "C /base/again", "C /base/again/both", "D /base/again/old", "A /base/deep", "A /base/deep/er"),
    *("D /base/gone", "C /base/kept", "C /base/kept/file", "A /base/link", "A /base/new"),
]


@pytest.fixture(scope="module")
def image(engine: Engine) -> Image:
    return engine.build({"Dockerfile": DOCKERFILE})


@contextmanager
def ran(engine: Engine, image: Image, script: str = SCRIPT, **options: object) -> Iterator[Container]:
    with engine.run(image, [script], volumes=["/data", "/made/for/it"], **options) as container:  # type: ignore[arg-type]
        assert container.wait(30) == 0, container.logs()
        yield container


def test_diff_tells_what_docker_tells(engine: Engine, image: Image) -> None:
    with ran(engine, image) as container:
        assert list(map(str, container.diff())) == CHANGES
    with engine.run(image, [SCRIPT + "sleep 1000"], volumes=["/data"]) as running:
        next(running.follow(30))
        assert list(map(str, running.diff())) == CHANGES
    with engine.create(image) as created:
        assert created.diff() == []
    with ran(engine, image, "true") as untouched:
        assert untouched.diff() == []


def test_diff_on_the_host_image(engine: Engine) -> None:
    with engine.run("host", ["sh", "-c", "rm /etc/passwd; touch /etc/passwd- /srv/new; echo x > /tmp/x"]) as container:
        container.wait(30)
        found = list(map(str, container.diff()))
        assert {"C /etc", "D /etc/passwd", "A /srv/new", "A /tmp/x"} <= set(found)


def test_an_image_is_made_of_what_was_written(engine: Engine, image: Image) -> None:
    given: dict[str, Any] = {"env": {"GIVEN": "yes"}, "labels": {"c": "d"}}
    with ran(engine, image, user="0:0", workdir="/base", **given) as container:
        made = container.commit("committed:1", message="by hand", author="me", changes=["LABEL a=b", "EXPOSE 80"])
        container.read("/base/new")  # it is still there
    config = made.config
    assert made.tags == ("committed:1",)
    assert (config.entrypoint, config.cmd, config.author, config.user) == (("sh", "-c"), (SCRIPT,), "me", "0:0")
    assert {"GIVEN=yes", "FROM_IMAGE=1"} <= set(config.env)
    assert not [entry for entry in config.env if entry.startswith("HOSTNAME=")]
    assert dict(config.labels) == {"a": "b", "c": "d"}
    assert (config.exposed_ports, config.working_directory) == (("80/tcp",), "/base")
    assert (config.history[-1].comment, len(config.diff_ids)) == ("by hand", len(image.config.diff_ids) + 1)
    script = "cat new again/both; ls -d gone again/old /data /made; stat -c %a kept/file; readlink link"
    with engine.run(made, [f"exec 2>&1; {script}"]) as container:
        container.wait(30)
        said = re.sub(r"ls: cannot access '([^']*)'.*", r"no \1", container.logs())
    assert said == "new\nboth\nno gone\nno again/old\nno /data\nno /made\n600\n/etc/passwd\n"


def test_a_container_that_wrote_nothing_adds_no_layer(engine: Engine, image: Image) -> None:
    with engine.create(image, volumes=["/made/for/it"]) as container:
        made = container.commit()
    assert made.config.diff_ids == image.config.diff_ids
    assert made.config.history[-1].empty_layer
    assert made.config.cmd == ("echo image",)


def test_another_entrypoint_stays_with_the_command(engine: Engine, image: Image) -> None:
    with engine.create(image, ["x"], entrypoint=["echo"]) as container:
        made = container.commit()
    with engine.run(made) as container:
        container.wait(30)
        assert container.logs() == "x\n"


def test_what_can_not_be_committed_is_said(engine: Engine, image: Image) -> None:
    with engine.create(image) as container:
        with pytest.raises(DockerfileError, match="changes no image"):
            container.commit(changes=["RUN true"])
        with pytest.raises(InvalidReferenceError):
            container.commit("Not A Name")
        with pytest.raises(InvalidSpecError, match="a list"):
            container.commit(changes="CMD x")


VOLUMES_DOCKERFILE = """
FROM host
RUN mkdir -p /deep/er/data/inner /real && chmod 750 /deep && chmod 711 /deep/er /deep/er/data
RUN chown 5:6 /deep/er && touch /deep/er/data/old
RUN ln -s /real /linked
VOLUME /deep/er/data /linked
"""


def test_an_image_has_what_is_in_the_containers_own_volumes(engine: Engine) -> None:
    image = engine.build({"Dockerfile": VOLUMES_DOCKERFILE})
    with engine.volume() as named:
        script = (
            "cd /deep/er/data; rm old; echo new > new; chmod 640 new; chown 7:8 . new; ln new second;"
            "echo in > inner/in; echo named > /named/file; echo linked > /linked/file; mkfifo pipe"
        )
        volumes = ["/deep/er/data/inner", f"{named.name}:/named"]
        with engine.run(image, ["sh", "-c", script], volumes=volumes) as container:
            assert container.wait(30) == 0, container.logs()
            made = container.commit(volumes=True)
            without = container.commit()
    assert (made.config.volumes, without.config.volumes) == ((), image.config.volumes)
    assert [entry.empty_layer for entry in made.config.history[-4:]] == [True, False, False, False]
    script = (
        "cd /deep/er/data; ls; cat new inner/in /linked/file;"
        "stat -c '%n %a %u:%g' /deep /deep/er . inner new; test -p pipe && test new -ef second && echo kept"
    )
    with engine.run(made, ["sh", "-c", script]) as container:
        assert container.wait(30) == 0, container.logs()
        assert container.logs().splitlines() == [
            *("inner", "new", "pipe", "second", "new", "in", "linked"),
            *("/deep 750 0:0", "/deep/er 711 5:6", ". 711 7:8", "inner 755 0:0", "new 640 7:8", "kept"),
        ]
    with engine.run(without, ["ls", "/deep/er/data"]) as container:
        container.wait(30)
        assert container.logs() == "inner\nold\n"
