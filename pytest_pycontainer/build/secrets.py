"""What a build is handed for its RUNs alone: secrets and SSH agents. Neither is in an image, a key, or a history."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_pycontainer.errors import InvalidSpecError

Secret = str | bytes | os.PathLike[str]
"""A secret itself, as text or bytes, or the file that holds it."""

_DEFAULT_AGENT = "default"


@dataclass(frozen=True, slots=True)
class BuildSecrets:
    """Secrets under their ids, and the sockets of SSH agents under theirs."""

    secrets: Mapping[str, Secret] = field(default_factory=dict, repr=False)
    agents: Mapping[str, Path] = field(default_factory=dict)

    @classmethod
    def of(
        cls, secrets: Mapping[str, Secret] | None = None, ssh: Mapping[str, str | os.PathLike[str]] | str | None = None
    ) -> BuildSecrets:
        """Checks what a caller gives; ``ssh="default"`` is the agent of SSH_AUTH_SOCK. Raises InvalidSpecError."""
        for name, secret in (secrets or {}).items():
            if not isinstance(name, str) or not isinstance(secret, str | bytes | os.PathLike):
                raise InvalidSpecError("secrets", repr(name), "ids, each with a text, bytes, or a path")
        if isinstance(ssh, str):
            socket = os.environ.get("SSH_AUTH_SOCK", "")
            if ssh != _DEFAULT_AGENT or not socket:
                wanted = "'default', with SSH_AUTH_SOCK in the environment, or ids with the paths of agents' sockets"
                raise InvalidSpecError("ssh", ssh, wanted)
            ssh = {_DEFAULT_AGENT: socket}
        return cls(dict(secrets or {}), {name: Path(path).absolute() for name, path in (ssh or {}).items()})

    def secret(self, name: str) -> bytes | None:
        """The secret called ``name``; None if the build was handed none. Raises OSError if its file can't be read."""
        secret = self.secrets.get(name)
        if secret is None or isinstance(secret, bytes):
            return secret
        return secret.encode() if isinstance(secret, str) else Path(secret).read_bytes()

    def agent(self, name: str) -> Path | None:
        """The socket of the agent called ``name``; None if the build was handed none. Raises OSError if it is none."""
        path = self.agents.get(name)
        if path is not None and not stat.S_ISSOCK(path.stat().st_mode):
            raise OSError(f"{path} is no agent's socket")
        return path
