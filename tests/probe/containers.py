"""The probe in a container, Docker's or ours: one interface for both."""

from __future__ import annotations

import json
import os
import re
import subprocess
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from pytest_pycontainer import Engine, Image
from pytest_pycontainer.runtime.seccomp_default import DEFAULT_PROFILE
from tests.probe.docker_profile import docker_profile
from tests.probe.variants import Variant

Report: TypeAlias = dict[str, Any]

_HERE = Path(__file__).parent
_MAIN = """
import json, sys
print(json.dumps({"calls": system_calls(sys.argv[1] == "carried out"), **surroundings(*sys.argv[2:])}))
"""
# A shell changes nothing of what a process is given but its variables, so that it can still tell what that was.
_WRAPPER = 'exec python3 -c "$0" "$1" "$(cat /proc/$$/status)" "$(tr "\\0" "\\n" </proc/$$/environ)" "$2"'
_SECONDS = 120
_ID = re.compile(r"\b([0-9a-f]{64}|[0-9a-f]{12})\b")
_ADDRESS = re.compile(r"\b(172|10)(\.\d+){3}\b")


class Containers(Protocol):
    """Where the probe is run."""

    def probe(self, variant: Variant) -> Report:
        """What the probe reports in a container of this kind. Raises ProbeFailedError."""


class ProbeFailedError(Exception):
    """There is no such container, or the probe has not come to its end in it."""


def command(*, carried_out: bool = True) -> list[str]:
    """The probe: needs a shell, coreutils and Python in the container, and nothing of its files.

    Whether system calls are also ``carried_out`` is a matter of a second.
    """
    source = "\n".join((_HERE / name).read_text() for name in ("calls.py", "surroundings.py"))
    namespaces = " ".join(str(link.readlink()) for link in sorted(Path("/proc/self/ns").iterdir()))
    return ["sh", "-c", _WRAPPER, source + _MAIN, "carried out" if carried_out else "", namespaces]


def parse(output: str) -> Report:
    """The report, without what is another text in each container. Raises ProbeFailedError."""
    try:
        report: Report = _alike(json.loads(output))
    except ValueError:
        raise ProbeFailedError(output.strip()[-1000:]) from None
    return report


def _alike(value: Any) -> Any:
    if isinstance(value, str):
        return _ADDRESS.sub("<address>", _ID.sub("<id>", value))
    if isinstance(value, list):
        return [_alike(each) for each in value]
    return {name: _alike(each) for name, each in value.items()} if isinstance(value, dict) else value


@dataclass(frozen=True, slots=True)
class DockersContainers:
    """Containers of a Docker daemon, by its command line."""

    docker: str
    image: str
    profile: Path

    def import_image(self, archive: Path) -> None:
        self.profile.write_text(docker_profile(DEFAULT_PROFILE))
        self._run("import", archive, self.image)

    def remove_image(self) -> None:
        self._run("rmi", "--force", self.image)

    def version(self) -> str:
        return self._run("version", "--format", "{{.Server.Version}}").strip()

    def probe(self, variant: Variant) -> Report:
        name = f"probe-{uuid.uuid4().hex}"
        beginning = ("run", "--name", name, *self._arguments(variant))
        try:
            if not variant.executed:
                return parse(self._run(*beginning, self.image, *command()))
            self._run(*beginning, "--detach", self.image, "sleep", "1000")
            return parse(self._run("exec", *variant.exec_docker, name, *command()))
        finally:
            self._run("rm", "--force", name)

    def _arguments(self, variant: Variant) -> tuple[str, ...]:
        return (*variant.docker, *(() if variant.filters else (f"--security-opt=seccomp={self.profile}",)))

    def _run(self, *arguments: str | Path) -> str:
        whole: Sequence[str | Path] = (self.docker, *arguments)
        environment = {**os.environ, "DOCKER_API_VERSION": "1.41"}
        done = subprocess.run(
            whole,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            raise ProbeFailedError(f"{arguments[0]}: {done.stderr.strip()[-1000:]}")
        return done.stdout


@dataclass(frozen=True, slots=True)
class OurContainers:
    """Containers of an engine."""

    engine: Engine
    image: Image | str
    carried_out: bool = True

    def probe(self, variant: Variant) -> Report:
        probe = command(carried_out=self.carried_out)
        if not variant.executed:
            with self.engine.run(self.image, probe, **variant.options) as container:
                code = container.wait(_SECONDS)
                if code:
                    raise ProbeFailedError(f"exit code {code}: {container.logs()[-1000:]}")
                return parse(container.logs())
        with self.engine.run(self.image, ["sleep", "1000"], **variant.options) as container:
            result = container.exec(probe, timeout=_SECONDS, **variant.exec_options)
            if result.exit_code:
                raise ProbeFailedError(f"exit code {result.exit_code}: {result.stderr[-1000:]}")
            return parse(result.stdout)
