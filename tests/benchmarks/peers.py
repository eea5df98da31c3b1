"""The engines that are compared by ``containers.py``, with one interface: Docker, podman, runc, and this package."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import uuid
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Protocol

from pytest_pycontainer import Container, Engine

IMAGE = "127.0.0.1:1/benchmark"
_SECONDS = 300
_ENVIRONMENT = {**os.environ, "DOCKER_API_VERSION": "1.41"}
_DOCKER_SOCKET = "/var/run/docker.sock"


class PeerMissingError(Exception):
    """It can't be compared with on this machine; the text says why."""


class Peer(Protocol):
    """One engine. ``run_true`` and ``exec_true`` can be called by several threads."""

    name: str

    def run_true(self) -> None:
        """Makes a container that runs ``true``, and returns when it has exited."""

    def exec_true(self) -> None:
        """Runs ``true`` in a container that runs already."""

    def tidy(self) -> None:
        """Removes what has exited: nobody's time counts it."""


def run(*command: str | Path) -> str:
    """What a program prints. Raises PeerMissingError if it fails."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            timeout=_SECONDS,
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        raise PeerMissingError(str(error)) from error
    except subprocess.CalledProcessError as error:
        raise PeerMissingError(f"{' '.join(map(str, command[:4]))}: {error.stderr.strip()[-300:]}") from error
    return done.stdout.strip()


class Ours:
    """An engine in this process, as a test suite has it."""

    name = "ours"

    def __init__(self, stack: ExitStack, engine: Engine, archive: Path) -> None:
        self._engine = engine
        self._image = engine.import_image(archive)
        self._exited: list[Container] = []
        self._running = stack.enter_context(engine.run(self._image, ["sleep", "10000"]))

    def run_true(self) -> None:
        container = self._engine.run(self._image, ["true"])
        self._exited.append(container)
        assert container.wait(_SECONDS) == 0

    def exec_true(self) -> None:
        assert self._running.exec("true").exit_code == 0

    def tidy(self) -> None:
        while self._exited:
            self._exited.pop().remove()


class CommandLine:
    """An engine by its command, as people use it: ``docker`` or ``podman``, whose containers have their own network."""

    def __init__(
        self, stack: ExitStack, archive: Path, name: str, *command: str | Path, options: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self._command = command
        self._options = options
        self._label = f"benchmark-{uuid.uuid4().hex}"
        run(*command, "import", archive, IMAGE)
        stack.callback(run, *command, "rmi", "--force", IMAGE)
        self._running = self._label
        run(*command, "run", *options, "--detach", "--name", self._running, IMAGE, "sleep", "10000")
        stack.callback(run, *command, "rm", "--force", self._running)

    def run_true(self) -> None:
        run(*self._command, "run", *self._options, "--label", self._label, IMAGE, "true")

    def exec_true(self) -> None:
        run(*self._command, "exec", self._running, "true")

    def tidy(self) -> None:
        exited = run(*self._command, "ps", "--all", "--quiet", "--filter", f"label={self._label}").split()
        if exited:
            run(*self._command, "rm", *exited)


class DockerSocket:
    """Docker's daemon without its client: the requests that the client makes, from this process."""

    name = "docker's socket"

    def __init__(self, stack: ExitStack) -> None:
        if not Path(_DOCKER_SOCKET).exists():
            raise PeerMissingError(f"no {_DOCKER_SOCKET}")
        self._exited: list[str] = []
        self._running = self._ask("POST", "/containers/create", {"Image": IMAGE, "Cmd": ["sleep", "10000"]})["Id"]
        stack.callback(self._remove, self._running)
        self._ask("POST", f"/containers/{self._running}/start")

    def run_true(self) -> None:
        container = self._ask("POST", "/containers/create", {"Image": IMAGE, "Cmd": ["true"]})["Id"]
        self._exited.append(container)
        self._ask("POST", f"/containers/{container}/start")
        assert self._ask("POST", f"/containers/{container}/wait")["StatusCode"] == 0

    def exec_true(self) -> None:
        wanted = {"Cmd": ["true"], "AttachStdout": True, "AttachStderr": True}
        execution = self._ask("POST", f"/containers/{self._running}/exec", wanted)["Id"]
        self._ask("POST", f"/exec/{execution}/start", {"Detach": False})  # its end is the stream's
        assert self._ask("GET", f"/exec/{execution}/json")["ExitCode"] == 0

    def tidy(self) -> None:
        while self._exited:
            self._remove(self._exited.pop())

    def _remove(self, container: str) -> None:
        self._ask("DELETE", f"/containers/{container}?force=1")

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        connection = http.client.HTTPConnection("docker", timeout=_SECONDS)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(_DOCKER_SOCKET)
        try:
            connection.request(method, f"/v1.41{path}", json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = response.read()
            assert response.status < 300, content
            with suppress(ValueError):
                return json.loads(content)
        finally:
            connection.close()


class Runc:
    """``runc run`` over a directory: no layers, no network but an empty namespace, nothing kept."""

    name = "runc without network"

    def __init__(self, stack: ExitStack, archive: Path, directory: Path) -> None:
        self._directory = directory
        self._root = directory / "rootfs"
        self._root.mkdir()
        run("tar", "-xf", archive, "-C", self._root)
        run("runc", "spec", "--bundle", directory)
        spec = json.loads((directory / "config.json").read_text())
        spec["process"] |= {"terminal": False, "args": ["true"]}
        self._bundle("true", spec)
        spec["process"]["args"] = ["sleep", "10000"]
        self._running = f"benchmark-{uuid.uuid4().hex}"
        stack.callback(run, "runc", "delete", "--force", self._running)
        # With pipes instead, whoever reads them would wait for the container's end.
        command = ("runc", "run", "--detach", "--bundle", self._bundle("sleep", spec), self._running)
        nothing = subprocess.DEVNULL
        subprocess.run(command, check=True, stdin=nothing, stdout=nothing, stderr=nothing, timeout=_SECONDS)

    def _bundle(self, name: str, spec: dict[str, Any]) -> Path:
        bundle = self._directory / name
        bundle.mkdir()
        (bundle / "config.json").write_text(json.dumps(spec | {"root": {"path": str(self._root)}}))
        return bundle

    def run_true(self) -> None:
        run("runc", "run", "--bundle", self._directory / "true", f"benchmark-{uuid.uuid4().hex}")

    def exec_true(self) -> None:
        run("runc", "exec", self._running, "true")

    def tidy(self) -> None:
        pass


def podman(stack: ExitStack, archive: Path, directory: Path) -> CommandLine:
    """podman with a storage of its own. Raises PeerMissingError."""
    # crun refuses a machine that has both versions of cgroups.
    runtime = ("--runtime", "runc") if shutil.which("runc") else ()
    storage = ("--root", directory / "podman", "--runroot", directory / "podman-run")
    # Its own defaults take a right (SYS_RESOURCE) that not every root has.
    limits = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000")
    return CommandLine(stack, archive, "podman", "podman", *runtime, *storage, options=limits)
