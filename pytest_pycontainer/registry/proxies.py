"""Which proxy a request goes through, and how one is named in errors: without its password."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.request import getproxies

from requests.utils import select_proxy, should_bypass_proxies

from pytest_pycontainer.registry.addresses import host_of, is_loopback

_USER = re.compile(r"(?:(?<=//)|^)(?!\w+://).*@")


def proxy_for(url: str, setting: str | None) -> str | None:
    """The proxy for ``url``; None if it is asked directly.

    ``setting`` takes the place of ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``ALL_PROXY`` (upper or lower case), and hosts in
    ``NO_PROXY`` are asked directly all the same. So is this machine's loopback, which no proxy can reach; Docker does
    not ask one for it either.
    """
    if is_loopback(host_of(url)) or should_bypass_proxies(url, no_proxy=None):
        return None
    proxies: Mapping[str, str] = {"all": setting} if setting else getproxies()
    return select_proxy(url, dict(proxies)) or None


def without_user(proxy: str) -> str:
    """The address of a proxy as it may be shown."""
    return _USER.sub("", proxy)
