from __future__ import annotations

import pytest

from pytest_pycontainer.build.dockerfile import parse
from pytest_pycontainer.build.metadata import absolute, change_config
from pytest_pycontainer.errors import DockerfileError
from pytest_pycontainer.image.config import Healthcheck, ImageConfig

VARIABLES = {"x": "value", "empty": "", "ports": "80 443"}


def change(text: str, config: ImageConfig | None = None, *, has_own_command: bool = False) -> tuple[ImageConfig, str]:
    (instruction,) = parse(text, "Dockerfile")
    config = config or ImageConfig("amd64", "linux")
    changed = change_config(instruction, config, VARIABLES, has_own_command=has_own_command)
    return changed.config, changed.text


def test_env_keeps_the_place_of_a_known_name() -> None:
    base = ImageConfig("amd64", "linux", env=("PATH=/bin", "a=1"))
    config, text = change('ENV b="$x y" PATH=/usr/bin:$PATH', base)
    assert config.env == ("PATH=/usr/bin:", "a=1", "b=value y")
    assert text == "ENV b=value y PATH=/usr/bin:"


def test_labels_add_up() -> None:
    config, _ = change("LABEL $x=1 b='$x'", ImageConfig("amd64", "linux", labels={"a": "0", "b": "0"}))
    assert config.labels == {"a": "0", "value": "1", "b": "$x"}


def test_ports_are_normal_and_may_come_from_a_variable() -> None:
    config, text = change("EXPOSE 6379 53/UDP 8000-8002/tcp $ports")
    assert config.exposed_ports == ("443/tcp", "53/udp", "6379/tcp", "80/tcp", "8000/tcp", "8001/tcp", "8002/tcp")
    assert text == "EXPOSE 6379/tcp 53/udp 8000/tcp 8001/tcp 8002/tcp 80/tcp 443/tcp"


def test_an_address_and_a_hosts_port_mean_nothing() -> None:
    assert change("EXPOSE 8080:80 127.0.0.1:53:54/udp 1/")[0].exposed_ports == ("1/tcp", "54/udp", "80/tcp")


@pytest.mark.parametrize(
    ("text", "healthcheck"),
    [
        ("HEALTHCHECK NONE", Healthcheck(("NONE",))),
        ("HEALTHCHECK none", Healthcheck(("NONE",))),
        ("HEALTHCHECK CMD curl $x || exit 1", Healthcheck(("CMD-SHELL", "curl $x || exit 1"))),
        ('HEALTHCHECK cmd ["a", "b"]', Healthcheck(("CMD", "a", "b"))),
        (
            "HEALTHCHECK --interval=1m30s --timeout=1.5s --start-period=2h --start-interval=1ms --retries=3 CMD a",
            Healthcheck(("CMD-SHELL", "a"), 90 * 10**9, 1_500_000_000, 7_200 * 10**9, 10**6, 3),
        ),
        ("HEALTHCHECK --interval=0 --timeout=0s --retries=0 CMD a", Healthcheck(("CMD-SHELL", "a"))),
        ("HEALTHCHECK --interval=+.1s --timeout=5000us CMD a", Healthcheck(("CMD-SHELL", "a"), 10**8, 5 * 10**6)),
        ("HEALTHCHECK --interval=1.000000007s CMD a", Healthcheck(("CMD-SHELL", "a"), 1_000_000_007)),
    ],
)
def test_health_checks(text: str, healthcheck: Healthcheck) -> None:
    assert change(text)[0].healthcheck == healthcheck


def test_triggers_add_up_and_are_not_expanded() -> None:
    config, text = change("ONBUILD RUN echo $x <<E\na\nE")
    assert text == "ONBUILD RUN echo $x <<E\na\nE"
    assert change("onbuild COPY . /a", config)[0].on_build == ("RUN echo $x <<E\na\nE", "COPY . /a")


def test_commands_in_the_images_shell() -> None:
    assert change("CMD redis-server --x")[0].cmd == ("/bin/sh", "-c", "redis-server --x")
    assert change('CMD ["redis-server"]')[0].cmd == ("redis-server",)
    shell = change('SHELL ["/bin/bash", "-ec"]')[0]
    assert change("CMD a b", shell)[0].cmd == ("/bin/bash", "-ec", "a b")
    assert change("CMD $x")[0].cmd == ("/bin/sh", "-c", "$x")


def test_an_entrypoint_takes_the_base_images_command_away() -> None:
    base = ImageConfig("amd64", "linux", cmd=("old",))
    config, _ = change('ENTRYPOINT ["e"]', base)
    assert (config.entrypoint, config.cmd) == (("e",), None)
    config, _ = change("ENTRYPOINT []", config)
    assert (config.entrypoint, config.cmd) == (None, None)
    assert change("CMD []", base)[0].cmd is None
    config, _ = change('ENTRYPOINT ["e"]', base, has_own_command=True)
    assert (config.entrypoint, config.cmd) == (("e",), ("old",))


def test_the_rest() -> None:
    assert change("USER $x:$x")[0].user == "value:value"
    assert change('VOLUME /b "/$x"')[0].volumes == ("/b", "/value")
    assert change("STOPSIGNAL term")[0].stop_signal == "term"
    assert change("STOPSIGNAL SIGRTMIN+3")[0].stop_signal == "SIGRTMIN+3"
    assert change("STOPSIGNAL 9")[0].stop_signal == "9"
    assert change("MAINTAINER A <a@b>")[0].author == "A <a@b>"


@pytest.mark.parametrize(
    ("text", "column", "problem"),
    [
        ("EXPOSE 0", 8, "0 is no port"),
        ("EXPOSE 80 65536", 11, "65536 is no port"),
        ("EXPOSE 80/icmp", 8, "80/icmp is no port"),
        ("EXPOSE 9-8", 8, "9-8 is no port"),
        ("EXPOSE http", 8, "http is no port"),
        ("USER $empty", 6, "$empty is empty"),
        ("STOPSIGNAL SIGNOTHING", 12, "is no signal"),
        ("STOPSIGNAL 65", 12, "is no signal"),
        ("STOPSIGNAL SIGRTMIN+16", 12, "is no signal"),
        ("HEALTHCHECK --interval=5 CMD a", 24, "5 is no duration"),
        ("HEALTHCHECK --timeout=-1s CMD a", 23, "-1s is no duration"),
        ("HEALTHCHECK --timeout=999us CMD a", 23, "999us is too short"),
        ("HEALTHCHECK --timeout=9999999h CMD a", 23, "9999999h is too long"),
        ("HEALTHCHECK --retries=-1 CMD a", 23, "-1 is no number of retries"),
        ("HEALTHCHECK --retries=2147483648 CMD a", 23, "is no number of retries"),
        ("ENV a=1 b=${x", 11, "has no }"),
        ("LABEL $empty=1", 7, "$empty is empty"),
    ],
)
def test_errors_point_at_what_is_wrong(text: str, column: int, problem: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        change(text)
    assert problem in caught.value.problem
    assert caught.value.column == column


@pytest.mark.parametrize(
    ("directory", "path", "result"),
    [
        ("", "a", "/a"),
        ("/w", "a/", "/w/a"),
        ("/w", "/a", "/a"),
        ("/w", "../../..", "/"),
        ("/w", ".", "/w"),
        ("/", "//a//b/./c", "/a/b/c"),
        ("w", "x", "/w/x"),
    ],
)
def test_absolute_paths(directory: str, path: str, result: str) -> None:
    assert absolute(directory, path) == result
