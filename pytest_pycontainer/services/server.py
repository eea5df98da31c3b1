"""``Server``: the handle that all services share."""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar
from urllib.parse import quote

from pytest_pycontainer.engine.container import Container
from pytest_pycontainer.engine.port_arguments import Port
from pytest_pycontainer.errors import ClientLibraryMissingError


class Server(Container):
    """A container with a server in it, which has one port that clients use.

    What is told of it, users and passwords too, is read from what the container was made with.
    """

    PORT: ClassVar[int]
    """The port inside the container."""

    def port(self, port: Port | None = None) -> int:
        """As Container's; without an argument the server's own."""
        return super().port(port or self.PORT)

    def address(self, port: Port | None = None) -> tuple[str, int]:
        """As Container's; without an argument the server's own."""
        return super().address(port or self.PORT)

    @property
    def host(self) -> str:
        """Where this machine reaches it. Raises PortNotPublishedError."""
        return self.address()[0]

    @property
    def url(self) -> str:
        """Where it is for programs of this machine, with user and password. Raises PortNotPublishedError."""
        return self.url_at(*self.address())

    @property
    def internal_url(self) -> str:
        """Where it is for other containers in a network of it, by its name."""
        return self.url_at(self.name, self.PORT)

    @property
    def env(self) -> dict[str, str]:
        """Variables for a program of this machine that uses it. Raises PortNotPublishedError."""
        return self.env_at(*self.address())

    @property
    def internal_env(self) -> dict[str, str]:
        """Variables for another container in a network of it."""
        return self.env_at(self.name, self.PORT)

    def url_at(self, host: str, port: int) -> str:
        """Its URL for whoever reaches it there, by another name or through a proxy."""
        return url("tcp", host, port)

    def env_at(self, host: str, port: int) -> dict[str, str]:
        """Variables for a program that reaches it there."""
        del host, port  # each service has names of its own
        return {}

    def _variable(self, name: str, default: str) -> str:
        """One of the environment that it was made with; what is empty counts as the images' entrypoints have it."""
        for variable in reversed(self._spec.process.environment):
            if variable.startswith(f"{name}="):
                return variable.partition("=")[2] or default
        return default

    def _argument(self, flag: str) -> str | None:
        """What follows a flag in its command, if that is there."""
        following = dict(zip(self.command, self.command[1:], strict=False))
        return following.get(flag)

    def _client_library(self, module: str, distribution: str) -> Any:
        """Raises ClientLibraryMissingError."""
        try:
            return import_module(module)
        except ImportError as error:
            raise ClientLibraryMissingError(type(self).__name__, module, distribution) from error


def url(
    scheme: str, host: str, port: int, path: str = "", *, user: str | None = None, password: str | None = None
) -> str:
    """A URL; what stands for a user, a password or in a path is quoted."""
    login = ""
    if user is not None or password is not None:
        login = quote(user or "", safe="") + ("" if password is None else ":" + quote(password, safe="")) + "@"
    return f"{scheme}://{login}{f'[{host}]' if ':' in host else host}:{port}{path and '/' + quote(path, safe='')}"
