"""The options that say how a container is found to be well, as callers write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypedDict

if TYPE_CHECKING:
    from pytest_pycontainer.engine.arguments import Command

Duration: TypeAlias = float | str
"""Seconds, or docker's text (``1m30s``, ``500ms``)."""


class HealthOptions(TypedDict, total=False):
    """A container's health check, with docker's names, defaults and meanings; each adds to what the image says, or
    replaces it.

    ``health_cmd`` is a text that a shell runs in the container, or the arguments of a command; its exit code 0 says
    that all is well. It comes every ``health_interval`` (30 s), has failed after ``health_timeout`` (30 s), and the
    container is unhealthy after ``health_retries`` (3) failures in a row. For ``health_start_period`` (0 s), or until
    it succeeds, it comes every ``health_start_interval`` (5 s) and failures do not count. ``no_healthcheck`` is to
    have none, whatever the image says.
    """

    health_cmd: Command | None
    health_interval: Duration | None
    health_timeout: Duration | None
    health_retries: int | None
    health_start_period: Duration | None
    health_start_interval: Duration | None
    no_healthcheck: bool
