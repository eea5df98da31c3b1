"""The options of a container, as callers write them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_pycontainer.engine import arguments
from pytest_pycontainer.engine.health_options import HealthOptions
from pytest_pycontainer.engine.limit_options import LimitOptions
from pytest_pycontainer.engine.namespace_options import NamespaceOptions
from pytest_pycontainer.engine.network_options import NetworkOptions

if TYPE_CHECKING:
    from pytest_pycontainer.engine.image_sources import PullPolicy
    from pytest_pycontainer.engine.mount_arguments import TmpfsArguments, VolumeArguments
    from pytest_pycontainer.engine.port_arguments import Ports
    from pytest_pycontainer.engine.privileges import Names


class ContainerOptions(LimitOptions, NamespaceOptions, NetworkOptions, HealthOptions, total=False):
    """What ``create`` and ``run`` take beside image and command, with docker's names and meanings.

    What it may use is limited by ``LimitOptions``; which namespaces it shares, ``NamespaceOptions`` say; whether
    somebody looks how well it is, ``HealthOptions``. ``ports`` are
    published on 127.0.0.1, on free host ports unless they are named, and with ``publish_all`` what the image exposes
    too; with ``init`` PID 1 is a reaper.
    ``pull`` says when an image's registry is asked: when it is ``missing`` here, ``always``, or ``never``.

    ``volumes`` are directories or files of this machine, or volumes, by their places in the container
    (``{"./data": "/data", "name": "/var/lib/x:ro"}``), or docker's texts for ``-v``; a path of this machine begins with
    ``/`` or ``.`` and has to be there. ``tmpfs`` (``{"/tmp": "size=64m"}``) and ``mounts``
    (``"type=bind,source=/a,target=/b,readonly"``) are as docker's.

    ``cap_add`` and ``cap_drop`` name capabilities (``NET_ADMIN``, ``ALL``); ``security_opt`` takes
    ``seccomp=unconfined``, ``seccomp=`` and a profile's path or JSON, ``no-new-privileges`` and
    ``systempaths=unconfined``; ``privileged`` is all capabilities and devices, no filter and no masks. With
    ``read_only`` nothing but what is mounted can be written to; ``group_add`` names further groups.

    ``restart`` is ``no``, ``always``, ``unless-stopped`` or ``on-failure[:N]``; it counts while the owner lives.

    ``labels`` are kept with the image's, for whoever looks; ``stop`` sends ``stop_signal``, and SIGKILL after
    ``stop_timeout`` seconds (10).

    With ``stdin_open`` it has a standard input that can be attached to, and keeps that open; with ``stdin_once`` until
    the first that could write has gone. With ``tty`` its streams are a terminal, of 80 columns and 24 lines until
    ``resize``; what it prints there is logged as standard output.

    ``log_opt`` bounds the log: ``max-size`` of a file (``20m``; ``-1`` for any) and ``max-file``, how many are kept.
    """

    name: str | None
    env: arguments.Environment | None
    ports: Ports | None
    publish_all: bool
    user: str | int | None
    workdir: str | None
    entrypoint: arguments.Command | None
    hostname: str | None
    init: bool
    stop_signal: str | None
    stop_timeout: float | None
    labels: arguments.Environment | None
    volumes: VolumeArguments | None
    tmpfs: TmpfsArguments | None
    mounts: Iterable[str] | None
    privileged: bool
    cap_add: Names | None
    cap_drop: Names | None
    security_opt: Names | None
    read_only: bool
    group_add: Iterable[str | int] | None
    restart: str | None
    log_opt: arguments.Environment | None
    stdin_open: bool
    stdin_once: bool
    tty: bool
    pull: PullPolicy
