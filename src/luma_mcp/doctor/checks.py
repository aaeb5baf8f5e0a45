"""The table of checks. A new one is a function from the surroundings to what it found, and one row here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from luma_mcp.doctor import api, folders, handshake, hosts, installation
from luma_mcp.doctor.check_result import Finding, failed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from luma_mcp.doctor.environment import Environment


@dataclass(frozen=True, slots=True)
class Check:
    """A row: what is looked at, how, and what ends it if that takes too long.

    `grace`: seconds that a check which keeps its time itself has to clean up and to tell what took it.
    """

    name: str
    look: Callable[[Environment], Awaitable[Iterable[Finding]]]
    late: str = "luma-ray-mcp doctor --seconds 60"
    grace: float = 1.0


CHECKS = (
    Check("python", installation.python),
    Check("packages", installation.packages),
    Check("settings", installation.settings),
    Check("api", api.api),
    Check("output folder", folders.output, "Set LUMA_MCP_OUTPUT_DIR to a folder of a disk that answers."),
    Check("input folders", folders.inputs, "Set LUMA_MCP_INPUT_DIRS to folders of disks that answer."),
    Check("journal", folders.journal, folders.OTHER_JOURNAL),
    Check("server", handshake.eras),
    Check("hosts", hosts.hosts, grace=5.0),
)


async def examine(here: Environment, checks: Sequence[Check] = CHECKS) -> list[Finding]:
    """Every check's findings, in the order of the table. They run side by side, each within its time."""
    found: dict[str, list[Finding]] = {}

    async def look(check: Check) -> None:
        detail = f"no answer within {here.seconds:g} s"
        found[check.name] = [failed(check.name, detail, check.late)]
        with anyio.move_on_after(here.seconds + check.grace):
            found[check.name] = list(await check.look(here))

    async with anyio.create_task_group() as tasks:
        for check in checks:
            tasks.start_soon(look, check)
    return [finding for check in checks for finding in found[check.name]]
