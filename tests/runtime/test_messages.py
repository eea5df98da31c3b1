"""Messages between the runtime's processes."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from pytest_pycontainer.runtime import messages


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def test_messages_arrive_in_order_with_their_descriptors(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    reading, writing = os.pipe()
    messages.send(here, messages.Failed("mount /proc", 1, "no"), [writing])
    messages.send(here, messages.Start())
    os.close(writing)
    first = messages.receive(there)
    assert first is not None
    message, descriptors = first
    assert message == messages.Failed("mount /proc", 1, "no")
    assert messages.receive(there) == (messages.Start(), [])
    os.write(descriptors[0], b"through")
    assert os.read(reading, 10) == b"through"
    os.close(descriptors[0])
    os.close(reading)


def test_descriptors_do_not_survive_an_exec(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    messages.send(here, messages.Created(), [here.fileno(), there.fileno()])
    received = messages.receive(there)
    assert received is not None
    for descriptor in received[1]:
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)


def test_a_message_larger_than_any_socket_buffer(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    large = messages.Failed("x", 0, "y" * 5_000_000)
    sender = threading.Thread(target=messages.send, args=(here, large, [0]))
    sender.start()
    received = messages.receive(there)
    sender.join()
    assert received is not None
    assert received[0] == large
    os.close(received[1][0])


def test_the_end_is_told_apart_from_a_message(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    messages.send(here, messages.Done())
    here.close()
    assert messages.receive(there) == (messages.Done(), [])
    assert messages.receive(there) is None


def test_a_message_cut_short_is_the_end(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    here.sendall(b"\x40\x00\x00\x00half")
    here.close()
    assert messages.receive(there) is None


def test_sending_to_nobody_is_said(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    there.close()
    with pytest.raises(BrokenPipeError):
        messages.send(here, messages.Start())


def test_a_reader_that_has_read_all_and_gone_is_no_error(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair

    def read_and_go() -> None:
        messages.receive(there)
        there.close()

    reader = threading.Thread(target=read_and_go)
    reader.start()
    messages.send(here, messages.Start())
    reader.join()
