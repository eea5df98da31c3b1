from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.errors import InvalidReferenceError
from pytest_pycontainer.image.reference import Reference

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("redis", "docker.io/library/redis:latest", "redis:latest"),
        ("redis:7", "docker.io/library/redis:7", "redis:7"),
        ("docker.io/redis", "docker.io/library/redis:latest", "redis:latest"),
        ("index.docker.io/redis", "docker.io/library/redis:latest", "redis:latest"),
        ("bitnami/redis", "docker.io/bitnami/redis:latest", "bitnami/redis:latest"),
        ("localhost/redis", "localhost/redis:latest", "localhost/redis:latest"),
        ("localhost:5000/redis", "localhost:5000/redis:latest", "localhost:5000/redis:latest"),
        ("127.0.0.1:5000/a/b/c:1", "127.0.0.1:5000/a/b/c:1", "127.0.0.1:5000/a/b/c:1"),
        ("[::1]:5000/redis:7", "[::1]:5000/redis:7", "[::1]:5000/redis:7"),
        ("[2001:db8::1]/redis", "[2001:db8::1]/redis:latest", "[2001:db8::1]/redis:latest"),
        ("ghcr.io/a/b@" + DIGEST, "ghcr.io/a/b@" + DIGEST, "ghcr.io/a/b@" + DIGEST),
        ("redis:7@" + DIGEST, "docker.io/library/redis:7@" + DIGEST, "redis:7@" + DIGEST),
        ("a-b__c/d_e.f--g", "docker.io/a-b__c/d_e.f--g:latest", "a-b__c/d_e.f--g:latest"),
        ("redis:5000", "docker.io/library/redis:5000", "redis:5000"),
        ("Registry/redis", "Registry/redis:latest", "Registry/redis:latest"),
    ],
)
def test_reads_what_docker_reads(text: str, canonical: str, familiar: str) -> None:
    reference = Reference.parse(text)
    assert (str(reference), reference.familiar) == (canonical, familiar)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("Redis", "lower-case"),
        ("redis:", "bad tag ''"),
        ("redis:-x", "bad tag '-x'"),
        ("redis:" + "x" * 129, "bad tag"),
        ("a//b", "part of the name is empty"),
        ("/redis", "bad registry|empty"),
        ("redis/", "part of the name is empty"),
        ("a..b", "bad name 'a..b'"),
        ("a___b", "bad name"),
        ("-a", "bad name"),
        ("../etc", "bad registry"),
        ("a/../b", "bad name '..'"),
        ("redis@sha256:abc", "after @ comes a digest"),
        ("redis@", "after @ comes a digest"),
        ("ab" * 32, "image ID"),
        ("example.com:port/redis", "bad registry"),
        ("[::1/redis", "bad registry"),
        ("a b", "bad name"),
        ("redis\n", "bad name"),
        ("x.io/" + "a" * 251, "longer than 255"),
    ],
)
def test_refuses_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidReferenceError, match=reason) as caught:
        Reference.parse(text)
    assert caught.value.reference == text
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@given(st.text(alphabet="aZ0.:/@[]_- ", max_size=30) | st.text(max_size=30))
def test_any_text_is_read_or_refused_and_both_forms_read_back(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except InvalidReferenceError:
        return
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference
