"""What the entry of a host sets for the server there, which this terminal may know nothing of."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from luma_mcp.doctor import folders
from luma_mcp.doctor.check_result import Finding, failed, note, shell
from luma_mcp.service.paths import journal_path, output_folder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from luma_mcp.doctor.entries import HostFile
    from luma_mcp.doctor.environment import Environment
    from luma_mcp.settings import Settings

OUTPUT, INPUT, JOURNAL = "LUMA_MCP_OUTPUT_DIR", "LUMA_MCP_INPUT_DIRS", "LUMA_MCP_JOURNAL"
OTHERS_MAY_READ = 0o044


async def of_entry(here: Environment, file: HostFile, settings: Settings) -> list[Finding]:
    """What would go wrong with the entry's own settings, where they are not those of the terminal."""
    simulated = bool(file.entry and "--simulate" in file.entry.args)
    theirs = replace(settings, simulated=simulated)
    findings = []
    for variable, look in _different(here.settings, theirs):
        failures = [found for found in await look(replace(here, settings=theirs)) if found.status == "failed"]
        findings += [
            failed(file.host.name, _detail(variable, found), _mend(file, variable, found.mend)) for found in failures
        ]
    return [*findings, *_notes(file, settings)]


def _different(
    ours: Settings, theirs: Settings
) -> Iterable[tuple[str, Callable[[Environment], Awaitable[Iterable[Finding]]]]]:
    if output_folder(ours) != output_folder(theirs):
        yield OUTPUT, folders.output
    if theirs.input_dirs not in (None, ours.input_dirs):
        yield INPUT, folders.inputs
    if journal_path(theirs) not in (None, journal_path(ours)):
        yield JOURNAL, folders.journal


def _detail(variable: str, found: Finding) -> str:
    return f"{found.name} of its entry ({variable}): {found.detail}"


def _mend(file: HostFile, variable: str, mend: str) -> str:
    """Of what is to be set in the terminal, the same for the entry; what mends a folder does so for both."""
    if variable not in mend:
        return mend
    return f"{mend.rstrip('.')}, and put that into the entry: luma-ray-mcp install {file.host.id}"


def _notes(file: HostFile, settings: Settings) -> Iterable[Finding]:
    name = file.host.name
    if settings.confirm != "never" and not file.host.asks:
        without = f"{name} is not known to show a server's questions, and orders go out without one"
        bound = "LUMA_MCP_MAX_JOBS_PER_HOUR in its entry bounds them"
        yield note(name, f"its entry has LUMA_MCP_CONFIRM={settings.confirm}, but {without}; {bound}")
    if settings.token and _is_open(file.path):
        detail = f"{file.path} holds the token, and others on this machine may read it"
        yield note(name, detail, shell("chmod", "600", file.path))


def _is_open(path: Path) -> bool:
    try:
        return os.name == "posix" and bool(path.stat().st_mode & OTHERS_MAY_READ)
    except OSError:
        return False
