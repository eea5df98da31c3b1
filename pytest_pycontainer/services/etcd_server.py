"""etcd.

The official image (``gcr.io/etcd-development/etcd``): clients at port 2379, over gRPC and as JSON over HTTP. Flags
can be given as variables ``ETCD_…``, also where it is to listen: by itself that is the container's loopback alone.
"""

from __future__ import annotations

import os
import re

from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.service import Service
from pytest_pycontainer.services.exchange import Exchange
from pytest_pycontainer.services.server import Server, url

_REQUEST = b"GET /health HTTP/1.0\r\n\r\n"


class Etcd(Server):
    """An etcd server."""

    PORT = 2379

    def url_at(self, host: str, port: int) -> str:
        """See Server."""
        return url("http", host, port)

    def env_at(self, host: str, port: int) -> dict[str, str]:
        """See Server."""
        return {"ETCDCTL_ENDPOINTS": self.url_at(host, port)}


def etcd(image: Image | str | os.PathLike[str] = "gcr.io/etcd-development/etcd:v3.5.21") -> Service[Etcd]:
    """An etcd server, a cluster of one, ready when it says that it is healthy.

    It has no ``client``: its API is JSON over HTTP at ``url`` (``/v3/kv/put``), and gRPC. Everybody may use it.
    """
    everywhere = f"http://0.0.0.0:{Etcd.PORT}"
    return Service(
        Etcd,
        image,
        Etcd.PORT,
        Exchange(Etcd.PORT, _REQUEST, re.compile(rb'"health"\s*:\s*"?true')),
        env={"ETCD_LISTEN_CLIENT_URLS": everywhere, "ETCD_ADVERTISE_CLIENT_URLS": everywhere},
    )
