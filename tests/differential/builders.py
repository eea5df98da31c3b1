"""The three builders that are compared, with one interface: Docker's legacy one, BuildKit, and this package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pytest_pycontainer import Engine
from pytest_pycontainer.errors import PycontainerError
from tests.differential import saved
from tests.differential.case import Builder, Case
from tests.differential.saved import SavedImage

REPOSITORY = "127.0.0.1:1/compare"  # whoever asks a registry for it, asks nobody
BASE = f"{REPOSITORY}/base"
_SECONDS = 300
_BASE_CONFIG = ("ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 'CMD ["sh"]')


class BuildRefusedError(Exception):
    """The builder has not built it; the text says why."""


class CaseBuilder(Protocol):
    """Builds cases. Safe to use from several threads."""

    def build(self, case: Case, context: Path, values: Mapping[str, str], archive: Path) -> SavedImage:
        """Builds what ``case`` says from ``context``; ``values`` are what its words in capitals stand for.

        Raises BuildRefusedError.
        """


def docker_command() -> str:
    """A docker client that still knows both builders, without a plugin; exits with a message if there is none."""
    # Debian's own; a newer client that hides it in $PATH needs buildx for BuildKit.
    for name in ("/usr/bin/docker", "docker"):
        if shutil.which(name) is None:
            continue
        environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
        probe = subprocess.run([name, "build", "--help"], capture_output=True, text=True, check=False, env=environment)
        if probe.returncode or "--ssh" not in probe.stdout:
            continue
        if subprocess.run([name, "info"], capture_output=True, check=False).returncode == 0:
            return name
    sys.exit("this compares with Docker: no docker client with both builders, or no daemon that answers, is here")


@dataclass(frozen=True, slots=True)
class Docker:
    """One of Docker's builders, by its command line."""

    command: str
    builder: Builder

    def import_base(self, archive: Path) -> None:
        changes = [argument for change in _BASE_CONFIG for argument in ("-c", change)]
        subprocess.run([self.command, "import", *changes, archive, BASE], check=True, capture_output=True)

    def build(self, case: Case, context: Path, values: Mapping[str, str], archive: Path) -> SavedImage:
        name = f"{REPOSITORY}/{self.builder}-{case.name}"
        arguments = [f"--build-arg={key}={value}" for key, value in case.build_args.items()]
        arguments += [f"--label={key}={value}" for key, value in case.labels.items()]
        arguments += [f"--target={case.target}"] if case.target else []
        try:
            for tag, dockerfile in case.before.items():
                file = archive.with_suffix(".before")
                file.write_text(filled(dockerfile, values))
                self._build("-t", tag, "-f", file, context)
            self._build("-t", name, "-f", context / case.file, *arguments, context)
            subprocess.run([self.command, "save", "-o", archive, name], check=True, capture_output=True)
        finally:
            subprocess.run([self.command, "rmi", name, *case.before], check=False, capture_output=True)
        return saved.read(archive)

    def _build(self, *arguments: str | Path) -> None:
        done = subprocess.run(
            [self.command, "build", "--no-cache", "--force-rm", "--network=host", *arguments],
            env={**os.environ, "DOCKER_BUILDKIT": str(int(self.builder == "buildkit"))},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode:
            raise BuildRefusedError(done.stderr.strip().splitlines()[-1])


@dataclass(frozen=True, slots=True)
class Ours:
    """This package's engine."""

    engine: Engine

    def import_base(self, archive: Path) -> None:
        self.engine.import_image(archive, tag=BASE, changes=_BASE_CONFIG)

    def build(self, case: Case, context: Path, values: Mapping[str, str], archive: Path) -> SavedImage:
        try:
            for tag, dockerfile in case.before.items():
                # The file lies beside the context's others, for Docker outside of it: nothing of it is read.
                (context / "Dockerfile.before").write_text(filled(dockerfile, values))
                self.engine.build(context, tag=tag, dockerfile="Dockerfile.before")
                (context / "Dockerfile.before").unlink()
            image = self.engine.build(
                context,
                dockerfile=case.file,
                build_args=case.build_args,
                labels=case.labels,
                target=case.target,
            )
        except PycontainerError as error:
            raise BuildRefusedError(str(error)) from error
        self.engine.save([image], archive)
        return saved.read(archive)


def filled(dockerfile: str, values: Mapping[str, str]) -> str:
    """A Dockerfile with the words in capitals replaced that stand for something."""
    for word, value in values.items():
        dockerfile = dockerfile.replace(word, value)
    return dockerfile
