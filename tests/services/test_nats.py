"""The NATS service, over Debian's server with the official image's contract."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator

import pytest

from pytest_pycontainer import Engine, Image, services
from tests.services.conftest import SECONDS

AWKWARD = "p /@:%"


@pytest.fixture(scope="module")
def image(debian_image: Callable[[str], Image]) -> Image:
    return debian_image("nats")


@pytest.fixture
def server(engine: Engine, image: Image) -> Iterator[services.Nats]:
    with engine.service(services.nats(image=image, jetstream=True), timeout=SECONDS) as server:
        yield server


def test_it_is_ready_for_messages(server: services.Nats) -> None:
    async def exchange() -> bytes:
        client = await server.client(connect_timeout=SECONDS)
        subscription = await client.subscribe("greetings")
        await client.publish("greetings", b"hello")
        message = await subscription.next_msg(timeout=SECONDS)
        await client.close()
        return message.data

    assert asyncio.run(exchange()) == b"hello"


def test_streams_are_kept_over_a_restart(server: services.Nats) -> None:
    async def write() -> None:
        client = await server.client(connect_timeout=SECONDS)
        stream = client.jetstream()
        await stream.add_stream(name="kept", subjects=["kept"])
        await stream.publish("kept", b"hello")
        await client.close()

    async def read() -> bytes | None:
        client = await server.client(connect_timeout=SECONDS)
        message = await client.jetstream().get_last_msg("kept", "kept")
        await client.close()
        return message.data

    asyncio.run(write())
    server.restart()
    server.wait_for(services.nats().wait, SECONDS)
    assert asyncio.run(read()) == b"hello"


def test_a_password_is_wanted_of_everyone(engine: Engine, image: Image) -> None:
    with engine.service(services.nats(image=image, username="me", password=AWKWARD), timeout=SECONDS) as server:

        async def answered() -> bool:
            client = await server.client(connect_timeout=SECONDS)
            await client.flush()
            await client.close()
            return True

        assert (server.username, server.password) == ("me", AWKWARD)
        assert asyncio.run(answered())
        # The library leaves its socket open when it is refused.
        with socket.create_connection(server.address(), SECONDS) as stranger, stranger.makefile("rwb") as lines:
            lines.write(b'CONNECT {"user": "me", "pass": "wrong"}\r\n')
            lines.flush()
            assert b"Authorization Violation" in lines.read()


def test_its_address_is_told(server: services.Nats) -> None:
    assert server.env == {"NATS_URL": server.url} == {"NATS_URL": f"nats://127.0.0.1:{server.port()}"}
    assert server.internal_url == f"nats://{server.name}:4222"
