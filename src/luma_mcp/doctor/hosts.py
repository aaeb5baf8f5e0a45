"""What the hosts of this machine would start, started as they would."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from luma_mcp import __version__, errors
from luma_mcp.api.useapi.client import LumaClient
from luma_mcp.doctor.api import PATIENCE
from luma_mcp.doctor.check_result import Finding, failed, note, passed
from luma_mcp.doctor.entry_settings import of_entry
from luma_mcp.doctor.handshake import OUR_NAME, NoHandshake, start
from luma_mcp.install.entry import TOKEN
from luma_mcp.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from luma_mcp.doctor.entries import HostFile
    from luma_mcp.doctor.environment import Environment
    from luma_mcp.doctor.handshake import Server
    from luma_mcp.hosts import System
    from luma_mcp.install.entry import Entry
    from luma_mcp.settings import Settings

AT_A_TIME = 3
SLOW_FOLDERS = "the folders or the journal that its entry names did not answer in time"
SHARE = 0.6
"""Of the time of a check; ending what was started takes up to five seconds more, where it does not want to end."""


async def hosts(here: Environment) -> Iterable[Finding]:
    """Each host that is here has our entry, and what it names starts and answers."""
    if not here.files:
        return [
            note("hosts", "none has a configuration file here; luma-ray-mcp install HOST puts luma-ray-mcp into one")
        ]
    limiter = anyio.CapacityLimiter(AT_A_TIME)
    findings = {file.host.id: [_late(here, file)] for file in here.files}

    async def look(file: HostFile) -> None:
        async with limiter:
            started = [await _host(here, file)]
            findings[file.host.id] = [*started, failed(file.host.name, SLOW_FOLDERS, f"Correct them in {file.path}.")]
            findings[file.host.id] = [*started, *await _settings(here, file)]

    with anyio.move_on_after(here.seconds * SHARE):
        async with anyio.create_task_group() as tasks:
            for file in here.files:
                tasks.start_soon(look, file)
    return [finding for found in findings.values() for finding in found]


async def _settings(here: Environment, file: HostFile) -> Iterable[Finding]:
    if file.entry is None or not file.entry.is_ours:
        return []
    try:
        return await of_entry(here, file, file.settings())
    except SettingsError:
        # Which is told of the entry itself.
        return []


def _late(here: Environment, file: HostFile) -> Finding:
    command = f"its command {file.entry.command}" if file.entry else "it"
    detail = f"{command} did not answer within {here.seconds * SHARE:g} s"
    return failed(file.host.name, f"{detail} (if it only is slow: luma-ray-mcp doctor --seconds 60)", _anew(file))


def _anew(file: HostFile) -> str:
    simulate = " --simulate" if file.entry and "--simulate" in file.entry.args else ""
    return f"luma-ray-mcp install {file.host.id}{simulate}"


class _Wrong(Exception):
    """What is wrong with an entry."""


async def _host(here: Environment, file: HostFile) -> Finding:
    name, anew = file.host.name, _anew(file)
    if file.fault:
        mend = f"Correct the file there; {_anew(file)} --print shows what belongs into it."
        return failed(name, str(file.fault).splitlines()[0], mend)
    entry = file.entry
    if entry is None or not entry.is_ours or entry.has_old_name:
        return _not_started(file)
    try:
        settings = file.settings()
        server = await _started(here, entry, settings)
        doubt = None if "--simulate" in entry.args else await _doubt(here, entry, settings)
    except SettingsError as fault:
        return failed(name, f"its entry has settings that cannot be used: {fault}", f"Correct them in {file.path}.")
    except _Wrong as fault:
        return failed(name, str(fault), anew)
    if doubt:
        return note(name, doubt)
    other = "" if server.version == __version__ else f", not {__version__} as here"
    return passed(name, f"{entry.command} starts: luma-ray-mcp {server.version}{other}, {server.tools} tools")


def _not_started(file: HostFile) -> Finding:
    """The finding on a file whose entry is missing, or runs something that must not be started."""
    entry = file.entry
    if entry and (entry.index_package or entry.has_old_name):
        what = f"the package {entry.index_package} from an index" if entry.index_package else entry.command
        detail = (
            f"its entry runs {what}, which belongs to an unrelated project. It was not started here, but "
            f"{file.host.name} starts it, with your API token in its environment"
        )
        fix = f"{_anew(file)} --force, then replace your API token at useapi.net: it may have been read."
        return failed(file.host.name, detail, fix)
    other = f": its server luma is another one ({entry.command}), which was not started" if entry else ""
    return note(file.host.name, f"{file.path} has no entry of ours{other}", _anew(file))


async def _started(here: Environment, entry: Entry, settings: Settings) -> Server:
    path = str(entry.env.get("PATH") or bare_path(here.system, here.environment))
    command = found(entry.command, path)
    if command is None:
        why = "" if Path(entry.command).is_absolute() else ": the path is not whole, and hosts see no shell's PATH"
        raise _Wrong(f"its command {entry.command} cannot be found, or not be executed{why}")
    secrets = [settings.token.get_secret_value()] if settings.token else []
    try:
        server = await start(command, entry.args, entry.env, path, secrets=secrets)
    except NoHandshake as fault:
        raise _Wrong(f"its command {entry.command} does not become a server: {fault}") from fault
    if server.name != OUR_NAME:
        raise _Wrong(f"its command {entry.command} is another server ({server.name})")
    return server


async def _doubt(here: Environment, entry: Entry, settings: Settings) -> str | None:
    """What cannot be known of the entry's token, if anything.

    Raises:
        _Wrong: there is none, or it is not accepted.
    """
    if settings.token is None:
        if "${" in entry.env.get(TOKEN, ""):
            return "it starts; the host fills in the token by itself, so whether it is accepted is not known"
        if not here.environment.get(TOKEN):
            raise _Wrong("it starts, but its entry has no token: nothing can be ordered")
        return "it starts; its entry has no token, and only some hosts pass on that of the terminal"
    if (settings.token, settings.base_url) == (here.settings.token, here.settings.base_url):
        return None
    token, base_url = settings.token.get_secret_value(), settings.base_url
    async with LumaClient(token, base_url=base_url, transport=here.transport) as luma:
        try:
            await luma.accounts(patience=PATIENCE)
        except errors.Unauthorized as error:
            raise _Wrong("it starts, but the API does not accept the token of its entry") from error
        except errors.LumaError as error:
            return f"it starts; whether its token is accepted could not be asked: {error}"
    return None


def bare_path(system: System, environment: Mapping[str, str]) -> str:
    """The `PATH` of a program that was not started from a shell."""
    if system == "win32":
        root = environment.get("SYSTEMROOT") or r"C:\Windows"
        return rf"{root}\system32;{root}"
    return "/usr/bin:/bin:/usr/sbin:/sbin" if system == "darwin" else "/usr/local/bin:/usr/bin:/bin"


def found(command: str, path: str) -> str | None:
    """The program that a host would start for this command, without a shell's help."""
    if not Path(command).is_absolute() and os.path.basename(command) != command:  # noqa: PTH119 - a name alone
        return None
    return shutil.which(command, path=path)
