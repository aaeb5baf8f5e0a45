"""The folders that are read from and written to, and the journal."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from anyio.to_thread import run_sync

from luma_mcp.doctor.check_result import Finding, failed, note, passed, shell
from luma_mcp.journal.health import Health, health
from luma_mcp.media.local_files import home_folder
from luma_mcp.service.paths import journal_path, output_folder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from luma_mcp.doctor.environment import Environment

OTHER_JOURNAL = "Set LUMA_MCP_JOURNAL to another file, or to off."


async def output(here: Environment) -> Iterable[Finding]:
    """Videos can be saved."""
    return [await run_sync(_output, output_folder(here.settings), abandon_on_cancel=True)]


def _output(folder: Path) -> Finding:
    fault = _not_writable(folder)
    if fault:
        mend = "Set LUMA_MCP_OUTPUT_DIR to a folder that you may write to."
        return failed("output folder", f"{folder} cannot be written to: {fault}", mend)
    later = "" if folder.exists() else ", made when the first video is saved"
    return passed("output folder", f"{folder}{later}")


def _not_writable(folder: Path) -> str:
    """Why nothing can be written to a folder, or into the one in which it would be made."""
    try:
        there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
        if not there.is_dir():
            return f"{there} is no folder"
        # It has no name where the system can do without one, and is gone at once.
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"luma-ray-mcp")
    except OSError as fault:
        return fault.strerror or type(fault).__name__
    return ""


async def inputs(here: Environment) -> Iterable[Finding]:
    """The folders that pictures may come from are there."""
    folders = here.settings.input_dirs
    return await run_sync(_inputs, folders, abandon_on_cancel=True)


def _inputs(folders: tuple[Path, ...] | None) -> list[Finding]:
    name = "input folders"
    if folders is None:
        return [passed(name, f"{', '.join(map(str, home_folder())) or 'none'}, without hidden folders")]
    findings = []
    for folder in folders:
        try:
            next(folder.iterdir(), None)
        except FileNotFoundError:
            findings.append(failed(name, f"{folder} does not exist", shell("mkdir", "-p", folder)))
        except NotADirectoryError:
            findings.append(failed(name, f"{folder} is no folder", f"Take {folder} out of LUMA_MCP_INPUT_DIRS."))
        except OSError as fault:
            why = fault.strerror or type(fault).__name__
            findings.append(failed(name, f"{folder} cannot be read: {why}", shell("chmod", "u+rx", folder)))
    return findings or [passed(name, ", ".join(map(str, folders)))]


async def journal(here: Environment) -> Iterable[Finding]:
    """What is ordered can be written down."""
    path = journal_path(here.settings)
    if path is None:
        why = "a simulation has none" if here.settings.simulated else "LUMA_MCP_JOURNAL is off"
        return [note("journal", f"{why}: what is ordered is not found again after a crash")]
    return [await run_sync(_journal, path, abandon_on_cancel=True)]


def _journal(path: Path) -> Finding:
    seen = health(path)
    if seen.state == "missing":
        if fault := _not_writable(path.parent):
            return failed("journal", f"{path} cannot be made: {fault}", OTHER_JOURNAL)
        return passed("journal", f"{path}, made with the first order{_kept(seen)}")
    if seen.state == "well":
        return passed("journal", f"{path}: whole, {seen.orders} orders{_kept(seen)}")
    return failed("journal", f"{path} {_WORDS[seen.state]}{_why(seen)}: orders are kept in memory", _mend(path, seen))


_WORDS = {
    "locked": "is locked by another process",
    "damaged": "is damaged",
    "newer": "was written by a newer luma-ray-mcp",
    "foreign": "belongs to another program",
    "unusable": "cannot be used",
}


def _mend(path: Path, seen: Health) -> str:
    if seen.state == "locked":
        return f"Close the program that holds {path} open: a database viewer, a backup, or a server that hangs."
    if seen.state == "damaged":
        # With what SQLite keeps beside it: what is left of one file must not get into the next.
        parts = [part for end in ("", "-wal", "-shm") if (part := path.with_name(path.name + end)).exists()]
        folder = path.with_name(f"{path.name}.damaged")
        number = 1
        while folder.exists():
            number += 1
            folder = path.with_name(f"{path.name}.damaged-{number}")
        return f"{shell('mkdir', folder)} && {shell('mv', *parts, folder)}"
    if seen.state == "unusable" and path.is_file():
        return f"{shell('chmod', 'u+rwx', path.parent)} && {shell('chmod', 'u+rw', path)}"
    return f"Update luma-ray-mcp. Or: {OTHER_JOURNAL}" if seen.state == "newer" else OTHER_JOURNAL


def _why(seen: Health) -> str:
    return f" ({seen.why})" if seen.why else ""


def _kept(seen: Health) -> str:
    return f"; a damaged one is kept as {seen.kept[-1].name}" if seen.kept else ""
