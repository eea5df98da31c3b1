"""An image's config: what a container of it runs with, and the layers it consists of (OCI image-spec, "config")."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import InvalidImageConfigError
from pytest_pycontainer.image.json_object import JsonObject
from pytest_pycontainer.image.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""PATH in a container whose image sets none."""

_HOST = "io.pycontainer.host"
_KNOWN = {"architecture", "os", "variant", "created", "author", "config", "rootfs", "history", _HOST}
_KNOWN_IN_CONFIG = {
    "User",
    "Env",
    "Entrypoint",
    "Cmd",
    "WorkingDir",
    "ExposedPorts",
    "Volumes",
    "Labels",
    "StopSignal",
    "Shell",
    "Healthcheck",
    "OnBuild",
}


@dataclass(frozen=True, slots=True)
class History:
    """One step of how an image was made. ``created`` is an RFC 3339 time."""

    created: str | None = None
    created_by: str | None = None
    author: str | None = None
    comment: str | None = None
    empty_layer: bool = False


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """How a container is found to be well: docker's addition to the OCI config.

    ``test`` is ``("CMD", argument, …)``, ``("CMD-SHELL", text)``, ``("NONE",)`` for no check at all, or empty for the
    base image's. Times are in nanoseconds; 0 leaves them, and the number of retries, to docker's defaults.
    """

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0

    def to_document(self) -> dict[str, object]:
        """The value as it stands in a config, absent what is not set."""
        return _without_empty(
            {
                "Test": self.test,
                "Interval": self.interval,
                "Timeout": self.timeout,
                "StartPeriod": self.start_period,
                "StartInterval": self.start_interval,
                "Retries": self.retries,
            }
        )


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """An image's config.

    ``env`` holds ``NAME=value``; ``exposed_ports`` holds ``6379/tcp``; ``shell`` is what the shell form runs in, None
    for ``/bin/sh -c``; ``on_build`` are instructions for builds on this image; ``diff_ids`` are the layers, lowest
    first. ``host`` is the identity of the machine's root file system that the layers lie on, None for an ordinary
    image. ``other`` and ``other_config`` keep keys that are not known here, at the top and in ``config``.
    """

    architecture: str
    os: str
    variant: str | None = None
    created: str | None = None
    author: str | None = None
    user: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    working_directory: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str | None = None
    shell: tuple[str, ...] | None = None
    healthcheck: Healthcheck | None = None
    on_build: tuple[str, ...] = ()
    diff_ids: tuple[str, ...] = ()
    history: tuple[History, ...] = ()
    host: str | None = None
    other: Mapping[str, object] = field(default_factory=dict)
    other_config: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def scratch(cls, platform: Platform | None = None) -> ImageConfig:
        """The config of an image with nothing in it, for ``platform`` (this machine's by default)."""
        platform = platform or Platform.current()
        return cls(platform.architecture, platform.os, platform.variant)

    @classmethod
    def from_json(cls, content: bytes) -> ImageConfig:
        """Reads a config as OCI and Docker write it. Raises InvalidImageConfigError, naming the key."""
        top = JsonObject.parse(content, InvalidImageConfigError)
        config = top.object("config")
        rootfs = top.object("rootfs")
        return cls(
            architecture=top.text("architecture") or "",
            os=top.text("os") or "",
            variant=top.text("variant"),
            created=top.text("created"),
            author=top.text("author"),
            user=config.text("User") or "",
            env=config.texts("Env") or (),
            entrypoint=config.texts("Entrypoint"),
            cmd=config.texts("Cmd"),
            working_directory=config.text("WorkingDir") or "",
            exposed_ports=tuple(sorted(config.object("ExposedPorts").values)),
            volumes=tuple(sorted(config.object("Volumes").values)),
            labels=config.object("Labels").text_values(),
            stop_signal=config.text("StopSignal"),
            shell=config.texts("Shell"),
            healthcheck=_healthcheck(config.object("Healthcheck")),
            on_build=config.texts("OnBuild") or (),
            diff_ids=rootfs.texts("diff_ids") or (),
            history=tuple(_history(entry) for entry in top.objects("history")),
            host=top.text(_HOST),
            other={key: value for key, value in top.values.items() if key not in _KNOWN},
            other_config={key: value for key, value in config.values.items() if key not in _KNOWN_IN_CONFIG},
        )

    def to_json(self) -> bytes:
        """The config as JSON: keys sorted, no spaces, absent what is not set, so that equal configs are equal bytes."""
        config: dict[str, object] = {
            "User": self.user,
            "Env": self.env,
            "WorkingDir": self.working_directory,
            "ExposedPorts": {port: {} for port in self.exposed_ports},
            "Volumes": {path: {} for path in self.volumes},
            "Labels": dict(self.labels),
            "StopSignal": self.stop_signal,
            "Healthcheck": self.healthcheck and self.healthcheck.to_document(),
            "OnBuild": self.on_build,
        }
        whole = {
            "variant": self.variant,
            "created": self.created,
            "author": self.author,
            _HOST: self.host,
        }
        # An empty command is not the same as none: it takes away the one that the base image has.
        commands = {"Entrypoint": self.entrypoint, "Cmd": self.cmd, "Shell": self.shell}
        document = {
            **self.other,
            **_without_empty(whole),
            "architecture": self.architecture,
            "os": self.os,
            "config": {
                **self.other_config,
                **_without_empty(config),
                **{key: command for key, command in commands.items() if command is not None},
            },
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids},
            "history": [_without_empty(_history_keys(entry)) for entry in self.history],
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _history(entry: JsonObject) -> History:
    return History(
        created=entry.text("created"),
        created_by=entry.text("created_by"),
        author=entry.text("author"),
        comment=entry.text("comment"),
        empty_layer=entry.get("empty_layer", bool, "true or false") or False,
    )


def _healthcheck(values: JsonObject) -> Healthcheck | None:
    if not values.values:
        return None

    def number(key: str) -> int:
        return values.get(key, int, "a whole number") or 0

    return Healthcheck(
        test=values.texts("Test") or (),
        interval=number("Interval"),
        timeout=number("Timeout"),
        start_period=number("StartPeriod"),
        start_interval=number("StartInterval"),
        retries=number("Retries"),
    )


def _history_keys(entry: History) -> dict[str, object]:
    return {
        "created": entry.created,
        "created_by": entry.created_by,
        "author": entry.author,
        "comment": entry.comment,
        "empty_layer": entry.empty_layer,
    }


def _without_empty(values: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in values.items() if value}
