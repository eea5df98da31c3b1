"""The RabbitMQ service, over Debian's broker with the official image's contract."""

from __future__ import annotations

from collections.abc import Callable

import pika
import pytest
from pika.exceptions import ProbableAuthenticationError

from pytest_pycontainer import Engine, Image, services
from tests.services.conftest import SECONDS

AWKWARD = "p /@:%"


def test_it_is_ready_for_messages_and_keeps_them_over_a_restart(
    engine: Engine, debian_image: Callable[[str], Image]
) -> None:
    service = services.rabbitmq(image=debian_image("rabbitmq"), username="me", password=AWKWARD, vhost="my/own")
    with engine.service(service, timeout=SECONDS) as server:
        assert (server.username, server.password, server.vhost) == ("me", AWKWARD, "my/own")
        with server.client(socket_timeout=SECONDS, stack_timeout=SECONDS) as client:
            channel = client.channel()
            channel.queue_declare("greetings", durable=True)
            persistent = pika.BasicProperties(delivery_mode=2)
            channel.confirm_delivery()
            channel.basic_publish("", "greetings", b"hello", persistent)
        server.restart()
        server.wait_for(service.wait, SECONDS)
        by_url = pika.URLParameters(server.env["AMQP_URL"])
        by_url.socket_timeout = by_url.stack_timeout = SECONDS
        with pika.BlockingConnection(by_url) as client:
            _, _, message = client.channel().basic_get("greetings", auto_ack=True)
            assert message == b"hello"
        with pytest.raises(ProbableAuthenticationError):
            server.client(credentials=pika.PlainCredentials("me", "wrong"), stack_timeout=SECONDS)
        assert server.internal_url == f"amqp://me:p%20%2F%40%3A%25@{server.name}:5672/my%2Fown"
