"""From a caller's options to how a container finds names."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import cast

from pytest_pycontainer.engine.arguments import is_text
from pytest_pycontainer.engine.network_modes import HOST_GATEWAY, NameLookup
from pytest_pycontainer.engine.network_options import NetworkOptions
from pytest_pycontainer.errors import InvalidSpecError


def parse_name_lookup(options: NetworkOptions) -> NameLookup:
    """What ``dns``, ``dns_search``, ``dns_options`` and ``extra_hosts`` say. Raises InvalidSpecError."""
    search, further = options.get("dns_search"), options.get("dns_options")
    return NameLookup(
        tuple(_parse_server(server) for server in _texts("dns", options.get("dns"))),
        None if search is None else tuple(_word("dns_search", text) for text in _texts("dns_search", search)),
        None if further is None else tuple(_word("dns_options", text) for text in _texts("dns_options", further)),
        tuple(_parse_host(name, address) for name, address in _hosts(options.get("extra_hosts"))),
    )


def _texts(field: str, given: object) -> list[str]:
    if given is None:
        return []
    if isinstance(given, str):
        return [given]
    texts = list(given) if isinstance(given, Iterable) else [given]
    if not all(isinstance(text, str) for text in texts):
        raise InvalidSpecError(field, repr(given), "a sequence of texts")
    return cast("list[str]", texts)


def _word(field: str, text: str) -> str:
    if text.split() != [text] or not is_text(text):
        raise InvalidSpecError(field, repr(text), "words without blanks")
    return text


def _parse_server(server: str) -> str:
    try:
        return str(ipaddress.ip_address(server))
    except ValueError:
        raise InvalidSpecError("dns", server, "the addresses of name servers") from None


def _hosts(given: object) -> list[tuple[object, object]]:
    if isinstance(given, Mapping):
        return list(given.items())
    pairs: list[tuple[object, object]] = []
    for text in _texts("extra_hosts", given):
        # NAME=ADDRESS is docker's newer way to write it, in which an IPv6 address reads better.
        name, sign, address = text.partition("=" if "=" in text else ":")
        if not sign:
            raise InvalidSpecError("extra_hosts", text, "NAME:ADDRESS or NAME=ADDRESS")
        pairs.append((name, address))
    return pairs


def _parse_host(name: object, address: object) -> tuple[str, str]:
    wanted = f"names with an IP address each, or with {HOST_GATEWAY}"
    if not isinstance(name, str) or name.split() != [name] or "#" in name or not is_text(name):
        raise InvalidSpecError("extra_hosts", str(name), wanted)
    if address == HOST_GATEWAY:
        return name, HOST_GATEWAY
    try:
        return name, str(ipaddress.ip_address(str(address).removeprefix("[").removesuffix("]")))
    except ValueError:
        raise InvalidSpecError("extra_hosts", f"{name}:{address}", wanted) from None
