"""Mosquitto, a broker for MQTT.

The official image (``eclipse-mosquitto``): port 1883. Its own configuration listens on the container's loopback alone,
so another one that it has, ``/mosquitto-no-auth.conf``, is used; that lets in everybody.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.service import Service
from pytest_pycontainer.services.exchange import Exchange
from pytest_pycontainer.services.server import Server, url

if TYPE_CHECKING:
    from paho.mqtt.client import Client

_CONNECT = b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0"
# CONNACK, whatever it says: a refusal is one of a server that is ready.
_READY = re.compile(rb"\A\x20\x02")

_USER, _PASSWORD = "MOSQUITTO_USER", "MOSQUITTO_PASSWORD"
_WITH_A_PASSWORD = f"""
set -e
umask 077
mkdir -p /tmp/mosquitto
mosquitto_passwd -b -c /tmp/mosquitto/passwords "${_USER}" "${_PASSWORD}"
printf 'listener 1883\\nuser %s\\npassword_file /tmp/mosquitto/passwords\\n' "$(id -un)" > /tmp/mosquitto/conf
exec mosquitto -c /tmp/mosquitto/conf
"""


class Mosquitto(Server):
    """A Mosquitto broker."""

    PORT = 1883

    @property
    def username(self) -> str | None:
        """None if everybody may use it."""
        return self._variable(_USER, "") or None

    @property
    def password(self) -> str | None:
        """The user's."""
        return None if self.username is None else self._variable(_PASSWORD, "")

    def client(self, **options: Any) -> Client:
        """A client of the library ``paho-mqtt``, connected; its loop is the caller's to run, and it to disconnect.

        ``options`` are those of its ``Client``. Raises ClientLibraryMissingError.
        """
        library = self._client_library("paho.mqtt.client", "paho-mqtt")
        client: Client = library.Client(library.CallbackAPIVersion.VERSION2, **options)
        if self.username is not None:
            client.username_pw_set(self.username, self.password)
        client.connect(*self.address())
        return client

    def url_at(self, host: str, port: int) -> str:
        """See Server."""
        return url("mqtt", host, port, user=self.username, password=self.password)

    def env_at(self, host: str, port: int) -> dict[str, str]:
        """See Server."""
        return {"MQTT_URL": self.url_at(host, port)}


def mosquitto(
    image: Image | str | os.PathLike[str] = "eclipse-mosquitto:2", *, username: str | None = None, password: str = ""
) -> Service[Mosquitto]:
    """A Mosquitto broker, ready when it answers a client; with a ``username`` it lets in nobody else."""
    ready = Exchange(Mosquitto.PORT, _CONNECT, _READY)
    if username is None:
        command = ("mosquitto", "-c", "/mosquitto-no-auth.conf")
        return Service(Mosquitto, image, Mosquitto.PORT, ready, command=command)
    command = ("sh", "-c", _WITH_A_PASSWORD)
    return Service(Mosquitto, image, Mosquitto.PORT, ready, command=command, env={_USER: username, _PASSWORD: password})
