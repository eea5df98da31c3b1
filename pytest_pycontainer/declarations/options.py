"""What the factories in ``fixtures`` take beside what each begins with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

from pytest_pycontainer.declarations.declaration import FixtureOptions
from pytest_pycontainer.engine.builds import BuildOptions
from pytest_pycontainer.engine.container import Container
from pytest_pycontainer.engine.image_sources import PullPolicy
from pytest_pycontainer.engine.options import ContainerOptions
from pytest_pycontainer.engine.wait import Wait


class LoadOptions(FixtureOptions, total=False):
    """What ``load`` takes beside the archive."""

    image: str | None


class SnapshotOptions(FixtureOptions, total=False):
    """What ``snapshot`` takes beside the container."""

    prepare: Callable[[Container], object] | None
    tag: str | None


class PullOptions(FixtureOptions, total=False):
    """What ``pull`` takes beside the reference."""

    platform: str | None
    policy: PullPolicy


class BuildFixtureOptions(BuildOptions, FixtureOptions, total=False):
    """What ``build`` takes beside the context."""


class RunOptions(ContainerOptions, total=False):
    """What ``container`` hands to ``Engine.run``, which explains each."""

    wait: Wait | str | None
    timeout: float


class SharingOptions(TypedDict, total=False):
    """Who uses the container: all workers of a run (``shared``), or later runs too (``reuse``)."""

    shared: bool
    reuse: bool


class ContainerFixtureOptions(RunOptions, FixtureOptions, SharingOptions, total=False):
    """What ``container`` takes beside image and command."""


class NetworkFixtureOptions(FixtureOptions, total=False):
    """What ``network`` takes beside the name."""

    subnet: str | None
    internal: bool
    ipv6: bool | str
    shared: bool
