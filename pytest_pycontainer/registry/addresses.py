"""Hosts in addresses."""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

from pytest_pycontainer.errors import InvalidSpecError

_LOCAL_NAMES: Final = ("localhost", "localhost.localdomain")


def host_of(url: str) -> str:
    """Host and, if one is named, port."""
    return urlsplit(url).netloc.rpartition("@")[2]


def registry_of(address: str) -> str:
    """The registry's host, and its port if one is named, of what ``docker login`` takes: also a URL.

    Raises InvalidSpecError for text that names none.
    """
    try:
        host = host_of(address if "://" in address else f"//{address}")
    except ValueError:
        host = ""
    if not host or any(character.isspace() for character in host):
        raise InvalidSpecError("registry", address, "a host name or address, and perhaps :port")
    return host


def is_loopback(host: str) -> bool:
    """Whether ``host``, with or without a port, is this machine's own loopback."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name in _LOCAL_NAMES
