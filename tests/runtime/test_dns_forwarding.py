"""Queries passed on to real sockets on loopback."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.runtime import dns, dns_forwarding
from pytest_pycontainer.runtime.dns import parse_query
from pytest_pycontainer.runtime.dns_forwarding import Forwarder, name_servers
from pytest_pycontainer.runtime.event_loop import EventLoop
from tests.runtime.dns_client import Answer, query, read

TIMEOUT = 20.0
ONE, OTHER = "127.0.0.1", "127.0.0.2"

Serve = Callable[[bytes], list[bytes]]


def answer(packet: bytes, address: str = "192.0.2.7", code: int = dns.NO_ERROR) -> bytes:
    return dns.answer(parse_query(packet), code, [] if code else [socket.inet_aton(address)])


@contextmanager
def server(host: str, port: int, serve: Serve) -> Iterator[int]:
    """Sends what ``serve`` makes of each datagram, from a thread; yields its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as endpoint:
        endpoint.bind((host, port))

        def run() -> None:
            while True:
                packet, peer = endpoint.recvfrom(65535)
                if not packet:
                    return
                for message in serve(packet):
                    endpoint.sendto(message, peer)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield endpoint.getsockname()[1]
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ending:
                ending.sendto(b"", endpoint.getsockname())
            thread.join()


def forward(
    port: int, *servers: str, packet: bytes | None = None, stream: bool = False, resolv_conf: str = os.devnull
) -> Answer:
    loop = EventLoop()
    replies: list[bytes] = []

    def reply(message: bytes) -> None:
        replies.append(message)
        loop.stop()

    forwarder = Forwarder(loop, resolv_conf, port)
    forwarder.forward(parse_query(packet or query("example.org", identifier=77)), servers, reply, stream=stream)
    if not loop.stopped:
        loop.run()
    (message,) = replies
    return read(message)


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that do not answer are given up at once."""
    monkeypatch.setattr(dns_forwarding, "_SECONDS", {False: 0.05, True: 0.5})


def test_a_query_goes_out_under_another_number_and_comes_back_under_its_own() -> None:
    seen: list[bytes] = []

    def serve(packet: bytes) -> list[bytes]:
        seen.append(packet)
        return [answer(packet)]

    packet = query("example.org", identifier=77, size=1400)
    with server(ONE, 0, serve) as port:
        for _ in range(8):
            found = forward(port, ONE, packet=packet)
            assert (found.identifier, found.addresses) == (77, ["192.0.2.7"])
    assert {sent[2:] for sent in seen} == {packet[2:]}
    assert len({sent[:2] for sent in seen}) > 1


def test_the_next_server_is_asked_when_one_fails_or_is_not_there() -> None:
    with server(ONE, 0, lambda packet: [answer(packet, code=dns.SERVER_FAILURE)]) as port:
        assert forward(port, ONE).code == dns.SERVER_FAILURE
        with server(OTHER, port, lambda packet: [answer(packet)]):
            assert forward(port, ONE, OTHER).addresses == ["192.0.2.7"]
            assert forward(port, "127.0.0.3", OTHER).addresses == ["192.0.2.7"]


@pytest.mark.usefixtures("patience")
def test_the_next_server_is_asked_when_one_says_nothing() -> None:
    with server(ONE, 0, lambda _: []) as port, server(OTHER, port, lambda packet: [answer(packet)]):
        assert forward(port, ONE, OTHER).addresses == ["192.0.2.7"]
        assert forward(port, ONE).code == dns.SERVER_FAILURE


@pytest.mark.parametrize("code", [dns.NO_SUCH_NAME, dns.NO_ERROR])
def test_an_answer_is_taken_from_the_first_that_gives_one(code: int) -> None:
    with (
        server(ONE, 0, lambda packet: [answer(packet, code=code)]) as port,
        server(OTHER, port, lambda packet: [answer(packet, "192.0.2.99")]),
    ):
        found = forward(port, ONE, OTHER)
        assert found.code == code
        assert "192.0.2.99" not in found.addresses


def test_what_answers_another_question_is_not_believed() -> None:
    def serve(packet: bytes) -> list[bytes]:
        lies = [b"", b"x", packet, answer(query("other"), "192.0.2.66")]
        wrong_number = dns.with_identifier(answer(packet, "192.0.2.66"), bytes(octet ^ 1 for octet in packet[:2]))
        other_name = answer(packet[:2] + query("example.net")[2:], "192.0.2.66")
        return [*lies, wrong_number, other_name, answer(packet)]

    with server(ONE, 0, serve) as port:
        assert forward(port, ONE).addresses == ["192.0.2.7"]


@contextmanager
def stream_server(pieces: Callable[[bytes], list[bytes]]) -> Iterator[int]:
    with socket.create_server((ONE, 0)) as listener:

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                length = int.from_bytes(connection.recv(2), "big")
                packet = connection.recv(length)
                for piece in pieces(packet):
                    connection.sendall(piece)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()


def test_by_tcp_an_answer_may_be_long_and_come_in_pieces() -> None:
    records = [os.urandom(4) for _ in range(3000)]

    def pieces(packet: bytes) -> list[bytes]:
        message = dns.answer(parse_query(packet), dns.NO_ERROR, records)
        whole = len(message).to_bytes(2, "big") + message
        return [whole[:1], whole[1:2], whole[2:100], whole[100:]]

    with stream_server(pieces) as port:
        assert forward(port, ONE, stream=True).records == records


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("piece", [b"", b"\0", b"\0\x50short", b"\0\x04abcd", b"\0\0"])
def test_by_tcp_what_is_no_answer_is_a_failure(piece: bytes) -> None:
    with stream_server(lambda _: [piece]) as port:
        assert forward(port, ONE, stream=True).code == dns.SERVER_FAILURE


def test_nobody_there_by_tcp() -> None:
    with socket.create_server((ONE, 0)) as listener:
        port = listener.getsockname()[1]
    assert forward(port, ONE, stream=True).code == dns.SERVER_FAILURE


def test_the_machines_servers_are_those_of_this_moment(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    with (
        server(ONE, 0, lambda packet: [answer(packet, "192.0.2.1")]) as port,
        server(OTHER, port, lambda packet: [answer(packet, "192.0.2.2")]),
    ):
        loop = EventLoop()
        forwarder = Forwarder(loop, str(file), port)
        for text, address in ((ONE, "192.0.2.1"), (OTHER, "192.0.2.2"), ("", "192.0.2.1")):
            file.write_text(f"nameserver {text}\n")
            replies: list[bytes] = []

            def reply(message: bytes, replies: list[bytes] = replies) -> None:
                replies.append(message)
                loop.stop()

            loop._stopped = False
            forwarder.forward(parse_query(query("x")), (), reply, stream=False)
            loop.run()
            assert read(replies[0]).addresses == [address]


def test_servers_that_a_resolv_conf_names() -> None:
    text = "# x\nnameserver 192.0.2.1\nnameserver\nnameserver fe80::1%eth0\nnameserver nonsense\noptions edns0\n"
    assert name_servers(text) == ("192.0.2.1", "fe80::1%eth0")
    assert len(name_servers("nameserver 192.0.2.1\n" * 9)) == 3


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert all(isinstance(server, str) for server in name_servers(text))
