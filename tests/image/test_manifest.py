from __future__ import annotations

import json
import pickle
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.errors import InvalidManifestError, NoMatchingPlatformError
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image import manifest as manifests
from pytest_pycontainer.image.manifest import Descriptor, Index, Manifest
from pytest_pycontainer.image.platform import Platform

CONFIG = {"mediaType": manifests.DOCKER_CONFIG, "size": 7023, "digest": digests.of(b"config")}
LAYER = {"mediaType": manifests.DOCKER_LAYER_GZIP, "size": 32654, "digest": digests.of(b"layer")}
DOCKER = {"schemaVersion": 2, "mediaType": manifests.DOCKER_MANIFEST, "config": CONFIG, "layers": [LAYER]}


def manifest(**changes: Any) -> bytes:
    return json.dumps({**DOCKER, **changes}).encode()


def index(*platforms: str | None) -> Index:
    entries: list[dict[str, Any]] = []
    for platform in platforms:
        entry = {"mediaType": manifests.OCI_MANIFEST, "size": 1, "digest": digests.of(str(platform).encode())}
        if platform:
            names = ("os", "architecture", "variant")
            entry["platform"] = dict(zip(names, platform.split("/"), strict=False))
        entries.append(entry)
    return Index.from_json(json.dumps({"schemaVersion": 2, "manifests": entries}).encode())


def test_a_manifest_of_docker() -> None:
    read = Manifest.from_json(manifest())
    assert read.media_type == manifests.DOCKER_MANIFEST
    assert read.config == Descriptor(manifests.DOCKER_CONFIG, digests.of(b"config"), 7023)
    assert read.layers == (Descriptor(manifests.DOCKER_LAYER_GZIP, digests.of(b"layer"), 32654),)


def test_a_manifest_of_oci_may_leave_out_its_type() -> None:
    read = Manifest.from_json(manifest(mediaType=None, layers=[{**LAYER, "urls": ["https://a/b"], "annotations": {}}]))
    assert read.media_type == manifests.OCI_MANIFEST
    assert read.layers[0].urls == ("https://a/b",)


def test_what_is_written_is_read_back() -> None:
    layer = Descriptor(manifests.OCI_LAYER, digests.of(b"x"), 0, urls=("https://a",), annotations={"a": "b"})
    written = Manifest(Descriptor(manifests.OCI_CONFIG, digests.of(b"c"), 2), (layer,))
    assert Manifest.from_json(written.to_json()) == written
    platform = Platform("linux", "arm", "v7")
    many = Index((Descriptor(manifests.OCI_MANIFEST, digests.of(b"m"), 5, platform),))
    assert Index.from_json(many.to_json()) == many


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"schemaVersion": 1}', "schema 1"),
        (b"{}", "schemaVersion is None; wanted 2"),
        (manifest(mediaType=manifests.DOCKER_INDEX), "mediaType is .*manifest.list"),
        (manifest(config=None), "config.digest is None"),
        (manifest(config={**CONFIG, "digest": "sha256:../../etc"}), "config.digest is 'sha256:../../etc'"),
        (manifest(layers={}), "layers is {}"),
        (manifest(layers=[LAYER, {**LAYER, "size": -1}]), r"layers\[1\].size is -1"),
        (manifest(layers=[{**LAYER, "size": True}]), "size is True"),
        (manifest(manifests=[]), "'manifests', which a document of type"),
        (b" " * (manifests.MANIFEST_BYTES_AT_MOST + 1), "wanted at most 4194304"),
    ],
)
def test_bad_manifests(content: bytes, problem: str) -> None:
    with pytest.raises(InvalidManifestError, match=problem):
        Manifest.from_json(content)


def test_an_index_is_no_manifest_and_a_manifest_no_index() -> None:
    with pytest.raises(InvalidManifestError, match="'layers'"):
        Index.from_json(manifest(mediaType=None))
    with pytest.raises(InvalidManifestError, match="mediaType"):
        Index.from_json(manifest())


@pytest.mark.parametrize(
    ("wanted", "there", "chosen"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64", "windows/amd64"], "linux/amd64"),
        ("linux/amd64", ["linux/amd64/v3", "linux/amd64/v1"], "linux/amd64/v1"),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], "linux/amd64/v2"),
        ("linux/amd64", ["linux/386", "linux/arm/v7"], "linux/386"),
        ("linux/arm64/v8", ["linux/arm/v7", "linux/arm64"], "linux/arm64"),
        ("linux/arm64", ["linux/arm/v7", "linux/arm64/v8"], "linux/arm64/v8"),
        ("linux/arm64", ["linux/arm/v5", "linux/arm/v7"], "linux/arm/v7"),
        ("linux/arm/v7", ["linux/arm/v8", "linux/arm/v5", "linux/arm/v6"], "linux/arm/v6"),
        ("linux/arm/v7", ["linux/arm/v6", "linux/arm/7"], "linux/arm/7"),
        ("linux/arm/v6", ["linux/arm", "linux/arm/v5"], "linux/arm/v5"),
        ("linux/riscv64", ["linux/riscv64"], "linux/riscv64"),
        ("linux/riscv64", [None], None),
    ],
)
def test_the_best_that_runs(wanted: str, there: list[str | None], chosen: str | None) -> None:
    found = index(*there).select(Platform(*wanted.split("/")))
    assert found.digest == digests.of(str(chosen).encode())


def test_no_image_for_this_platform_lists_those_there_are() -> None:
    there = index("linux/arm/v7", "linux/s390x", "unknown/unknown", "windows/amd64", None)
    with pytest.raises(NoMatchingPlatformError, match="linux/arm/v7, linux/s390x, windows/amd64;") as caught:
        there.select(Platform("linux", "arm", "v6"))
    assert caught.value.wanted == "linux/arm/v6"
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.available) == (str(caught.value), caught.value.available)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["digest", "size", "urls"]), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["mediaType", "config", "layers", "manifests"]), _json))
def test_any_json_is_read_or_refused(document: dict[str, Any]) -> None:
    content = json.dumps({"schemaVersion": 2, **document}).encode()
    for kind in (Manifest, Index):
        with suppress(InvalidManifestError):
            kind.from_json(content)
