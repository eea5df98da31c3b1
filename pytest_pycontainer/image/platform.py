"""Platforms: operating system, processor architecture and variant, as Go and the OCI image spec name them."""

from __future__ import annotations

import os
from dataclasses import dataclass

from pytest_pycontainer.errors import InvalidSpecError

# What the kernel calls a machine (uname(2)) → GOARCH and GOARM.
_MACHINES = {
    "x86_64": ("amd64", None),
    "i386": ("386", None),
    "i686": ("386", None),
    "aarch64": ("arm64", "v8"),
    "armv8l": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "loongarch64": ("loong64", None),
}


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform; ``str()`` gives ``linux/arm64/v8``."""

    os: str
    architecture: str
    variant: str | None = None

    @classmethod
    def of_machine(cls, machine: str) -> Platform:
        """The platform of Linux on what ``uname -m`` calls ``machine``."""
        architecture, variant = _MACHINES.get(machine, (machine, None))
        return cls("linux", architecture, variant)

    @classmethod
    def current(cls) -> Platform:
        """The platform of this machine."""
        return cls.of_machine(os.uname().machine)

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Reads ``os/architecture[/variant]``. Raises InvalidSpecError."""
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(parts):
            raise InvalidSpecError("platform", text, "os/architecture or os/architecture/variant, as linux/amd64")
        return cls(*parts)

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)
