"""nginx.

The official image (``nginx``): port 80, pages in ``/usr/share/nginx/html``, servers in ``/etc/nginx/conf.d/*.conf``,
logs on standard output and error.
"""

from __future__ import annotations

import os
import re

from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.service import Service
from pytest_pycontainer.services.exchange import Exchange
from pytest_pycontainer.services.server import Server, url


class Nginx(Server):
    """An nginx server."""

    PORT = 80

    def url_at(self, host: str, port: int) -> str:
        """See Server."""
        return url("http", host, port)

    def env_at(self, host: str, port: int) -> dict[str, str]:
        """See Server."""
        return {"NGINX_URL": self.url_at(host, port)}


def nginx(image: Image | str | os.PathLike[str] = "nginx:1") -> Service[Nginx]:
    """An nginx server, ready when it answers a request, whatever it says.

    Pages and configuration are mounted: ``volumes={"./site": "/usr/share/nginx/html:ro"}``.
    """
    ready = Exchange(Nginx.PORT, b"GET / HTTP/1.0\r\n\r\n", re.compile(rb"\AHTTP/"))
    return Service(Nginx, image, Nginx.PORT, ready)
