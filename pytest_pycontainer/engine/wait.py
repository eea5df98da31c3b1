"""Readiness: what to wait for before a container is used.

    engine.run("redis", ports=[6379], wait=wait.port(6379))
    engine.run("postgres", wait=wait.log(r"ready to accept connections", timeout=60))
    engine.run("app", wait=wait.http("/health", 8080) & wait.file("/run/app.pid"))
    container.wait_for(wait.until(lambda c: client.ping()), timeout=5)

A container that exits while it is waited for fails at once, with its log. Each takes a ``timeout`` of its own, in
seconds; without one that of the call counts. What can't be meant is refused by the call, with InvalidSpecError.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Literal

from pytest_pycontainer.engine.arguments import Command, parse_command, parse_seconds, parse_user
from pytest_pycontainer.engine.named_wait import named as named
from pytest_pycontainer.engine.port_arguments import Port, parse_port
from pytest_pycontainer.engine.readiness import Condition as Condition
from pytest_pycontainer.engine.readiness import Wait as Wait
from pytest_pycontainer.engine.text_match import TextMatch, parse_match
from pytest_pycontainer.errors import InvalidSpecError

if TYPE_CHECKING:
    from pytest_pycontainer.engine.container import Container
    from pytest_pycontainer.engine.wait_http import Status

_TRY_SECONDS = 5.0


def port(*ports: Port, timeout: float | None = None) -> Condition:
    """Waits until all these ports are open.

    A TCP port is when it accepts a connection, through its published port or, without one, inside the container; a UDP
    port (``"53/udp"``) when a process of the container takes its datagrams.
    """
    from pytest_pycontainer.engine.wait_port import PortWait

    if not ports:
        raise InvalidSpecError("port to wait for", "", "at least one")
    for one in ports:
        parse_port("port to wait for", one)
    return PortWait(ports, _limit(timeout))


def log(
    pattern: str | re.Pattern[str],
    *,
    times: int = 1,
    stream: Literal["stdout", "stderr"] | None = None,
    timeout: float | None = None,
) -> Condition:
    """Waits until a line of the log matches ``pattern``, a regular expression that is searched, ``times`` times.

    With ``stream`` only what was written there counts.
    """
    from pytest_pycontainer.engine.wait_output import LogWait

    if not isinstance(times, int) or times < 1:
        raise InvalidSpecError("times", repr(times), "a number from 1")
    if stream not in (None, "stdout", "stderr"):
        raise InvalidSpecError("stream", repr(stream), "'stdout', 'stderr', or None for both")
    try:
        compiled = re.compile(pattern)
        compiled.search("")
    except (re.error, TypeError) as error:
        raise InvalidSpecError("log pattern", str(pattern), f"a regular expression ({error})") from error
    return LogWait(compiled, times, stream, _limit(timeout))


def http(
    path: str = "/",
    port: Port | None = None,
    *,
    status: Status = range(200, 400),
    body: TextMatch | None = None,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    content: str | bytes | None = None,
    tls: bool = False,
    verify: bool | str | os.PathLike[str] = True,
    host: str = "localhost",
    try_timeout: float = _TRY_SECONDS,
    timeout: float | None = None,
) -> Condition:
    """Waits until a request is answered with such a ``status``, and such a text in the ``body``.

    No port need be published; without ``port`` it is the only one that is, or that the image exposes. ``status`` is a
    number, several (``range(200, 300)``), or a function; ``body`` a text in it, a compiled pattern, or a function. A
    redirection is an answer like any other. ``content`` is sent with the request. With ``tls`` the certificate is
    checked for ``host``, which is the Host header too: not at all with ``verify=False``, or by the authorities in a
    file. One try takes ``try_timeout`` seconds at most.
    """
    from pytest_pycontainer.engine.wait_http import HttpWait, parse_headers, parse_status, parse_verify

    if not isinstance(path, str) or not re.fullmatch(r"/[!-~]*", path):
        raise InvalidSpecError("path", repr(path), "a path that begins with '/', quoted as in a URL")
    server = None if port is None else parse_port("port to wait for", port)
    if server is not None and server.protocol != "tcp":
        raise InvalidSpecError("port to wait for", str(port), "a TCP port")
    if not isinstance(method, str) or not re.fullmatch(r"[A-Za-z-]+", method):
        raise InvalidSpecError("method", repr(method), "one of HTTP's, such as 'GET'")
    if not isinstance(host, str) or not re.fullmatch(r"[!-~]+", host):
        raise InvalidSpecError("host", repr(host), "a host's name, such as 'localhost'")
    if content is not None and not isinstance(content, str | bytes):
        raise InvalidSpecError("content", repr(content), "text, or bytes")
    if not tls and verify is not True:
        raise InvalidSpecError("verify", str(verify), "tls=True: without it there is no certificate")
    return HttpWait(
        path,
        None if server is None else server.container_port,
        parse_status(status),
        parse_match("body", body),
        method.upper(),
        parse_headers(headers or {}),
        content.encode() if isinstance(content, str) else content,
        tls,
        parse_verify(verify),
        host,
        parse_seconds(try_timeout),
        _limit(timeout),
    )


def command(
    command: Command,
    *,
    exit_code: int = 0,
    output: TextMatch | None = None,
    user: str | int | None = None,
    try_timeout: float = _TRY_SECONDS,
    timeout: float | None = None,
) -> Condition:
    """Waits until a command, executed in the container, exits with ``exit_code``, and writes such an ``output``.

    ``output`` is a text in its standard output, a compiled pattern, or a function of it. One execution takes
    ``try_timeout`` seconds at most. A command that the container does not have fails at once.
    """
    from pytest_pycontainer.engine.wait_inside import CommandWait

    parsed = parse_command(command)
    if not parsed:
        raise InvalidSpecError("command", str(command), "at least the name of a program")
    if not isinstance(exit_code, int) or not 0 <= exit_code <= 255:
        raise InvalidSpecError("exit_code", repr(exit_code), "a number from 0 to 255")
    wanted = parse_match("output", output)
    parse_user(user)
    return CommandWait(tuple(parsed), exit_code, wanted, user, parse_seconds(try_timeout), _limit(timeout))


def healthy(*, timeout: float | None = None) -> Condition:
    """Waits until the health check of the image, or of the call, succeeds.

    A container that is found unhealthy fails at once.
    """
    from pytest_pycontainer.engine.wait_state import HealthWait

    return HealthWait(_limit(timeout))


def file(path: str, *, text: TextMatch | None = None, timeout: float | None = None) -> Condition:
    """Waits until the container has a file or directory at ``path``, with such a ``text`` in it.

    ``text`` is a text in it, a compiled pattern, or a function of it.
    """
    from pytest_pycontainer.engine.wait_inside import FileWait

    if not isinstance(path, str) or not path or "\0" in path:
        raise InvalidSpecError("path", repr(path), "a path in the container")
    return FileWait(path, parse_match("text", text), _limit(timeout))


def exit(code: int | Collection[int] | None = 0, *, timeout: float | None = None) -> Condition:  # noqa: A001
    """Waits until the container exits with this code, or one of these; with any, for None. Another fails at once."""
    from pytest_pycontainer.engine.wait_state import ExitWait

    given = () if code is None else (code,) if isinstance(code, int) else code
    if not isinstance(given, Collection) or not all(isinstance(one, int) and 0 <= one <= 255 for one in given):
        raise InvalidSpecError("code", repr(code), "a number from 0 to 255, several of them, or None for any")
    return ExitWait(tuple(given), _limit(timeout))


def until(function: Callable[[Container], object], what: str = "", *, timeout: float | None = None) -> Condition:
    """Waits until a function, which is called with the container, returns what counts as true.

    An exception means that it is not yet so; the last one is in the error. ``what`` says what it waits for, there.
    """
    from pytest_pycontainer.engine.wait_inside import FunctionWait

    if not callable(function) or inspect.iscoroutinefunction(function) or isinstance(function, Condition | type):
        raise InvalidSpecError("function", repr(function), "a function of the container, and no coroutine")
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        raise InvalidSpecError("function", repr(function), f"a function of the container ({error})") from error
    except ValueError:
        pass  # one in C, which does not tell
    name = getattr(function, "__qualname__", repr(function)).rpartition("<locals>.")[2]
    return FunctionWait(function, what or f"{name} returns true", _limit(timeout))


def all_of(*waits: Wait, timeout: float | None = None) -> Condition:
    """Waits for one after the other, for ``timeout`` seconds in all; ``a & b`` is the same."""
    from pytest_pycontainer.engine.wait_combination import AllOf

    return AllOf(_several(waits), _limit(timeout))


def any_of(*waits: Wait, timeout: float | None = None) -> Condition:
    """Waits until one of them is so, for ``timeout`` seconds; ``a | b`` is the same.

    They are looked at in turn, so none has a time of its own. One that fails leaves it to the others.
    """
    from pytest_pycontainer.engine.wait_combination import any_condition

    return any_condition(_several(waits), _limit(timeout))


def _several(waits: tuple[Wait, ...]) -> tuple[Wait, ...]:
    for one in waits:
        if not hasattr(one, "until_ready"):
            raise InvalidSpecError("wait", repr(one), "something such as wait.port(80)")
    if not waits:
        raise InvalidSpecError("waits", "", "at least one")
    return waits


def _limit(timeout: float | None) -> float | None:
    return None if timeout is None else parse_seconds(timeout)
