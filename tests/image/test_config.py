from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.errors import InvalidImageConfigError
from pytest_pycontainer.image.config import Healthcheck, History, ImageConfig
from pytest_pycontainer.image.platform import Platform

DOCKERS: dict[str, Any] = {
    "architecture": "amd64",
    "config": {
        "User": "redis",
        "ExposedPorts": {"6379/tcp": {}},
        "Env": ["PATH=/usr/local/bin:/bin", "REDIS_VERSION=7.2"],
        "Entrypoint": ["docker-entrypoint.sh"],
        "Cmd": ["redis-server"],
        "Volumes": {"/data": {}},
        "WorkingDir": "/data",
        "Labels": {"maintainer": "someone"},
        "StopSignal": "SIGTERM",
        "ArgsEscaped": True,
        "OnBuild": None,
    },
    "created": "2024-05-22T23:17:26.000000000Z",
    "history": [
        {"created": "2024-05-22T23:17:26Z", "created_by": "/bin/sh -c #(nop) ADD file:1 in / "},
        {"created": "2024-05-22T23:17:26Z", "created_by": "CMD", "comment": "buildkit", "empty_layer": True},
    ],
    "os": "linux",
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]},
    "docker_version": "20.10",
}


def test_reads_dockers() -> None:
    config = ImageConfig.from_json(json.dumps(DOCKERS).encode())
    assert config == ImageConfig(
        architecture="amd64",
        os="linux",
        created="2024-05-22T23:17:26.000000000Z",
        user="redis",
        env=("PATH=/usr/local/bin:/bin", "REDIS_VERSION=7.2"),
        entrypoint=("docker-entrypoint.sh",),
        cmd=("redis-server",),
        working_directory="/data",
        exposed_ports=("6379/tcp",),
        volumes=("/data",),
        labels={"maintainer": "someone"},
        stop_signal="SIGTERM",
        diff_ids=("sha256:" + "1" * 64,),
        history=(
            History("2024-05-22T23:17:26Z", "/bin/sh -c #(nop) ADD file:1 in / "),
            History("2024-05-22T23:17:26Z", "CMD", comment="buildkit", empty_layer=True),
        ),
        other={"docker_version": "20.10"},
        other_config={"ArgsEscaped": True},
    )


def test_writes_what_was_read_unknown_keys_too() -> None:
    wanted = copy.deepcopy(DOCKERS)
    del wanted["config"]["OnBuild"]  # null: there is none
    assert json.loads(ImageConfig.from_json(json.dumps(DOCKERS).encode()).to_json()) == wanted


def test_healthchecks_and_triggers_as_docker_writes_them() -> None:
    health = {"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000, "Timeout": 1, "StartPeriod": 2, "Retries": 3}
    docker = {"Healthcheck": health, "OnBuild": ["RUN true", "COPY <<E /a\nb\nE"]}
    config = ImageConfig.from_json(json.dumps({"config": docker}).encode())
    assert config.healthcheck == Healthcheck(("CMD-SHELL", "true"), 5_000_000_000, 1, 2, retries=3)
    assert config.on_build == ("RUN true", "COPY <<E /a\nb\nE")
    assert json.loads(config.to_json())["config"] == docker
    with pytest.raises(InvalidImageConfigError, match=r"config\.Healthcheck\.Interval"):
        ImageConfig.from_json(b'{"config": {"Healthcheck": {"Interval": "5s"}}}')


def test_equal_configs_are_equal_bytes() -> None:
    one = ImageConfig("amd64", "linux", labels={"a": "1", "b": "2"}, exposed_ports=("1/tcp", "2/tcp"))
    two = ImageConfig("amd64", "linux", labels={"b": "2", "a": "1"}, exposed_ports=("1/tcp", "2/tcp"))
    assert one.to_json() == two.to_json()


def test_an_empty_command_is_kept_and_no_command_is_not_written() -> None:
    assert json.loads(ImageConfig("amd64", "linux", cmd=()).to_json())["config"] == {"Cmd": []}
    assert json.loads(ImageConfig("amd64", "linux").to_json())["config"] == {}


def test_the_host_identity_travels() -> None:
    config = ImageConfig("amd64", "linux", host="sha256:" + "2" * 64)
    assert ImageConfig.from_json(config.to_json()).host == "sha256:" + "2" * 64


def test_scratch_is_for_this_machine() -> None:
    config = ImageConfig.scratch()
    assert Platform(config.os, config.architecture, config.variant) == Platform.current()
    assert (config.host, config.diff_ids, config.cmd) == (None, (), None)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"config": []}', "config is .*; wanted an object"),
        (b'{"config": {"Env": "A=1"}}', r"config\.Env is 'A=1'; wanted an array of strings"),
        (b'{"config": {"Cmd": [1]}}', r"config\.Cmd"),
        (b'{"config": {"Labels": {"a": 1}}}', r"config\.Labels\.a is 1; wanted a string"),
        (b'{"rootfs": {"diff_ids": {}}}', r"rootfs\.diff_ids"),
        (b'{"history": [1]}', "history is .*; wanted an array of objects"),
        (b'{"history": [{"empty_layer": "yes"}]}', r"history\[0\]\.empty_layer"),
    ],
)
def test_names_what_is_wrong(content: bytes, problem: str) -> None:
    with pytest.raises(InvalidImageConfigError, match=problem):
        ImageConfig.from_json(content)


_texts = st.text(max_size=8)
_histories = st.builds(History, created_by=st.just("RUN"), empty_layer=st.booleans())
_text_tuples = st.lists(_texts, max_size=3).map(tuple)


@given(
    st.builds(
        ImageConfig,
        architecture=_texts,
        os=_texts,
        user=_texts,
        env=_text_tuples,
        entrypoint=st.none() | _text_tuples,
        cmd=st.none() | _text_tuples,
        shell=st.none() | _text_tuples,
        working_directory=_texts,
        labels=st.dictionaries(_texts, _texts, max_size=3),
        diff_ids=_text_tuples,
        history=st.lists(_histories, max_size=2).map(tuple),
    )
)
def test_json_and_back(config: ImageConfig) -> None:
    assert ImageConfig.from_json(config.to_json()) == config


@given(st.binary(max_size=50))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        ImageConfig.from_json(content)
    except InvalidImageConfigError:
        return
