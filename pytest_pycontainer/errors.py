"""Every error that pytest-pycontainer raises.

One class for each thing that a caller can act on. Each carries the facts as fields, builds its message from them, and
survives pickling (errors cross process borders under pytest-xdist): ``args`` holds the constructor's arguments.

::

    PycontainerError
    ├── EngineUnavailableError            this machine can't run containers: what is missing, and how to get it
    ├── OpenFilesLimitError               this process has as many files open as it may
    ├── SpawnerError                      the process that starts containers is gone or answered nonsense
    ├── KeeperError                       the process that keeps shared and reused containers is gone or late
    ├── StoreError                        the store on disk can't be used
    ├── InvalidSpecError                  an argument that no container could be made of
    ├── UnsupportedLimitError             a limit that this machine's cgroups can't set
    ├── RootRequiredError                 what containers of an ordinary user can't have, and why
    ├── UserNamespaceError                no user namespace to be had: why, and what to do about it
    ├── ClientLibraryMissingError         a service's client has to be installed first
    ├── ImageError
    │   ├── InvalidReferenceError
    │   ├── InvalidImageConfigError       JSON that is no image config
    │   ├── InvalidManifestError          JSON that is no manifest or index, or too much of it
    │   ├── NoMatchingPlatformError       the image is not there for this platform: for which it is
    │   ├── ImageNotFoundError
    │   │   └── ImageNotInRegistryError   (with near tags)
    │   ├── ImageInUseError               by which containers, or which images stand on it
    │   ├── ImageHasSeveralNamesError     one has to be chosen
    │   ├── ImageOutdatedError            built on a state of the host image that is gone
    │   ├── ImageNotPortableError         the host image lies under it: no other machine could use it
    │   ├── DigestMismatchError           content that is not what its digest says: got, wanted
    │   ├── LayerInvalidError             which entry, and why it can't be extracted
    │   │   └── LayerLimitError           more than a limit allows: which setting raises it
    │   ├── CompressionUnavailableError   a library has to be installed first
    │   ├── InvalidArchiveError           a file that no image can be loaded from
    │   ├── CredentialsError              a file or program that keeps registries' passwords can't be used
    │   ├── CertificateFileError          a file with an authority, a certificate or a key can't be used
    │   └── RegistryError
    │       ├── OfflineError              no registry is to be asked
    │       ├── ProxyError                the proxy on the way there can't be reached, or refuses
    │       ├── RegistryUnavailableError  down, out of reach, or out of order
    │       ├── RegistryCertificateError  TLS: which certificate, and what is wrong with it
    │       ├── RegistryAnswerError       an answer that the protocol does not have
    │       ├── AccessDeniedError         log in, or ask for the right
    │       └── RateLimitedError          when to come back
    ├── VolumeError
    │   ├── VolumeNotFoundError
    │   └── VolumeInUseError              by which containers
    ├── BuildError
    │   ├── ContextInvalidError           not there, a damaged archive, a name that no file can have
    │   ├── DockerfileNotFoundError
    │   ├── DockerfileError               file, line, column, the line itself, a caret
    │   │   ├── CopySourceNotFoundError
    │   │   ├── CopySourceInvalidError
    │   │   ├── RemoteSourceError
    │   │   │   └── RemoteSourceMismatchError (got, wanted)
    │   │   └── SecretNotGivenError       hand it to the build
    │   ├── CopyFailedError               what could not be copied, and why
    │   └── BuildStepFailedError          step, exit code, the end of its output
    ├── ContainerError
    │   ├── ContainerStartError           the step that failed (exit code 125)
    │   │   ├── CommandNotFoundError      (exit code 127)
    │   │   ├── CommandNotExecutableError (exit code 126)
    │   │   └── ExecStartError            the step that failed for a further process (exit code 126 or 127)
    │   ├── ContainerCommandFailedError   its exit code, the end of its output
    │   ├── ContainerUpdateError          other limits that the kernel refused
    │   ├── ContainerHasNoCgroupError     an ordinary user's, who has none to make others in
    │   ├── ContainerNotFoundError
    │   ├── ContainerNotRunningError
    │   ├── ContainerRunningError         it has to be stopped first
    │   ├── ContainerPausedError          it has to be unpaused first
    │   ├── ContainerNotPausedError
    │   ├── AmbiguousContainerError       the beginning of several ids
    │   ├── ContainerExitedError          exited while something was waited for
    │   ├── ContainerNotReadyError        not ready within the time limit
    │   ├── ContainerUnhealthyError       its health check has failed too often: what the last probes said
    │   ├── ContainerInputClosedError     nobody reads what would be written: why
    │   ├── ContainerHasNoTerminalError   it has to be made with one
    │   ├── IpcNotShareableError          another container's, that was not made to be shared
    │   ├── ContainerFileError            a file in it that can't be read, written or copied
    │   ├── WaitTimeoutError              a blocking call's own time limit
    │   └── NameInUseError
    └── NetworkError
        ├── NetworkAttachError            the kernel refused a step: which, and its answer
        ├── PortInUseError
        ├── PrivilegedPortError           one that an ordinary user may not take: from which on he may
        ├── NoWayOutError                 why nothing gets beyond this machine, and how to change that
        ├── PortNotPublishedError
        ├── FaultUnsupportedError         what a kernel needs to have for a fault of a network
        ├── PortNotOpenError              in the container nothing listens there
        ├── NetworkNotFoundError          which networks there are
        ├── NetworkInUseError             by which containers
        ├── AddressInUseError             an address of a network that is somebody's already
        ├── SubnetInUseError              by what of this machine
        └── NoFreeSubnetError
"""

from __future__ import annotations


class PycontainerError(Exception):
    """The root of every error raised by pytest-pycontainer."""

    exit_code = 125
    """What a command line that meets this error exits with, as docker's does."""

    def __reduce__(self) -> tuple[object, ...]:
        # Notes are part of what it tells: a pull adds what each mirror said.
        notes = getattr(self, "__notes__", None)
        return (type(self), self.args, {"__notes__": notes}) if notes else (type(self), self.args)


_TAIL_LINES = 30


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


class EngineUnavailableError(PycontainerError):
    """Containers can't run on this machine.

    ``missing`` holds one ``(what, remedy)`` pair for each thing that is absent.
    """

    def __init__(self, missing: tuple[tuple[str, str], ...]) -> None:
        super().__init__(missing)
        self.missing = missing

    def __str__(self) -> str:
        lines = "\n".join(f"  - {what}: {remedy}" for what, remedy in self.missing)
        return f"this machine can't run containers; it lacks:\n{lines}"


class OpenFilesLimitError(PycontainerError):
    """As many files are open in this process as may be: ``limit``. It can raise that up to ``highest``."""

    def __init__(self, doing: str, limit: int, highest: int) -> None:
        super().__init__(doing, limit, highest)
        self.doing = doing
        self.limit = limit
        self.highest = highest

    def __str__(self) -> str:
        return (
            f"cannot {self.doing}: this process may have {self.limit} files open, and has about as many; "
            f"remove containers, or raise the limit, up to {self.highest}, with ulimit -n or resource.setrlimit"
        )


class SpawnerError(PycontainerError):
    """The spawner, the process that starts containers, could not be used. Close the engine and open another."""

    def __init__(self, doing: str, detail: str) -> None:
        super().__init__(doing, detail)
        self.doing = doing
        self.detail = detail

    def __str__(self) -> str:
        return f"cannot {self.doing}: {self.detail}; close this engine and open another"


class KeeperError(PycontainerError):
    """The process that keeps containers for several processes, or runs, could not do something: what, and why."""

    def __init__(self, doing: str, detail: str) -> None:
        super().__init__(doing, detail)
        self.doing = doing
        self.detail = detail

    def __str__(self) -> str:
        return f"cannot {self.doing}: {self.detail}"


class StoreError(PycontainerError):
    """Something on disk could not be written or read: ``doing`` what, to which ``path``, and why."""

    def __init__(self, doing: str, path: str, detail: str) -> None:
        super().__init__(doing, path, detail)
        self.doing = doing
        self.path = path
        self.detail = detail

    def __str__(self) -> str:
        return f"cannot {self.doing} {self.path}: {self.detail}"


class InvalidSpecError(PycontainerError):
    """An argument that no container could be made of: ``field``, the value given, and what is wanted."""

    def __init__(self, field: str, value: str, wanted: str) -> None:
        super().__init__(field, value, wanted)
        self.field = field
        self.value = value
        self.wanted = wanted

    def __str__(self) -> str:
        return f"invalid {self.field} {self.value!r}: wanted {self.wanted}"


_DELEGATED = "start pytest with systemd-run --user --scope -p Delegate=yes"


class UnsupportedLimitError(PycontainerError):
    """A limit that this machine's cgroups can't set.

    Its ``controller`` is missing among those ``available``, or is there and knows no such limit.
    """

    def __init__(self, limit: str, value: str, controller: str, available: tuple[str, ...]) -> None:
        super().__init__(limit, value, controller, available)
        self.limit = limit
        self.value = value
        self.controller = controller
        self.available = available

    def __str__(self) -> str:
        if self.controller in self.available:
            reason = f"this kernel's cgroup controller {self.controller!r} has no such limit; run without it"
        else:
            have = ", ".join(self.available) or "none"
            remedy = "enable it" if self.available else f"enable it (an ordinary user: {_DELEGATED})"
            reason = (
                f"this machine's cgroups hand us no controller {self.controller!r} (available: {have}); "
                f"{remedy}, or run without that limit"
            )
        return f"cannot set {self.limit} to {self.value}: {reason}"


class RootRequiredError(PycontainerError):
    """An ``option`` that containers have only if root runs them: its ``value``, and the ``reason``."""

    def __init__(self, option: str, value: str, reason: str) -> None:
        super().__init__(option, value, reason)
        self.option = option
        self.value = value
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"containers of an ordinary user can't have {self.option}={self.value!r}: {self.reason}; "
            "run without it, or run pytest as root"
        )


class UserNamespaceError(PycontainerError):
    """A container can't have a user namespace: the ``reason``, and the ``advice``."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason, advice)
        self.reason = reason
        self.advice = advice

    def __str__(self) -> str:
        return f"no user namespace for the container: {self.reason}; {self.advice}"


# Images


class ClientLibraryMissingError(PycontainerError):
    """A client for a ``service`` needs the library ``module``, which is not installed: ``distribution`` has it."""

    def __init__(self, service: str, module: str, distribution: str) -> None:
        super().__init__(service, module, distribution)
        self.service = service
        self.module = module
        self.distribution = distribution

    def __str__(self) -> str:
        return (
            f"cannot make a client for {self.service}: there is no module {self.module!r}; "
            f"pip install '{self.distribution}', or use the server's url with another library"
        )


class ImageError(PycontainerError):
    """Something about an image."""


class InvalidReferenceError(ImageError):
    """Text that is not an image reference."""

    def __init__(self, reference: str, reason: str) -> None:
        super().__init__(reference, reason)
        self.reference = reference
        self.reason = reason

    def __str__(self) -> str:
        return f"invalid image reference {self.reference!r}: {self.reason}"


class InvalidImageConfigError(ImageError):
    """JSON that is not an image config: ``problem`` names the key, what it holds, and what was wanted."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"cannot read an image config: {self.problem}; pull or build the image again"


class InvalidManifestError(ImageError):
    """What should be a manifest or an index is none: ``problem`` names the key, what it holds, and what was wanted."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"cannot read an image manifest: {self.problem}; push or save the image again where it comes from"


class NoMatchingPlatformError(ImageError):
    """An index names no image that runs on ``wanted``; ``available`` holds the platforms that it names."""

    def __init__(self, wanted: str, available: tuple[str, ...]) -> None:
        super().__init__(wanted, available)
        self.wanted = wanted
        self.available = available

    def __str__(self) -> str:
        there = ", ".join(self.available) or "none"
        return f"the image is not there for {self.wanted}; there are: {there}; choose another image, tag or platform"


class ImageNotFoundError(ImageError):
    """No image of that reference in the store. ``known`` holds tags with near names."""

    def __init__(self, reference: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(reference, known)
        self.reference = reference
        self.known = known

    def __str__(self) -> str:
        near = f" (did you mean {', '.join(self.known)}?)" if self.known else ""
        return f"no image {self.reference!r} in the store{near}; build or pull it first, or use 'host'"


class ImageInUseError(ImageError):
    """An image that can't be removed: ``containers``, of any process, run on it, or ``images`` stand on it."""

    def __init__(self, reference: str, containers: tuple[str, ...], images: tuple[str, ...] = ()) -> None:
        super().__init__(reference, containers, images)
        self.reference = reference
        self.containers = containers
        self.images = images

    def __str__(self) -> str:
        if self.containers:
            why = f"used by container {', '.join(self.containers)}; remove that, or use force=True to untag it"
        else:
            why = f"it is a step of {', '.join(self.images)}; remove that"
        return f"cannot remove image {self.reference!r}: {why}"


class ImageHasSeveralNamesError(ImageError):
    """An image that was to be removed by its ID, but has several ``names``."""

    def __init__(self, reference: str, names: tuple[str, ...]) -> None:
        super().__init__(reference, names)
        self.reference = reference
        self.names = names

    def __str__(self) -> str:
        names = ", ".join(self.names)
        return (
            f"cannot remove image {self.reference!r}: it has several names, {names}; "
            "remove the one that you mean, or use force=True for all"
        )


class ImageOutdatedError(ImageError):
    """The image was built ``FROM host`` and the machine's packages have changed since. Build it again."""

    def __init__(self, reference: str) -> None:
        super().__init__(reference)
        self.reference = reference

    def __str__(self) -> str:
        return (
            f"image {self.reference!r} was built on this machine's root file system before its packages changed; "
            "build it again"
        )


class ImageNotInRegistryError(ImageNotFoundError):
    """The registry has no such repository, or no such tag in it. ``known`` holds tags with near names."""

    def __str__(self) -> str:
        near = f" (did you mean {', '.join(self.known)}?)" if self.known else ""
        return f"no image {self.reference!r} in its registry{near}; check its name and tag"


class ImageNotPortableError(ImageError):
    """The image was built ``FROM host``: what lies under its layers is this machine, which can't be pushed."""

    def __init__(self, reference: str) -> None:
        super().__init__(reference)
        self.reference = reference

    def __str__(self) -> str:
        return (
            f"cannot push, save or export {self.reference!r}: it stands on this machine's root file system, "
            "which no other has; build it FROM scratch or FROM an image of a registry"
        )


class DigestMismatchError(ImageError):
    """Content that is not what its digest says: damaged, or something else. ``what`` names it."""

    def __init__(self, what: str, got: str, wanted: str) -> None:
        super().__init__(what, got, wanted)
        self.what = what
        self.got = got
        self.wanted = wanted

    def __str__(self) -> str:
        return f"{self.what} is not what it should be: got {self.got}, wanted {self.wanted}; get it again"


class LayerInvalidError(ImageError):
    """A layer that can't or must not be extracted: the ``entry``, empty if it is the stream itself, and the reason."""

    def __init__(self, entry: str, reason: str) -> None:
        super().__init__(entry, reason)
        self.entry = entry
        self.reason = reason

    @property
    def detail(self) -> str:
        """The reason, and before it the entry, if it is one's: for an error that says what the archive is."""
        return f"its entry {self.entry!r:.300}: {self.reason}" if self.entry else self.reason

    def __str__(self) -> str:
        where = f"its entry {self.entry!r:.300}" if self.entry else "the archive"
        return f"cannot extract a layer: {where}: {self.reason}; have the image made anew, or use another"


class LayerLimitError(LayerInvalidError):
    """A layer is more than the ``setting`` (``layer_size``) allows."""

    def __init__(self, reason: str, setting: str) -> None:
        super().__init__("", reason)
        self.args = (reason, setting)
        self.setting = setting

    def __str__(self) -> str:
        option = f"--pycontainer-{self.setting.replace('_', '-')}"
        return (
            f"cannot extract a layer: {self.reason}; if you trust the image, raise the limit: {option}, "
            f"pycontainer_{self.setting} in pytest's ini file, or PYCONTAINER_{self.setting.upper()}"
        )


class CompressionUnavailableError(ImageError):
    """A layer's ``compression`` needs a library that is not installed: ``remedy`` says which."""

    def __init__(self, compression: str, remedy: str) -> None:
        super().__init__(compression, remedy)
        self.compression = compression
        self.remedy = remedy

    def __str__(self) -> str:
        return f"cannot extract a layer compressed with {self.compression}: {self.remedy}"


class InvalidArchiveError(ImageError):
    """A file or directory that no image can be loaded from; ``problem`` says what is missing or wrong in it.

    ``path`` is empty for a stream.
    """

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(problem, path)
        self.problem = problem
        self.path = path

    def __str__(self) -> str:
        source = self.path or "an image archive"
        return f"cannot load an image from {source}: {self.problem}; save the image again, or name another file"


class CredentialsError(ImageError):
    """A ``source`` of registries' credentials, a file or a helper program, that can't be used."""

    def __init__(self, source: str, detail: str) -> None:
        super().__init__(source, detail)
        self.source = source
        self.detail = detail

    def __str__(self) -> str:
        return f"cannot use the registry credentials of {self.source}: {self.detail}; mend it, or log in again"


class CertificateFileError(ImageError):
    """A ``file`` with an authority, a certificate or a key for TLS that can't be used."""

    def __init__(self, file: str, detail: str) -> None:
        super().__init__(file, detail)
        self.file = file
        self.detail = detail

    def __str__(self) -> str:
        return f"cannot use the certificate file {self.file}: {self.detail}; mend it, or take it away"


class RegistryError(ImageError):
    """A registry did not do what it was asked: ``registry`` is its host, ``doing`` what was asked for."""

    remedy = ""

    def __init__(self, registry: str, doing: str, detail: str) -> None:
        super().__init__(registry, doing, detail)
        self.registry = registry
        self.doing = doing
        self.detail = detail

    def __str__(self) -> str:
        return f"cannot {self.doing}: {self.registry}: {self.detail}" + (f"; {self.remedy}" if self.remedy else "")


class RegistryUnavailableError(RegistryError):
    """The registry can't be reached, or answers that it is out of order; it was asked several times."""

    remedy = "check its name and that it runs, and try again"


class OfflineError(RegistryError):
    """No registry is asked in this run, and what is wanted is not here."""

    remedy = "leave --pycontainer-offline out once"

    def __init__(self, registry: str, doing: str) -> None:
        super().__init__(registry, doing, "no registry is asked, as --pycontainer-offline has it")
        self.args = (registry, doing)


class ProxyError(RegistryError):
    """The ``proxy`` on the way to a registry can't be reached, or refuses; its address comes without a password."""

    remedy = "check --pycontainer-proxy, or HTTPS_PROXY, HTTP_PROXY and NO_PROXY"

    def __init__(self, registry: str, doing: str, proxy: str, detail: str) -> None:
        super().__init__(registry, doing, detail)
        self.args = (registry, doing, proxy, detail)
        self.proxy = proxy

    def __str__(self) -> str:
        return f"cannot {self.doing}: no way through the proxy {self.proxy}: {self.detail}; {self.remedy}"


class RegistryCertificateError(RegistryError):
    """TLS with the registry failed, for the reason in ``detail``; ``hint`` is what to do.

    ``certificate`` describes the one that it showed, and ``fingerprint`` (SHA-256) is its; both are None if it showed
    none.
    """

    def __init__(
        self,
        registry: str,
        doing: str,
        detail: str,
        hint: str,
        certificate: str | None = None,
        fingerprint: str | None = None,
    ) -> None:
        super().__init__(registry, doing, detail)
        self.args = (registry, doing, detail, hint, certificate, fingerprint)
        self.hint = hint
        self.certificate = certificate
        self.fingerprint = fingerprint

    def __str__(self) -> str:
        shown = f" (its certificate: {self.certificate})" if self.certificate else ""
        return f"cannot {self.doing}: no TLS with {self.registry}: {self.detail}{shown}; {self.hint}"


class RegistryAnswerError(RegistryError):
    """The registry gave an answer that the distribution protocol does not have, or refused with one of its codes."""

    remedy = "check that this is an image's name and a registry's address, or ask whoever runs it"


class AccessDeniedError(RegistryError):
    """The registry wants other credentials, or none are enough; a repository that does not exist may look the same."""

    remedy = "log in to it with a user that may do this, or check the image's name"


class RateLimitedError(RegistryError):
    """Too many requests. ``retry_after`` is in seconds from now, None if the registry did not say."""

    def __init__(self, registry: str, doing: str, retry_after: float | None) -> None:
        when = "later" if retry_after is None else f"in {retry_after:.0f} s"
        super().__init__(registry, doing, f"too many requests; try again {when}, or log in for a higher limit")
        self.args = (registry, doing, retry_after)
        self.retry_after = retry_after


# Volumes


class VolumeError(PycontainerError):
    """Something about one volume. ``volume`` is its name."""

    def __init__(self, volume: str, *rest: object) -> None:
        super().__init__(volume, *rest)
        self.volume = volume


class VolumeNotFoundError(VolumeError):
    """No volume of that name."""

    def __str__(self) -> str:
        return f"no volume {self.volume!r}; it may have been removed"


class VolumeInUseError(VolumeError):
    """A volume that ``containers``, by their names, still have."""

    def __init__(self, volume: str, containers: tuple[str, ...]) -> None:
        super().__init__(volume, containers)
        self.containers = containers

    def __str__(self) -> str:
        return f"cannot remove volume {self.volume!r}: {', '.join(self.containers)} use it; remove them first"


# Builds


class BuildError(PycontainerError):
    """A Dockerfile that can't be read, understood or carried out."""


class ContextInvalidError(BuildError):
    """A build context that can't be used: which, and why."""

    def __init__(self, context: str, reason: str) -> None:
        super().__init__(context, reason)
        self.context = context
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot build in {self.context}: {self.reason}"


class DockerfileNotFoundError(BuildError):
    """There is no Dockerfile at ``path``."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return f"no Dockerfile at {self.path}; create it, or name another with dockerfile="


class DockerfileError(BuildError):
    """A line that is not Dockerfile language.

    ``line`` and ``column`` count from 1; ``text`` is the line as written; ``problem`` says what was expected.
    """

    def __init__(self, file: str, line: int, column: int, text: str, problem: str) -> None:
        super().__init__(file, line, column, text, problem)
        self.file = file
        self.line = line
        self.column = column
        self.text = text
        self.problem = problem

    def __str__(self) -> str:
        caret = "".join(c if c == "\t" else " " for c in self.text[: self.column - 1]) + "^"
        return f"{self.file}:{self.line}:{self.column}: {self.problem}\n{_indented(self.text)}\n    {caret}"


class CopySourceNotFoundError(DockerfileError):
    """A COPY source that is not in the build context, or lies outside it."""


class CopySourceInvalidError(DockerfileError):
    """A COPY or ADD source that is there and can't be used: not readable, or a damaged archive."""


class RemoteSourceError(DockerfileError):
    """An ADD source that could not be fetched from the web, or from a git repository."""


class RemoteSourceMismatchError(RemoteSourceError):
    """What was fetched is not what ``--checksum`` says: the problem tells both."""


class SecretNotGivenError(DockerfileError):
    """A RUN needs a secret or an SSH agent that the build was not handed, or that can't be read."""


class CopyFailedError(BuildError):
    """A COPY or WORKDIR that the image's file system did not take: ``step`` says what was done, ``detail`` why not."""

    def __init__(self, step: str, detail: str) -> None:
        super().__init__(step, detail)
        self.step = step
        self.detail = detail

    def __str__(self) -> str:
        return f"cannot {self.step}: {self.detail}"


class BuildStepFailedError(BuildError):
    """A RUN that exited with another code than 0.

    ``step`` counts from 1 of ``steps``; ``instruction`` is the step as written; ``output`` is the end of what it
    printed.
    """

    def __init__(self, step: int, steps: int, instruction: str, exit_code: int, output: str) -> None:
        super().__init__(step, steps, instruction, exit_code, output)
        self.step = step
        self.steps = steps
        self.instruction = instruction
        self.exit_code = exit_code
        self.output = output

    def __str__(self) -> str:
        said = f"; the end of its output:\n{_indented(self.output)}" if self.output.strip() else "; it printed nothing"
        return f"step {self.step}/{self.steps} ({self.instruction}) exited with code {self.exit_code}{said}"


# Containers


class ContainerError(PycontainerError):
    """Something about one container. ``container`` is its name."""

    def __init__(self, container: str, *rest: object) -> None:
        super().__init__(container, *rest)
        self.container = container


class ContainerStartError(ContainerError):
    """The container could not be started: ``step`` names what failed, ``detail`` what the kernel answered."""

    doing = "start"

    def __init__(self, container: str, step: str, detail: str) -> None:
        super().__init__(container, step, detail)
        self.step = step
        self.detail = detail

    def __str__(self) -> str:
        return f"cannot {self.doing} {self.container!r}: {self.step}: {self.detail}"


class ContainerUpdateError(ContainerError):
    """The kernel refused other limits for a container: ``detail`` says which, and what it answered."""

    def __init__(self, container: str, detail: str) -> None:
        super().__init__(container, detail)
        self.detail = detail

    def __str__(self) -> str:
        return f"cannot change the limits of {self.container!r}: {self.detail}; it may be using more than that already"


_WORDS_OF_SHELLS = (
    *(".", ":", "alias", "cd", "command", "eval", "exec", "exit", "export", "for", "if", "read", "set", "shopt"),
    *("source", "trap", "type", "ulimit", "umask", "unset", "until", "wait", "while", "{", "("),
)


class CommandNotFoundError(ContainerStartError):
    """The command is not in the image. ``doing``: it was to ``start`` the container, or to be ``exec in`` it."""

    exit_code = 127

    def __init__(self, container: str, command: str, doing: str = "start") -> None:
        ContainerError.__init__(self, container, command, doing)
        self.command = command
        self.doing = doing
        self.step = f'exec "{command}"'
        self.detail = "no such file in the image, or its interpreter is missing"
        if command in _WORDS_OF_SHELLS:
            self.detail += "; it is a word of the shell, which has to be run for it: ['sh', '-c', '…']"


class CommandNotExecutableError(ContainerStartError):
    """The command is in the image but can't be executed; ``detail`` says why. ``doing`` as in CommandNotFoundError."""

    exit_code = 126

    def __init__(self, container: str, command: str, detail: str, doing: str = "start") -> None:
        ContainerError.__init__(self, container, command, detail, doing)
        self.command = command
        self.doing = doing
        self.step = f'exec "{command}"'
        self.detail = detail


class ExecStartError(ContainerStartError):
    """A further process could not be started in a container: ``step`` names what failed, ``detail`` says why.

    ``exit_code`` is 127 if the working directory is missing, else 126.
    """

    doing = "exec in"

    def __init__(self, container: str, step: str, detail: str, exit_code: int) -> None:
        ContainerError.__init__(self, container, step, detail, exit_code)
        self.step = step
        self.detail = detail
        self.exit_code = exit_code


class ContainerCommandFailedError(ContainerError):
    """A command that was to succeed has exited with ``exit_code`` (128 + n: signal n ended it).

    ``stdout`` and ``stderr`` are what it wrote.
    """

    def __init__(self, container: str, command: tuple[str, ...], exit_code: int, stdout: str, stderr: str) -> None:
        super().__init__(container, command, exit_code, stdout, stderr)
        self.command = command
        self.exit_code = exit_code
        self.stdout = stdout
        self.stderr = stderr

    def __str__(self) -> str:
        import shlex  # most runs have no such error to tell of

        command = shlex.join(self.command)
        tail = "\n".join((self.stderr.strip() or self.stdout.strip()).splitlines()[-_TAIL_LINES:])
        return f"{command!r} in {self.container!r} exited with code {self.exit_code}{_log_section(tail)}"


class ContainerHasNoCgroupError(ContainerError):
    """A ``container`` of an ordinary user has no cgroup, by which alone it could be done (``doing``)."""

    def __init__(self, container: str, doing: str) -> None:
        super().__init__(container, doing)
        self.container = container
        self.doing = doing

    def __str__(self) -> str:
        return (
            f"cannot {self.doing} {self.container!r}: it has no cgroup, since none here is this user's to make others "
            f"in; {_DELEGATED}, or run it as root"
        )


class ContainerNotFoundError(ContainerError):
    """No container of that name or id."""

    def __str__(self) -> str:
        return f"no container {self.container!r}; it may have been removed"


class ContainerNotRunningError(ContainerError):
    """The call needs a running container; ``status`` is what it is instead."""

    def __init__(self, container: str, doing: str, status: str) -> None:
        super().__init__(container, doing, status)
        self.doing = doing
        self.status = status

    def __str__(self) -> str:
        return f"cannot {self.doing} {self.container!r}: it is {self.status}, not running"


class ContainerRunningError(ContainerError):
    """The call needs a container that does not run."""

    def __init__(self, container: str, doing: str) -> None:
        super().__init__(container, doing)
        self.doing = doing

    def __str__(self) -> str:
        return f"cannot {self.doing} {self.container!r}: it is running; stop it first, or use force=True"


class ContainerPausedError(ContainerError):
    """The call needs a container whose processes go on, and this one is paused."""

    def __init__(self, container: str, doing: str) -> None:
        super().__init__(container, doing)
        self.doing = doing

    def __str__(self) -> str:
        return f"cannot {self.doing} {self.container!r}: it is paused; unpause it first"


class ContainerNotPausedError(ContainerError):
    """What is to go on is not paused; ``status`` is what it is instead."""

    def __init__(self, container: str, status: str) -> None:
        super().__init__(container, status)
        self.status = status

    def __str__(self) -> str:
        return f"cannot unpause {self.container!r}: it is {self.status}, not paused"


class AmbiguousContainerError(ContainerError):
    """The beginning of an id that several containers have; ``candidates`` are their ids."""

    def __init__(self, container: str, candidates: tuple[str, ...]) -> None:
        super().__init__(container, candidates)
        self.candidates = candidates

    def __str__(self) -> str:
        several = ", ".join(candidate[:12] for candidate in self.candidates)
        return f"several containers have an id that begins with {self.container!r}: {several}; give more of it"


def _log_section(log_tail: str) -> str:
    return f"; its last output:\n{_indented(log_tail)}" if log_tail.strip() else "; it printed nothing"


class ContainerExitedError(ContainerError):
    """The container exited while ``waited_for`` was waited for. ``log_tail`` holds its last lines.

    ``out_of_memory`` says whether the kernel ended a process of it for want of memory.
    """

    def __init__(
        self, container: str, waited_for: str, exit_code: int, log_tail: str, out_of_memory: bool = False
    ) -> None:
        super().__init__(container, waited_for, exit_code, log_tail, out_of_memory)
        self.waited_for = waited_for
        self.container_exit_code = exit_code
        self.log_tail = log_tail
        self.out_of_memory = out_of_memory

    def __str__(self) -> str:
        reason = ", out of memory (give it more with memory=)," if self.out_of_memory else ""
        return (
            f"{self.container!r} exited with code {self.container_exit_code}{reason} before {self.waited_for}"
            f"{_log_section(self.log_tail)}"
        )


def _probes_section(probes: str) -> str:
    return f"\nthe last probes:\n{_indented(probes)}" if probes else ""


class ContainerNotReadyError(ContainerError):
    """The container runs, but what was waited for did not happen within ``timeout`` seconds.

    ``probes`` tells of the last executions of a health check, if that was waited for; ``last_seen`` is what there was
    in place of what was wanted: the last refusal, status, output.
    """

    def __init__(
        self, container: str, waited_for: str, timeout: float, log_tail: str, probes: str = "", last_seen: str = ""
    ) -> None:
        super().__init__(container, waited_for, timeout, log_tail, probes, last_seen)
        self.waited_for = waited_for
        self.timeout = timeout
        self.log_tail = log_tail
        self.probes = probes
        self.last_seen = last_seen

    def __str__(self) -> str:
        seen = f"\nwhat was seen last: {self.last_seen}" if self.last_seen else ""
        return (
            f"{self.container!r} is running, but not within {self.timeout:g} s: {self.waited_for}"
            f"{seen}{_log_section(self.log_tail)}{_probes_section(self.probes)}"
        )


class IpcNotShareableError(ContainerError):
    """The IPC namespace of the ``container`` is its own alone: run it with ``ipc="shareable"``."""

    def __init__(self, container: str) -> None:
        super().__init__(container)
        self.container = container

    def __str__(self) -> str:
        return (
            f"cannot share the ipc namespace of container {self.container!r}: it is its own; "
            "run that container with ipc='shareable'"
        )


class ContainerInputClosedError(ContainerError):
    """Nothing can be written to a container's standard input, for a ``reason``."""

    def __init__(self, container: str, reason: str) -> None:
        super().__init__(container, reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot write to the standard input of container {self.container!r}: {self.reason}"


class ContainerHasNoTerminalError(ContainerError):
    """The container was made without ``tty``, so that there is nothing to resize."""

    def __str__(self) -> str:
        return f"cannot resize the terminal of container {self.container!r}: it has none; run it with tty=True"


class ContainerUnhealthyError(ContainerError):
    """The container's health check has failed ``failing_streak`` times in a row, as often as it may.

    ``probes`` tells of the last ones, ``log_tail`` holds the container's last lines.
    """

    def __init__(self, container: str, failing_streak: int, probes: str, log_tail: str) -> None:
        super().__init__(container, failing_streak, probes, log_tail)
        self.failing_streak = failing_streak
        self.probes = probes
        self.log_tail = log_tail

    def __str__(self) -> str:
        times = "once" if self.failing_streak == 1 else f"{self.failing_streak} times in a row"
        return (
            f"{self.container!r} is unhealthy: its health check failed {times}"
            f"{_log_section(self.log_tail)}{_probes_section(self.probes)}"
        )


class ContainerFileError(ContainerError):
    """A file of a container that could not be read, written or copied.

    ``doing`` says what was done, to ``path``, and ``detail`` why not.
    """

    def __init__(self, container: str, doing: str, path: str, detail: str) -> None:
        super().__init__(container, doing, path, detail)
        self.doing = doing
        self.path = path
        self.detail = detail

    def __str__(self) -> str:
        return f"cannot {self.doing} {self.path} in {self.container!r}: {self.detail}"


class WaitTimeoutError(ContainerError):
    """A blocking call took longer than the time limit that its caller gave, in seconds."""

    def __init__(self, container: str, doing: str, timeout: float) -> None:
        super().__init__(container, doing, timeout)
        self.doing = doing
        self.timeout = timeout

    def __str__(self) -> str:
        return f"{self.doing} {self.container!r} took longer than {self.timeout:g} s"


class NameInUseError(ContainerError):
    """Another container has that name; ``owner`` is its id."""

    def __init__(self, container: str, owner: str) -> None:
        super().__init__(container, owner)
        self.owner = owner

    def __str__(self) -> str:
        return f"the name {self.container!r} is in use by container {self.owner[:12]}; remove that, or choose another"


# Networks


class NetworkError(PycontainerError):
    """Something about a network or a published port."""


class NetworkAttachError(NetworkError):
    """The kernel refused a step of setting up a network: ``step``, and what it answered."""

    def __init__(self, step: str, detail: str) -> None:
        super().__init__(step, detail)
        self.step = step
        self.detail = detail

    def __str__(self) -> str:
        return f"cannot {self.step}: {self.detail}"


class PortInUseError(NetworkError):
    """A host port that something else holds; ``owner`` names it where that can be known, else it is empty.

    Of a range that ends with ``last``, ``port`` is the first, and no port is free.
    """

    def __init__(self, address: str, port: int, owner: str, last: int | None = None) -> None:
        super().__init__(address, port, owner, last)
        self.address = address
        self.port = port
        self.owner = owner
        self.last = last

    def __str__(self) -> str:
        by = f" by {self.owner}" if self.owner else ""
        if self.last is not None:
            return f"all ports from {self.port} to {self.last} on {self.address} are in use, the first{by}; name others"
        return f"port {self.port} on {self.address} is in use{by}; name another host port, or none to get a free one"


class PrivilegedPortError(NetworkError):
    """A host port that this user may not take; those from ``first`` on he may."""

    def __init__(self, address: str, port: int, first: int) -> None:
        super().__init__(address, port, first)
        self.address = address
        self.port = port
        self.first = first

    def __str__(self) -> str:
        return (
            f"port {self.port} on {self.address} is one that an ordinary user may not take: name one from {self.first} "
            f"on, or none to get a free one, or have root set net.ipv4.ip_unprivileged_port_start={self.port}"
        )


class NoWayOutError(NetworkError):
    """A network that was to have a way out (``internal=False``) can't have one; ``reason`` says why, and what to do."""

    def __init__(self, network: str, reason: str) -> None:
        super().__init__(network, reason)
        self.network = network
        self.reason = reason

    def __str__(self) -> str:
        return f"network {self.network!r} can't lead beyond this machine: {self.reason}"


class PortNotPublishedError(NetworkError):
    """The container does not publish that port; ``published`` holds those that it does."""

    def __init__(self, container: str, port: str, published: tuple[str, ...]) -> None:
        super().__init__(container, port, published)
        self.container = container
        self.port = port
        self.published = published

    def __str__(self) -> str:
        have = ", ".join(self.published) or "none"
        return f"{self.container!r} does not publish port {self.port} (published: {have}); add it to ports="


class FaultUnsupportedError(NetworkError):
    """The kernel can't bring about ``fault`` on a network: it was built without what it ``needs``, or can't load it."""

    def __init__(self, fault: str, needs: str, detail: str) -> None:
        super().__init__(fault, needs, detail)
        self.fault = fault
        self.needs = needs
        self.detail = detail

    def __str__(self) -> str:
        return f"this kernel can't do {self.fault} on a network: it needs {self.needs} ({self.detail})"


class PortNotOpenError(NetworkError):
    """Nothing in the container listens on that port; ``others`` are the ports of that protocol that are listened on."""

    def __init__(self, container: str, port: str, others: tuple[str, ...]) -> None:
        super().__init__(container, port, others)
        self.container = container
        self.port = port
        self.others = others

    def __str__(self) -> str:
        have = ", ".join(self.others) or "none"
        wait = f"wait.port({self.port.removesuffix('/tcp')})"
        hint = f"; {wait} waits until a server is ready" if self.port.endswith("/tcp") else ""
        return f"nothing in {self.container!r} listens on port {self.port} (listened on: {have}){hint}"


class NetworkNotFoundError(NetworkError):
    """The engine has no network of that name; ``known`` are those that it has."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(name, known)
        self.name = name
        self.known = known

    def __str__(self) -> str:
        have = ", ".join(self.known)
        return f"no network {self.name!r} in this engine (it has: {have}); make it with engine.network({self.name!r})"


class NetworkInUseError(NetworkError):
    """Containers are connected to the network: disconnect or remove them first."""

    def __init__(self, name: str, containers: tuple[str, ...]) -> None:
        super().__init__(name, containers)
        self.name = name
        self.containers = containers

    def __str__(self) -> str:
        return f"network {self.name!r} is in use by {', '.join(self.containers)}; disconnect or remove them first"


class AddressInUseError(NetworkError):
    """An address of a network that a container, or the network itself, has already: ``owner`` says which."""

    def __init__(self, address: str, network: str, owner: str) -> None:
        super().__init__(address, network, owner)
        self.address = address
        self.network = network
        self.owner = owner

    def __str__(self) -> str:
        return f"address {self.address} of {self.network} is {self.owner}; name another one, or none to get a free one"


class SubnetInUseError(NetworkError):
    """A subnet that this machine has or routes already, wholly or in part; ``taken`` is what is in the way."""

    def __init__(self, subnet: str, taken: str) -> None:
        super().__init__(subnet, taken)
        self.subnet = subnet
        self.taken = taken

    def __str__(self) -> str:
        return f"subnet {self.subnet} overlaps {self.taken}, which this machine has or routes; choose another one"


class NoFreeSubnetError(NetworkError):
    """Every subnet of the pool is in use by another engine or routed by this machine."""

    def __init__(self, pool: str) -> None:
        super().__init__(pool)
        self.pool = pool

    def __str__(self) -> str:
        remedy = "remove networks, close other engines, or name one of your own with engine.network(subnet=)"
        return f"no free subnet left in {self.pool}; {remedy}"
