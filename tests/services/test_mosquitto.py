"""The Mosquitto service, over Debian's broker with the official image's contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import Queue
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer import Engine, Image, services
from tests.services.conftest import SECONDS

if TYPE_CHECKING:
    from paho.mqtt.client import Client

AWKWARD = "p ä/@:%\"'$x"


@pytest.fixture(scope="module")
def image(debian_image: Callable[[str], Image]) -> Image:
    return debian_image("mosquitto")


@pytest.fixture
def server(engine: Engine, image: Image) -> Iterator[services.Mosquitto]:
    with engine.service(services.mosquitto(image=image), timeout=SECONDS) as server:
        yield server


def exchange(client: Client) -> bytes:
    """Sends itself a message."""
    received: Queue[bytes] = Queue()

    def on_connect(*_: object) -> None:
        client.subscribe("greetings")

    def on_subscribe(*_: object) -> None:
        client.publish("greetings", "hello")

    client.on_message = lambda _client, _data, message: received.put(bytes(message.payload))
    client.on_connect = on_connect
    client.on_subscribe = on_subscribe
    client.loop_start()
    try:
        return received.get(timeout=SECONDS)
    finally:
        client.disconnect()
        client.loop_stop()


def test_it_is_ready_for_messages(server: services.Mosquitto) -> None:
    assert exchange(server.client()) == b"hello"
    assert server.username is None


def test_it_is_ready_after_a_restart(server: services.Mosquitto) -> None:
    server.restart()
    server.wait_for(services.mosquitto().wait, SECONDS)
    assert exchange(server.client()) == b"hello"


def test_a_password_is_wanted_of_everyone(engine: Engine, image: Image) -> None:
    service = services.mosquitto(image=image, username="me", password=AWKWARD)
    with engine.service(service, timeout=SECONDS) as server:
        assert (server.username, server.password) == ("me", AWKWARD)
        assert exchange(server.client()) == b"hello"
        answers: Queue[str] = Queue()
        stranger = server.client()
        stranger.username_pw_set("me", "wrong")
        stranger.on_connect = lambda _client, _data, _flags, reason, _properties: answers.put(str(reason))
        stranger.reconnect()
        stranger.loop_start()
        assert answers.get(timeout=SECONDS) == "Not authorized"
        stranger.disconnect()
        stranger.loop_stop()


def test_its_address_is_told(server: services.Mosquitto) -> None:
    assert server.env == {"MQTT_URL": server.url} == {"MQTT_URL": f"mqtt://127.0.0.1:{server.port()}"}
    assert server.internal_url == f"mqtt://{server.name}:1883"
