"""What Docker reported where it could be started, for the tests to compare with where it can't.

Of each report that is kept which does not depend on the machine, its kernel and the image. What a filter says of
numbers is written in ranges: ``0-5 7``.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from pytest_pycontainer.engine.defaults import MASKED_PATHS, READ_ONLY_PATHS
from tests.probe.comparison import flat
from tests.probe.containers import Report
from tests.probe.variants import Variant

RECORDED: Final = (
    "default", "user and group", "privileged user", "cap_add", "cap_drop", "no new privileges", "seccomp unconfined",
    "system paths unconfined", "read-only root", "init", "exec", "exec user", "exec in cap_drop",
)  # fmt: skip
"""The names of the variants that are kept."""

FILE: Final = Path(__file__).with_name("docker.json")

_FILTER = "calls > filter > "
_KEPT = re.compile(
    r"status > (Cap(Inh|Prm|Eff|Amb)|NoNewPrivs|Seccomp|Umask|Sig...)|environment|keyring"
    r"|identity > (keepcaps|securebits|no_new_privs|death.signal|subreaper|[ug]id|directory|is PID 1|parent|leads.*"
    r"|personality|dumpable)"
    r"|descriptors > .*|namespaces > .*|mounts > (/|/dev.*|/sys|/etc/.*) > options|mounts > (/|/dev.*|/sys) > type"
    r"|devices > .*|root > /.dockerenv|files > .* > .*|terminal > (?!typing).*|processes"
)
_SYSTEM_PATHS = re.compile(r"(?:mounts|proc) > ((?:/proc|/sys/firmware|/sys/devices)[^ ]*)(?: > (?:type|options))?")
_MACHINES_DEVICES = re.compile("devices > .*")
_PRIVILEGED = re.compile("privileged.*")


def kept(variant: str, report: Report) -> dict[str, str]:
    """The places of a report, as ``flat`` names them, that can be compared with those of another machine."""
    return {place: value for place, value in flat(report) if _is_kept(variant, place)}


def _is_kept(variant: str, place: str) -> bool:
    if _PRIVILEGED.fullmatch(variant) and _MACHINES_DEVICES.fullmatch(place):
        return False
    if path := _SYSTEM_PATHS.fullmatch(place):
        return path[1] in ("/proc", *MASKED_PATHS, *READ_ONLY_PATHS)
    return place.startswith(_FILTER) or _KEPT.fullmatch(place) is not None


def is_here(place: str) -> bool:
    """Whether this machine has what the place is about: one lacks what another masks."""
    path = _SYSTEM_PATHS.fullmatch(place)
    return path is None or Path(path[1]).exists()


def record(variant: Variant, version: str, report: Report) -> None:
    """Keeps what can be compared with other machines' containers, as what differs from the first variant."""
    first = RECORDED[0]
    file: dict[str, Any] = {"docker": version, "machine": platform.machine(), "variants": {}}
    if variant.name != first:
        file = json.loads(FILE.read_text())
    places: dict[str, str | None] = {**kept(variant.name, report)}
    if variant.name != first:
        usual = recorded(first)
        places = {place: places.get(place) for place in {**usual, **places} if places.get(place) != usual.get(place)}
    file["variants"][variant.name] = {
        "filter": _in_ranges(places),
        "places": {place: value for place, value in places.items() if not place.startswith(_FILTER)},
    }
    FILE.write_text(json.dumps(file, indent=1, ensure_ascii=False) + "\n")


def recorded_machine() -> str:
    """What machine the reports are from (``uname -m``)."""
    machine: str = json.loads(FILE.read_text())["machine"]
    return machine


def recorded(variant: str) -> dict[str, str]:
    """What was kept of a variant's report."""
    variants: dict[str, Any] = json.loads(FILE.read_text())["variants"]
    places: dict[str, str | None] = {}
    for name in (RECORDED[0], variant):
        places |= {**dict(_out_of_ranges(variants[name]["filter"])), **variants[name]["places"]}
    return {place: value for place, value in places.items() if value is not None}


def _in_ranges(places: Mapping[str, str | None]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, list[str]]] = {}
    for place, outcome in places.items():
        if place.startswith(_FILTER) and outcome is not None:
            interface, name = place.removeprefix(_FILTER).split(" > ")
            found.setdefault(interface, {}).setdefault(outcome, []).append(name)
    return {
        interface: {
            outcome: ", ".join([*ranges(int(name) for name in names if name.isdecimal()),
                                *(name for name in names if not name.isdecimal())])
            for outcome, names in outcomes.items()
        }
        for interface, outcomes in found.items()
    }  # fmt: skip


def _out_of_ranges(filters: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    for interface, outcomes in filters.items():
        for outcome, text in outcomes.items():
            for part in text.split(", "):
                first, _, last = part.partition("-")
                names = map(str, range(int(first), int(last or first) + 1)) if first.isdecimal() else [part]
                for name in names:
                    yield f"{_FILTER}{interface} > {name}", outcome


def ranges(numbers: Iterable[int]) -> Iterator[str]:
    """Ascending numbers as texts, such as ``1-3`` and ``5``."""
    for _, group in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        yield str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}"
