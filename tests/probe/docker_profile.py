"""Our seccomp profile in docker's JSON, so that both engines filter by the same one.

The profile that is built into Debian's Docker is some years older than ours.
"""

from __future__ import annotations

import json
from typing import Any

from pytest_pycontainer.runtime.seccomp import Action, Condition, Outcome, Profile, Rule

_COMPARISONS = {"==": "EQ", "!=": "NE", "<": "LT", "<=": "LE", ">": "GT", ">=": "GE", "masked": "MASKED_EQ"}


def docker_profile(profile: Profile) -> str:
    """The text of a file for ``--security-opt seccomp=FILE``."""
    return json.dumps(
        {
            "defaultAction": _action(profile.default),
            "defaultErrnoRet": profile.default.data,
            "archMap": [
                {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
                {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
            ],
            "syscalls": [_entry(rule) for rule in profile.rules],
        }
    )


def _entry(rule: Rule) -> dict[str, Any]:
    includes: dict[str, Any] = {"caps": _capabilities(rule.with_capabilities), "arches": sorted(rule.machines)}
    if rule.kernel > (0, 0):
        includes["minKernel"] = ".".join(map(str, rule.kernel))
    excludes = {"caps": _capabilities(rule.without_capabilities), "arches": sorted(rule.not_machines)}
    entry = {
        "names": list(rule.names),
        "action": _action(rule.outcome),
        "args": [_argument(condition) for condition in rule.conditions],
        "includes": {name: value for name, value in includes.items() if value},
        "excludes": {name: value for name, value in excludes.items() if value},
    }
    return entry | ({"errnoRet": rule.outcome.data} if rule.outcome.action is Action.ERRNO else {})


def _capabilities(names: frozenset[str]) -> list[str]:
    return sorted(f"CAP_{name}" for name in names)


def _action(outcome: Outcome) -> str:
    return {Action.ALLOW: "SCMP_ACT_ALLOW", Action.ERRNO: "SCMP_ACT_ERRNO"}[outcome.action]


def _argument(condition: Condition) -> dict[str, Any]:
    value, second = condition.value, 0
    if condition.comparison == "masked":
        value, second = condition.mask, condition.value
    operation = f"SCMP_CMP_{_COMPARISONS[condition.comparison]}"
    return {"index": condition.argument, "value": value, "valueTwo": second, "op": operation}
