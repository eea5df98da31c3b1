"""What a RUN sees beside its file system: its mounts worked out, its here-document's program, its network."""

from __future__ import annotations

import json
import posixpath
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, NoReturn

from pytest_pycontainer.build.instructions import Word
from pytest_pycontainer.build.metadata import absolute
from pytest_pycontainer.build.mount_options import read_mount
from pytest_pycontainer.build.steps import (
    AgentMount,
    BindMount,
    CacheMount,
    CopySource,
    FileMount,
    SourceMissing,
    TmpfsMount,
)
from pytest_pycontainer.errors import CopySourceNotFoundError, SecretNotGivenError
from pytest_pycontainer.image import digest as digests

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_pycontainer.build.context import BuildContext
    from pytest_pycontainer.build.instructions import Run
    from pytest_pycontainer.build.lines import Line
    from pytest_pycontainer.build.mount_options import MountOptions
    from pytest_pycontainer.build.secrets import BuildSecrets
    from pytest_pycontainer.build.steps import Base, Mount, Network

    StageFiles = tuple[Base, tuple[str, ...]]
    """A file system, and what identifies it."""

_SECRETS = "/run/secrets"
_AGENTS = "/run/buildkit/ssh_agent"
_SCRIPT_MODE = 0o755
_SECRET_MODE, _AGENT_MODE, _CACHE_MODE = 0o400, 0o600, 0o755
_NETWORKS: tuple[Network, ...] = ("default", "none", "host")


@dataclass(frozen=True, slots=True)
class PlannedMounts:
    """The mounts of a RUN before it is known whether it has to run.

    ``key`` is what of them belongs into the step's key: everything but secrets. ``fixed`` come with the offset of what
    they show, ``secret`` are still to be handed in.
    """

    line: Line
    fixed: tuple[tuple[Mount, int], ...] = ()
    secret: tuple[MountOptions, ...] = ()
    key: tuple[str, ...] = ()

    def hand_in(
        self, secrets: BuildSecrets, environment: Mapping[str, str]
    ) -> tuple[tuple[Mount, ...], dict[str, str]]:
        """All mounts in the order in which they are made, and the environment with secrets and SSH_AUTH_SOCK in it.

        Left out are those of secrets and agents that the build was not handed. Raises SecretNotGivenError if such a one
        is required, or can't be read.
        """
        mounts = [mount for mount, _ in self.fixed]
        variables = dict(environment)
        for options in self.secret:
            problem = ""
            try:
                given = self._hand_in(options, secrets, mounts, variables)
            except OSError as error:
                problem = f"cannot be read: {error}"
            except UnicodeDecodeError:  # it holds the secret: nothing is raised while it is being handled
                problem = "is not UTF-8: no variable can have it"
            if problem:
                self._refuse(options, problem)
            if options.required and not given:
                argument = "ssh" if options.type == "ssh" else "secrets"
                self._refuse(options, f"is required; hand it to the build: {argument}={{{options.id!r}: …}}")
        # As BuildKit: what is mounted in another mount comes after it.
        return tuple(sorted(mounts, key=lambda mount: mount.target)), variables

    def missing(self, problem: SourceMissing) -> CopySourceNotFoundError:
        """The error for a source in another stage that was not there when the command was to run."""
        offsets = (
            offset
            for mount, offset in self.fixed
            if isinstance(mount, BindMount | CacheMount) and _source(mount) == problem.source.strip("/")
        )
        error = self.line.error(next(offsets, 0), problem.problem, CopySourceNotFoundError)
        assert isinstance(error, CopySourceNotFoundError)
        return error

    def _hand_in(
        self, options: MountOptions, secrets: BuildSecrets, mounts: list[Mount], variables: dict[str, str]
    ) -> bool:
        if options.type == "ssh":
            agent = secrets.agent(options.id)
            if agent is not None:
                mounts.append(AgentMount(agent, options.target, *_access(options, _AGENT_MODE)))
                variables.setdefault("SSH_AUTH_SOCK", options.target)
            return agent is not None
        content = secrets.secret(options.id)
        if content is None:
            return False
        if options.environment:
            variables[options.environment] = content.decode()
        if options.target:
            mounts.append(FileMount(options.target, content, *_access(options, _SECRET_MODE)))
        return True

    def _refuse(self, options: MountOptions, problem: str) -> NoReturn:
        what = "the SSH agent" if options.type == "ssh" else "the secret"
        raise self.line.error(options.offset("id"), f"{what} {options.id!r} {problem}", SecretNotGivenError)


def plan_mounts(
    run: Run,
    expand: Callable[[Word], str],
    working_directory: str,
    context: Callable[[], BuildContext],
    stage: Callable[[Word], StageFiles | BuildContext],
) -> PlannedMounts:
    """Works out a RUN's mounts, with the program that its here-document may be.

    ``context`` gives the build context, ``stage`` the files of the stage, image or context of that name. Raises
    DockerfileError at the option that makes no sense, CopySourceNotFoundError for a source that is not in the build
    context.
    """
    if not run.mounts and not run.script:
        return PlannedMounts(run.line)
    planner = _Planner(run.line, working_directory, context, stage)
    for flag in run.mounts:
        planner.add(read_mount(run.line, flag, expand))
    if run.script:
        content = run.script.content.encode()
        planner.fixed.append((FileMount(run.command[0], content, _SCRIPT_MODE), run.script.offset))
        planner.key.append(json.dumps(["script", digests.of(content)]))
    return PlannedMounts(run.line, tuple(planner.fixed), tuple(planner.secret), tuple(planner.key))


def run_network(run: Run, builds: Network) -> Network:
    """The network of a RUN in a build whose network is ``builds``, and checks that it asks for no more than there is.

    Raises DockerfileError: for this machine's network unless the whole build has it, and ``--security=insecure``.
    """
    security = run.security
    if security is not None and security.text != "sandbox":
        problem = f"--security is sandbox or insecure, not {security.text!r}"
        if security.text == "insecure":
            problem = "this version of pytest-pycontainer runs every step with docker's default rights only"
        raise run.line.error(security.offset, problem)
    if run.network is None or run.network.text == "default":
        return builds
    for network in _NETWORKS:
        if run.network.text == network:
            if network == "host" and builds != "host":
                problem = "this machine's network is for builds that were given it: engine.build(network='host')"
                raise run.line.error(run.network.offset, problem)
            return network
    wanted = ", ".join(_NETWORKS)
    raise run.line.error(run.network.offset, f"--network is one of {wanted}, not {run.network.text!r}")


class _Planner:
    def __init__(
        self,
        line: Line,
        working_directory: str,
        context: Callable[[], BuildContext],
        stage: Callable[[Word], StageFiles | BuildContext],
    ) -> None:
        self._line = line
        self._working_directory = working_directory
        self._context = context
        self._files_of = stage
        self.fixed: list[tuple[Mount, int]] = []
        self.secret: list[MountOptions] = []
        self.key: list[str] = []

    def add(self, options: MountOptions) -> None:
        shown: tuple[str, ...] = ()
        match options.type:
            case "secret":
                options = self._secret(options)
                self.secret.append(options)
            case "ssh":
                options = self._agent(options)
                self.secret.append(options)
            case "tmpfs":
                options = self._with_target(options)
                tmpfs = TmpfsMount(options.target, options.size, options.read_only)
                self.fixed.append((tmpfs, options.offset("target")))
            case "cache":
                shown = self._cache(options)
            case "bind":
                shown = self._bind(options)
        fields = {name: value for name, value in asdict(options).items() if name not in ("stage", "offsets")}
        self.key.append(json.dumps([fields, *shown], sort_keys=True))

    def _with_target(self, options: MountOptions) -> MountOptions:
        if not options.target:
            raise self._line.error(options.offset("target"), "expected target=…: where to mount it")
        target = absolute(self._working_directory, options.target)
        if target == "/":
            raise self._line.error(options.offset("target"), "nothing can be mounted on / itself")
        return replace(options, target=target)

    def _secret(self, options: MountOptions) -> MountOptions:
        if options.stage:
            raise self._line.error(options.offset("from"), "a secret comes from nowhere: leave out from=")
        if options.source and options.id:
            raise self._line.error(options.offset("source"), "a secret has an id or a source, not both")
        name = options.id or options.source or posixpath.basename(options.target)
        if not name:
            raise self._line.error(options.offset(""), "expected id=…: which secret")
        options = replace(options, id=name)
        if not options.target and options.environment:
            return options
        return self._with_target(replace(options, target=options.target or f"{_SECRETS}/{posixpath.basename(name)}"))

    def _agent(self, options: MountOptions) -> MountOptions:
        if options.source:
            raise self._line.error(options.offset("source"), "an SSH agent has no source")
        number = sum(one.type == "ssh" for one in self.secret)
        target = options.target or f"{_AGENTS}.{number}"
        return self._with_target(replace(options, id=options.id or "default", target=target))

    def _cache(self, options: MountOptions) -> tuple[str, ...]:
        name = options.id or posixpath.normpath(options.target)
        options = self._with_target(options)
        base, identity = self._stage(options) if options.stage else (None, ())
        access = _access(options, _CACHE_MODE)
        # What a cache is at first makes it another one, as in BuildKit.
        key = digests.of(json.dumps([name, *identity, options.source, *access]).encode())
        mount = CacheMount(
            key, options.target, options.sharing, options.read_only, base, options.source if base else "", *access
        )
        self.fixed.append((mount, options.offset("source")))
        return identity

    def _bind(self, options: MountOptions) -> tuple[str, ...]:
        options = self._with_target(options)
        offset = options.offset("source")
        files = self._files(options) if options.stage else self._context()
        if isinstance(files, tuple):
            base, identity = files
            source = CopySource(posixpath.normpath(f"/{options.source}").strip("/"))
            self.fixed.append((BindMount(base, source, options.target, options.read_only), offset))
            return identity
        try:
            found = files.select(options.source or ".")
            if len(found) != 1:
                raise SourceMissing(
                    options.source, f"{options.source} stands for {len(found)} things; a mount shows one"
                )
            self.fixed.append((BindMount(files.root, found[0], options.target, options.read_only), offset))
            return (files.fingerprint(found),)
        except SourceMissing as missing:
            raise self._line.error(offset, missing.problem, CopySourceNotFoundError) from None

    def _stage(self, options: MountOptions) -> StageFiles:
        files = self._files(options)
        if not isinstance(files, tuple):
            raise self._line.error(options.offset("from"), "a cache begins with the files of a stage or an image")
        return files

    def _files(self, options: MountOptions) -> StageFiles | BuildContext:
        return self._files_of(Word(options.stage, options.offset("from")))


def _access(options: MountOptions, mode: int) -> tuple[int, int, int]:
    """Mode, user and group."""
    return mode if options.mode is None else options.mode, options.uid or 0, options.gid or 0


def _source(mount: BindMount | CacheMount) -> str:
    return (mount.source if isinstance(mount, CacheMount) else mount.source.path).strip("/")
