"""Python, the packages, and the settings of the environment."""

from __future__ import annotations

import re
import sys
from difflib import get_close_matches
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING

from luma_mcp import __version__
from luma_mcp.doctor.check_result import Finding, failed, note, passed, shell
from luma_mcp.settings import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from luma_mcp.doctor.environment import Environment

OLDEST_PYTHON = (3, 11)
SECRET = "USEAPI_TOKEN"  # noqa: S105 - its name


async def python(here: Environment) -> Iterable[Finding]:
    """The Python is one of those that luma-ray-mcp runs on."""
    version = ".".join(map(str, here.python))
    if here.python < OLDEST_PYTHON:
        mend = f"Install Python {'.'.join(map(str, OLDEST_PYTHON))} or later, and luma-ray-mcp anew with it."
        return [failed("python", f"{version} is too old", mend)]
    return [passed("python", f"{version} ({sys.executable})")]


async def packages(here: Environment) -> Iterable[Finding]:
    """Each package that luma-ray-mcp needs is here, in a version that it can work with."""
    try:
        needs = [need for need in map(_need, metadata.requires("luma-ray-mcp") or ()) if need]
    except metadata.PackageNotFoundError:
        return [note("packages", "luma-ray-mcp is not installed as a package here: what it needs is not known")]
    findings = []
    for name, rules in needs:
        version = here.version_of(name)
        if version is None or not all(_holds(version, *rule) for rule in rules):
            wanted = name + ",".join(map("".join, rules))
            found = f"{version} is here, and luma-ray-mcp needs" if version else "is missing; luma-ray-mcp needs"
            findings.append(failed("packages", f"{name} {found} {wanted}", _install(wanted)))
    mcp = f"luma-ray-mcp {__version__}, mcp {here.version_of('mcp')}"
    return findings or [passed("packages", f"{mcp}; all {len(needs)} in their ranges")]


def _install(wanted: str) -> str:
    # An environment that uv has made has no pip in it.
    ways = ("-m", "pip", "install") if find_spec("pip") else ()
    return shell(sys.executable, *ways, wanted) if ways else shell("uv", "pip", "install", "-p", sys.executable, wanted)


def _need(requirement: str) -> tuple[str, list[tuple[str, str]]] | None:
    """Name and rules of a requirement, such as `mcp<3,>=2.3`; None for one of an extra."""
    wanted, _, marker = requirement.partition(";")
    name = re.match(r"[\w.-]+", wanted)
    return (name[0], re.findall(r"(>=|<)\s*([\d.]+)", wanted)) if name and not marker else None


def _holds(version: str, sign: str, bound: str) -> bool:
    have, limit = _numbers(version), _numbers(bound)
    return have >= limit if sign == ">=" else have[: len(limit)] < limit


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[^\d.]", version)[0]))


async def settings(here: Environment) -> Iterable[Finding]:
    """The settings can be used, and where each comes from."""
    findings = []
    for name, fault in here.faults.items():
        findings.append(failed("settings", fault, f"Set {name} as this line says, or unset it."))
    names = [row.metadata["name"] for row in VARIABLES.values()]
    said = {n: v.strip() for n, v in here.environment.items() if n.startswith("LUMA_MCP_") or n == SECRET}
    for name in sorted(said.keys() - set(names)):
        meant = get_close_matches(name, names, 1)
        findings.append(note("settings", f"{name} is no setting" + (f"; {meant[0]} is one" if meant else "")))
    held = [name for name in names if "${" in said.get(name, "") and name not in here.faults]
    findings += [note("settings", f"{name} still is a placeholder, and counts as not set") for name in held]
    ours = [name for name in names if said.get(name) and name not in {*held, *here.faults}]
    shown = ", ".join(f"{name} (not shown)" if name == SECRET else f"{name}={said[name]}" for name in ours)
    others = len(names) - len(ours) - len(here.faults)
    return [*findings, passed("settings", f"from the environment: {shown or 'none'}; by default: {others}")]
