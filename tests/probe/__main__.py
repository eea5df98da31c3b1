"""A probe in Docker's containers and in ours, and what it reports compared.

    python -m tests.probe [-v] [--base FILE] [--record] [part of a variant's name ...]

For every variant (``variants``) the same program is run in a container of Docker's and in one of ours, over the same
image: what becomes of every system call, capabilities, /proc, /sys, /dev, mounts, limits, environment, descriptors,
signals and so on. Differences that are meant are listed, with their reasons, in ``deliberate``; any other fails.

Needs: root, a Docker daemon that answers, mmdebstrap. The image is removed from Docker in the end. ``--record`` writes
what Docker reported of the first variants to the file that the tests compare with where there is no Docker.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from pytest_pycontainer import Engine, Settings
from pytest_pycontainer.errors import PycontainerError
from tests.differential.builders import docker_command
from tests.probe.comparison import differences, sort_out
from tests.probe.containers import DockersContainers, OurContainers, ProbeFailedError
from tests.probe.deliberate import DELIBERATE
from tests.probe.recorded import RECORDED, record
from tests.probe.variants import VARIANTS, Variant

_IMAGE = "127.0.0.1:1/compare/probe"


def _make_base(archive: Path) -> None:
    """Debian's smallest root, with Python."""
    subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "--include=python3", "bookworm", archive], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.probe", description=__doc__)
    parser.add_argument("-v", action="store_true", dest="verbose", help="tell the differences that are meant")
    parser.add_argument("--base", type=Path, help="the image's archive: made if it is not there, and kept")
    parser.add_argument("--record", action="store_true", help="keep what Docker reports, for the tests")
    parser.add_argument("parts", nargs="*", help="variants whose names have one of these in them")
    arguments = parser.parse_args()
    variants = [each for each in VARIANTS if not arguments.parts or any(part in each.name for part in arguments.parts)]
    command = docker_command()
    failed = 0
    with tempfile.TemporaryDirectory(dir="/var/tmp") as temporary:
        directory = Path(temporary)
        docker = DockersContainers(command, _IMAGE, directory / "profile.json")
        base = arguments.base or directory / "base.tar"
        if not base.exists():
            _make_base(base)
        with Engine(Settings(root=directory / "root", state=directory / "state")) as engine:
            ours = OurContainers(engine, engine.import_image(base))
            docker.import_image(base)
            try:
                for variant in variants:
                    failed += not _compare(docker, ours, variant, verbose=arguments.verbose, recording=arguments.record)
            finally:
                docker.remove_image()
    print(f"{len(variants)} variants, {failed} of them differ")
    sys.exit(bool(failed))


def _compare(
    docker: DockersContainers, ours: OurContainers, variant: Variant, *, verbose: bool, recording: bool
) -> bool:
    """Compares one variant and tells of it; whether nothing differs that is not meant to."""
    try:
        theirs = docker.probe(variant)
    except ProbeFailedError as error:
        print(f"skipped {variant.name}: Docker can't make it here\n        {error}", flush=True)
        return True
    try:
        own = ours.probe(variant)
    except (ProbeFailedError, PycontainerError) as error:
        print(f"DIFFERS {variant.name}: we can't make it\n        {error}", flush=True)
        return False
    unexpected, deliberate = sort_out(variant.name, differences(theirs, own), DELIBERATE)
    print(f"{'DIFFERS' if unexpected else 'same   '} {variant.name}", flush=True)
    for difference in unexpected:
        print(f"        {difference}")
    for reason, found in deliberate.items() if verbose else ():
        print(f"        meant: {reason}")
        for difference in found:
            print(f"            {difference}")
    if recording and variant.name in RECORDED:
        record(variant, docker.version(), theirs)
    return not unexpected


if __name__ == "__main__":
    main()
