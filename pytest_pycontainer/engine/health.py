"""From a caller's options, and what the image says, to a container's health check."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_pycontainer.engine.arguments import parse_command, parse_flag, parse_text
from pytest_pycontainer.engine.health_options import Duration, HealthOptions
from pytest_pycontainer.errors import InvalidSpecError
from pytest_pycontainer.image.config import Healthcheck
from pytest_pycontainer.image.duration import parse_duration
from pytest_pycontainer.runtime.spec import HealthCheck

if TYPE_CHECKING:
    from pytest_pycontainer.engine.image import Image

_SECOND = 1_000_000_000
_SHORTEST = 1_000_000
_LONGEST = 2**63 - 1
_MOST_RETRIES = 2**31 - 1
_SHELL = ("/bin/sh", "-c")


def parse_health_check(image: Image, options: HealthOptions) -> HealthCheck | None:
    """The health check of a container of ``image``; None if it has none.

    Raises InvalidSpecError for what docker would not take, and for options of a check that there is not.
    """
    settings = [name for name in HealthOptions.__annotations__ if name.startswith("health_") and options.get(name)]
    if parse_flag("no_healthcheck", options.get("no_healthcheck")):
        if settings:
            raise InvalidSpecError("no_healthcheck", "True", f"no {settings[0]} beside it")
        return None
    healthcheck = _merge(image.config.healthcheck or Healthcheck(), options)
    command = _command(healthcheck.test, image.config.shell or _SHELL)
    if command is None:
        if settings and not healthcheck.test:
            raise InvalidSpecError(settings[0], str(options.get(settings[0])), f"a health_cmd: {image.name!r} has none")
        return None
    return _with_defaults(command, healthcheck)


def _merge(image: Healthcheck, options: HealthOptions) -> Healthcheck:
    """What the options say, and of the rest what the image says."""
    return replace(
        image,
        test=_test(options) or image.test,
        interval=_nanoseconds("health_interval", options.get("health_interval")) or image.interval,
        timeout=_nanoseconds("health_timeout", options.get("health_timeout")) or image.timeout,
        start_period=_nanoseconds("health_start_period", options.get("health_start_period")) or image.start_period,
        start_interval=_nanoseconds("health_start_interval", options.get("health_start_interval"))
        or image.start_interval,
        retries=_retries(options.get("health_retries")) or image.retries,
    )


def _test(options: HealthOptions) -> tuple[str, ...]:
    command = options.get("health_cmd")
    if command is None:
        return ()
    if isinstance(command, str):
        text = parse_text("health_cmd", command)
        return ("CMD-SHELL", text) if text else ()
    arguments = parse_command(command)
    if not arguments:
        raise InvalidSpecError("health_cmd", repr(command), "at least the name of a program")
    return ("CMD", *arguments)


def _command(test: tuple[str, ...], shell: tuple[str, ...]) -> tuple[str, ...] | None:
    """What is executed; None for no check at all."""
    kind, *arguments = test or ("NONE",)
    if kind == "CMD" and arguments:
        return tuple(arguments)
    if kind == "CMD-SHELL" and arguments:
        return (*shell, *arguments)
    return None


def _with_defaults(command: tuple[str, ...], healthcheck: Healthcheck) -> HealthCheck:
    default = HealthCheck(command)
    return HealthCheck(
        command,
        interval=healthcheck.interval / _SECOND or default.interval,
        timeout=healthcheck.timeout / _SECOND or default.timeout,
        start_period=healthcheck.start_period / _SECOND or default.start_period,
        start_interval=healthcheck.start_interval / _SECOND or default.start_interval,
        # An image's config may hold anything; Docker takes its default for what is no number of retries.
        retries=healthcheck.retries if healthcheck.retries > 0 else default.retries,
    )


def _nanoseconds(field: str, duration: Duration | None) -> int:
    """0 if it is not given: what the image says then holds, or docker's default."""
    if duration is None:
        return 0
    wanted = "seconds, or a text such as 1m30s or 500ms; 1ms is the least"
    if not isinstance(duration, str | int | float) or isinstance(duration, bool):
        raise InvalidSpecError(field, repr(duration), wanted)
    try:
        nanoseconds = parse_duration(duration) if isinstance(duration, str) else int(duration * _SECOND)
    except (ValueError, OverflowError) as error:
        raise InvalidSpecError(field, repr(duration), wanted) from error
    if nanoseconds and not _SHORTEST <= nanoseconds <= _LONGEST:
        raise InvalidSpecError(field, repr(duration), wanted)
    return nanoseconds


def _retries(retries: int | None) -> int:
    if retries is None:
        return 0
    if not isinstance(retries, int) or isinstance(retries, bool) or not 0 <= retries <= _MOST_RETRIES:
        raise InvalidSpecError("health_retries", repr(retries), "a number from 1, or 0 for docker's default")
    return retries
