from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.runtime import dns
from pytest_pycontainer.runtime.dns import MalformedMessageError, parse_query
from tests.runtime.dns_client import query, read

_labels = st.lists(st.text("abcXYZ019-_", min_size=1, max_size=20), min_size=1, max_size=5)


@given(_labels, st.integers(0, 65535), st.none() | st.integers(0, 65535), st.integers(0, 65535))
def test_a_query_is_read_as_it_was_written(labels: list[str], kind: int, size: int | None, identifier: int) -> None:
    name = ".".join(labels)
    parsed = parse_query(query(name, kind, size=size, identifier=identifier))
    assert (parsed.name, parsed.kind, parsed.extended) == (name.lower(), kind, size is not None)
    assert parsed.size == (512 if size is None else min(max(size, 512), 4096))
    answer = read(dns.answer(parsed, dns.NO_ERROR, [b"1234", b"5678"], seconds=7))
    assert (answer.identifier, answer.code, answer.records) == (identifier, 0, [b"1234", b"5678"])
    assert answer.question == parsed.question
    assert answer.extended == parsed.extended


@given(st.binary(max_size=600))
def test_no_packet_does_more_than_to_be_refused(packet: bytes) -> None:
    try:
        parsed = parse_query(packet)
    except MalformedMessageError as error:
        assert not error.answer or error.answer[:2] == packet[:2]  # noqa: PT017  (most packets are none)
    else:
        assert read(dns.answer(parsed, dns.NO_SUCH_NAME)).code == dns.NO_SUCH_NAME


@given(st.data())
def test_no_damage_to_a_query_does_more_than_that(data: st.DataObject) -> None:
    packet = bytearray(query("some.name.example", size=1232))
    for _ in range(data.draw(st.integers(1, 4))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    test_no_packet_does_more_than_to_be_refused.hypothesis.inner_test(  # type: ignore[attr-defined]
        bytes(packet[: data.draw(st.integers(0, len(packet)))])
    )


@pytest.mark.parametrize(
    ("packet", "code"),
    [
        (query("x")[:4] + struct.pack(">HHHH", 0, 0, 0, 0), dns.FORMAT_ERROR),
        (query("x")[:4] + struct.pack(">HHHH", 2, 0, 0, 0) + query("x")[12:] * 2, dns.FORMAT_ERROR),
        (query("x")[:12] + b"\xc0\x0c" + b"\0\1\0\1", dns.FORMAT_ERROR),
        (query("x")[:12] + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1", dns.FORMAT_ERROR),
        (query("x")[:-2], dns.FORMAT_ERROR),
        (query("x", size=512)[:-1], dns.FORMAT_ERROR),
        (query("x")[:2] + b"\x28\0" + query("x")[4:], dns.NOT_IMPLEMENTED),
    ],
)
def test_what_is_no_query_is_told_so(packet: bytes, code: int) -> None:
    with pytest.raises(MalformedMessageError) as raised:
        parse_query(packet)
    assert read(raised.value.answer).code == code


@pytest.mark.parametrize("packet", [b"", b"short", query("x")[:2] + b"\x81\x80" + query("x")[4:]])
def test_what_could_be_an_answer_is_not_answered(packet: bytes) -> None:
    with pytest.raises(MalformedMessageError) as raised:
        parse_query(packet)
    assert raised.value.answer == b""


def test_an_answer_that_is_too_long_for_a_datagram_is_to_be_asked_for_by_tcp() -> None:
    records = [struct.pack(">I", number) for number in range(100)]
    for size, fits in ((None, False), (512, False), (4096, True)):
        parsed = parse_query(query("many", size=size))
        whole = dns.answer(parsed, dns.NO_ERROR, records)
        answer = read(dns.fit(parsed, whole))
        assert answer.truncated != fits
        assert len(answer.records) == (100 if fits else 0)
        assert answer.extended == parsed.extended


def test_a_dot_in_a_label_makes_no_other_name() -> None:
    packet = query("x")[:12] + b"\x03a.b\0" + b"\0\1\0\1"
    assert parse_query(packet).name == "a\\.b"


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("4.3.2.1.in-addr.arpa", bytes([1, 2, 3, 4])),
        ("b.a." + "0." * 30 + "ip6.arpa", bytes(15) + b"\xab"),
        ("256.3.2.1.in-addr.arpa", None),
        ("x.3.2.1.in-addr.arpa", None),
        ("3.2.1.in-addr.arpa", None),
        ("4.3.2.1", None),
    ],
)
def test_names_that_stand_for_addresses(name: str, address: bytes | None) -> None:
    found = dns.address_of_pointer(name)
    if address is not None and len(address) == 16:
        assert found == bytes.fromhex("0" * 30 + "ab")
    else:
        assert found == address


def test_only_an_answer_to_the_question_is_one() -> None:
    parsed = parse_query(query("right"))
    good = dns.answer(parsed, dns.NO_ERROR, [b"1234"])
    assert dns.answers_to(parsed, good, good[:2])
    assert not dns.answers_to(parsed, good, b"\xff\xff")
    assert not dns.answers_to(parsed, query("right"), good[:2])
    assert not dns.answers_to(parsed, dns.answer(parse_query(query("wrong")), dns.NO_ERROR), good[:2])
    assert not dns.answers_to(parsed, b"", b"")


@pytest.mark.parametrize("name", ["a" * 64, ".".join(["abcdefgh"] * 40), "a..b", ""])
def test_what_is_too_long_for_a_name(name: str) -> None:
    with pytest.raises(ValueError, match="too long"):
        dns.encode_name(name)
