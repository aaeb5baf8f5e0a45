"""The checks. A new one is a function from the environment to its results, and a row in `CHECKS`."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from datetime import timedelta
from difflib import get_close_matches
from functools import partial
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import anyio
from anyio.to_thread import run_sync
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from luma_mcp import __version__, errors
from luma_mcp.api.protocol import Account, parse_time
from luma_mcp.api.useapi.client import LumaClient
from luma_mcp.errors import LumaError
from luma_mcp.install.command import NAME, invocation
from luma_mcp.install.config import is_readable_by_others
from luma_mcp.install.entry import TOKEN
from luma_mcp.journal.sqlite import check_health
from luma_mcp.media.sources import home_folders
from luma_mcp.service.paths import journal_path, output_folder
from luma_mcp.settings import BASE_URL, LOOPBACK, VARIABLES, Settings, SettingsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from luma_mcp.doctor.environment import Environment
    from luma_mcp.hosts import System
    from luma_mcp.install.config import HostFile
    from luma_mcp.install.entry import Entry
    from luma_mcp.journal.protocol import JournalHealth

    Check = Callable[[Environment], Awaitable[list["CheckResult"]]]

Status = Literal["passed", "failed", "note"]
OLDEST_PYTHON = (3, 11)
REINSTALL = "Reinstall luma-ray-mcp from its clone: make clean install"
RETRY_TIMEOUT = 1.0
"""Seconds within which a transient failure of the API is tried again."""
NO_TOKEN = "none"  # noqa: S105 - sent if there is none: the response shows that the API is there
NEW_TOKEN = "Set USEAPI_TOKEN to the complete API token that https://useapi.net shows (user:…)."  # noqa: S105
SOON = timedelta(days=3)
OTHER_JOURNAL = "Set LUMA_MCP_JOURNAL to another file, or to off."
MODES = ("2026-07-28", "legacy")
"""The two ways in which a client starts, as the SDK names them."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One line of the report. `detail` never contains a secret; `fix`: one command or sentence that ends a failure."""

    name: str
    status: Status
    detail: str
    fix: str = ""


def passed(name: str, detail: str) -> CheckResult:
    """It works."""
    return CheckResult(name, "passed", detail)


def failed(name: str, detail: str, fix: str) -> CheckResult:
    """It does not work."""
    return CheckResult(name, "failed", detail, fix)


def note(name: str, detail: str, fix: str = "") -> CheckResult:
    """It is neither good nor bad: it could not be checked, or may be intended."""
    return CheckResult(name, "note", detail, fix)


# This installation


async def check_python(here: Environment) -> list[CheckResult]:
    """The Python is one that luma-ray-mcp runs on."""
    version = ".".join(map(str, here.python))
    if here.python < OLDEST_PYTHON:
        fix = "Install Python {}.{} or later, then luma-ray-mcp.".format(*OLDEST_PYTHON)
        return [failed("python", f"{version} is too old", fix)]
    return [passed("python", f"{version} ({sys.executable})")]


async def check_packages(here: Environment) -> list[CheckResult]:
    """Every package that luma-ray-mcp needs is installed in a version that works."""
    try:
        requirements = metadata.requires(NAME) or []
    except metadata.PackageNotFoundError:
        return [note("packages", "luma-ray-mcp is not installed as a package here: what it needs is not known")]
    results = []
    for requirement in requirements:
        # A requirement with a marker belongs to an extra.
        name = re.match(r"[\w.-]+", requirement)
        if name is None or ";" in requirement:
            continue
        version = here.version_of(name[0])
        if version is None:
            results.append(failed("packages", f"{name[0]} is missing: luma-ray-mcp needs {requirement}", REINSTALL))
        elif not _is_in_range(version, requirement):
            detail = f"{name[0]} {version} is installed, but luma-ray-mcp needs {requirement}"
            results.append(failed("packages", detail, REINSTALL))
    versions = f"luma-ray-mcp {__version__}, mcp {here.version_of('mcp')}"
    return results or [passed("packages", f"{versions}; all in their ranges")]


def _is_in_range(version: str, requirement: str) -> bool:
    have = _numbers(version)
    for sign, bound in re.findall(r"(>=|<)\s*([\d.]+)", requirement):
        limit = _numbers(bound)
        # A pre-release of an excluded version is excluded as well.
        if (sign == ">=" and have < limit) or (sign == "<" and have[: len(limit)] >= limit):
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", re.split(r"[^\d.]", version)[0])))


async def check_settings(here: Environment) -> list[CheckResult]:
    """The settings can be used, and where each comes from."""
    results, used = [], []
    for name, reason in here.invalid.items():
        results.append(failed("settings", reason, f"Set {name} as this line says, or unset it."))
    names = [row.metadata["name"] for row in VARIABLES.values()]
    for name in sorted(here.variables):
        if name.startswith("LUMA_MCP_") and name not in names:
            detail = f"{name} is not a setting"
            for closest in get_close_matches(name, names, 1):
                detail = f"{detail}; did you mean {closest}?"
            results.append(note("settings", detail))
    for name in names:
        value = here.variables.get(name, "").strip()
        if not value or name in here.invalid:
            continue
        if "${" in value:
            results.append(note("settings", f"{name} is still a placeholder and counts as not set"))
        elif name == TOKEN:
            used.append(f"{name} (not shown)")
        else:
            used.append(f"{name}={value}")
    return [*results, passed("settings", f"from the environment: {', '.join(used) or 'none'}; the rest by default")]


# The API, the token and the accounts


async def check_api(here: Environment) -> list[CheckResult]:
    """The API can be reached, it accepts the token, and there are accounts that can make videos."""
    token = NO_TOKEN
    if here.settings.token:
        token = here.settings.token.get_secret_value()
    error: LumaError | None = errors.NetworkError("timeout", detail=f"{here.seconds:g} s")
    accounts: tuple[Account, ...] = ()
    live: dict[str, Account | LumaError] = {}
    async with LumaClient(token, base_url=here.settings.base_url, transport=here.transport) as luma:

        async def fetch(email: str) -> None:
            try:
                live[email] = await luma.account(email, retry_timeout=RETRY_TIMEOUT)
            except LumaError as failure:
                live[email] = failure

        with anyio.move_on_after(here.seconds):
            try:
                accounts = await luma.accounts(retry_timeout=RETRY_TIMEOUT)
                error = None
            except LumaError as failure:
                error = failure
            async with anyio.create_task_group() as tasks:
                for account in accounts:
                    tasks.start_soon(fetch, account.email)
    results = [_api_result(here, error), _token_result(here, error)]
    if error is None:
        results += _account_results(here, accounts, live)
    return results


def _api_result(here: Environment, error: LumaError | None) -> CheckResult:
    url = here.settings.base_url
    proxy = proxy_of(url)
    if isinstance(error, errors.NetworkError):
        return failed("api", str(error), _network_fix(url, error.stage, proxy))
    if isinstance(error, errors.Upstream):
        fix = f"Something else answers at this address: sign in to this network, or {_elsewhere(url)}."
        if error.status is not None and error.status >= 500:
            fix = f"Wait a while and rerun {invocation()} doctor: this is a failure of the API."
        return failed("api", str(error), fix)
    if proxy:
        return passed("api", f"{url} answers, through the proxy {proxy}")
    return passed("api", f"{url} answers")


def _network_fix(url: str, stage: errors.FailureStage, proxy: str | None) -> str:
    host = urlsplit(url).hostname
    if proxy and stage in ("dns", "proxy", "refused"):
        return f"Set HTTPS_PROXY to a proxy that works ({proxy} does not), or unset it."
    if url != BASE_URL and stage == "dns":
        return f"Correct LUMA_MCP_BASE_URL ({host} is not known), or unset it."
    if url != BASE_URL and stage == "refused":
        return f"Start the server that should answer at {url}, or {_elsewhere(url)}."
    fixes: dict[errors.FailureStage, str] = {
        "dns": f"Connect this machine to a network whose DNS knows {host}.",
        "tls": "Set SSL_CERT_FILE to the PEM file of the authority that your network's certificates come from.",
        "timeout": f"Allow more time: {invocation()} doctor --seconds 30",
        "broken": f"Allow HTTPS between this machine and {host}, or {_elsewhere(url)}.",
        "unsendable": "Unset those of SSL_CERT_FILE, SSL_CERT_DIR, HTTPS_PROXY and ALL_PROXY that are not valid.",
    }
    return fixes.get(stage, f"Allow connections to {host} (a firewall, or no network?).")


def _elsewhere(url: str) -> str:
    return "run it in another network" if url == BASE_URL else "unset LUMA_MCP_BASE_URL"


def proxy_of(url: str) -> str | None:
    """Host and port of the proxy that requests go through, without its user and password; None for no proxy."""
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    host = parts.hostname or ""
    if not proxy or host in LOOPBACK or proxy_bypass(host):
        return None
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}").netloc.rpartition("@")[2]


def _token_result(here: Environment, error: LumaError | None) -> CheckResult:
    if TOKEN in here.invalid or here.settings.token is None:
        simulate = f"To try without one: {invocation()} doctor --simulate"
        return failed("token", "USEAPI_TOKEN is not set here or in the entry of a host", f"{NEW_TOKEN} {simulate}")
    source, fix = "the token of the environment", NEW_TOKEN
    if here.settings.simulated:
        source = "the token of the simulation"
    elif here.token_file:
        source, fix = f"the token of {here.token_file.host.name}'s entry", _install_command(here.token_file)
    if isinstance(error, errors.Unauthorized):
        return failed("token", f"the API does not accept {source}", fix)
    if isinstance(error, errors.PaymentRequired):
        return failed("token", str(error), "Renew the subscription at https://useapi.net.")
    if error:
        return note("token", f"{source} is set; whether the API accepts it is not known")
    return passed("token", f"{source} is accepted (not shown)")


def _account_results(
    here: Environment, accounts: Sequence[Account], live: Mapping[str, Account | LumaError]
) -> list[CheckResult]:
    emails = [account.email for account in accounts]
    if not emails:
        return [failed("accounts", f"none is configured at {here.settings.base_url}", f"{invocation()} accounts add")]
    results = [_account_result(here, account, live.get(account.email)) for account in accounts]
    if here.settings.email and here.settings.email not in emails:
        fix = f"Set LUMA_MCP_EMAIL to one of {', '.join(emails)}, or unset it."
        results.append(failed("accounts", f"{here.settings.email} (LUMA_MCP_EMAIL) is not configured", fix))
    return results


def _account_result(here: Environment, listed: Account, live: Account | LumaError | None) -> CheckResult:
    """What an account can do now. `live`: what the API reported of this account alone."""
    name = f"account {listed.email}"
    # The address comes from the API, and somebody will paste this into a shell.
    refresh = f"{invocation()} accounts refresh {shlex.quote(listed.email)}"
    now = live if isinstance(live, Account) else listed
    expires = parse_time(now.session_expires or listed.session_expires)
    # The API writes some times without a zone: a day makes up for it.
    is_over = expires is not None and expires < here.now() - timedelta(days=1)
    is_invalid = isinstance(live, errors.AccountSession) or now.session_valid is False
    reason = now.error or listed.error
    if is_invalid or reason or (is_over and now.session_valid is None):
        problem = "its session has expired" if is_invalid or is_over else "it has an error"
        if reason:
            problem = f'{problem}; the API says: "{reason}"'
        return failed(name, problem, refresh)
    slots = "an unknown number" if listed.concurrency is None else listed.concurrency
    details = [f"{listed.executing or 0} of {slots} slots in use"]
    if session := parse_time(now.session_expires):
        details.append(f"session until {session:%Y-%m-%d}")
    usage, limit = map((now.credits or {}).get, ("usage", "limit"))
    if isinstance(usage, int | float) and isinstance(limit, int | float):
        details.append(f"credits {usage:g} of {limit:g} used")
    detail = "; ".join(details)
    if not isinstance(live, Account):
        return note(name, f"{detail}; its session could not be checked: {live or 'no answer in time'}")
    if expires and expires < here.now() + SOON:
        return note(name, f"{detail}: soon", refresh)
    return passed(name, detail)


# Folders and the journal


async def check_output(here: Environment) -> list[CheckResult]:
    """Videos can be saved."""
    folder = output_folder(here.settings)
    if reason := await run_sync(_why_not_writable, folder, abandon_on_cancel=True):
        fix = "Set LUMA_MCP_OUTPUT_DIR to a folder that you may write to."
        return [failed("output folder", f"{folder} cannot be written to: {reason}", fix)]
    return [passed("output folder", f"{folder} (created with the first video if it is missing)")]


def _why_not_writable(folder: Path) -> str:
    """Why nothing can be written to a folder, or to the one in which it would be created; empty if it can."""
    try:
        nearest = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
        if not nearest.is_dir():
            return f"{nearest} is not a folder"
        # The file has no name where the system can do without one, and is gone at once.
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(b"luma-ray-mcp")
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""


async def check_inputs(here: Environment) -> list[CheckResult]:
    """The folders that pictures may come from can be read."""
    name, folders = "input folders", here.settings.input_dirs
    if folders is None:
        return [passed(name, f"{', '.join(map(str, home_folders())) or 'none'}, without hidden folders")]
    results = []
    for folder in folders:
        results += await run_sync(_input_failures, name, folder, abandon_on_cancel=True)
    return results or [passed(name, ", ".join(map(str, folders)))]


def _input_failures(name: str, folder: Path) -> list[CheckResult]:
    try:
        next(folder.iterdir(), None)
    except FileNotFoundError:
        return [failed(name, f"{folder} does not exist", _shell("mkdir", "-p", folder))]
    except NotADirectoryError:
        return [failed(name, f"{folder} is not a folder", f"Remove {folder} from LUMA_MCP_INPUT_DIRS.")]
    except OSError as error:
        # The folder is closed, or one in which it is.
        closed = next((place for place in reversed(folder.parents) if not os.access(place, os.X_OK)), folder)
        return [failed(name, f"{folder} cannot be read: {error.strerror}", _shell("chmod", "u+rx", closed))]
    return []


def _shell(*arguments: str | Path) -> str:
    return shlex.join(map(str, arguments))


async def check_journal(here: Environment) -> list[CheckResult]:
    """Orders can be recorded."""
    path = journal_path(here.settings)
    if here.settings.simulated:
        return [note("journal", "a simulation has none")]
    if path is None:
        return [note("journal", "LUMA_MCP_JOURNAL is off: orders are not found again after a crash")]
    return [await run_sync(_journal_result, path, abandon_on_cancel=True)]


def _journal_result(path: Path) -> CheckResult:
    health = check_health(path)
    copies = "".join(f"; a damaged one is kept as {copy.name}" for copy in health.damaged_copies[-1:])
    if health.state == "ok":
        orders = "1 order" if health.orders == 1 else f"{health.orders} orders"
        return passed("journal", f"{path}: intact, {orders}{copies}")
    if health.state == "missing":
        if reason := _why_not_writable(path.parent):
            return failed("journal", f"{path} cannot be created: {reason}", OTHER_JOURNAL)
        return passed("journal", f"{path}, created with the first order{copies}")
    problem = {
        "locked": "is locked by another process",
        "damaged": "is damaged",
        "newer": "was written by a newer luma-ray-mcp",
        "foreign": "belongs to another program",
        "unusable": "cannot be used",
    }[health.state]
    if health.reason:
        problem = f"{problem} ({health.reason})"
    return failed("journal", f"{path} {problem}: orders are kept in memory", _journal_fix(path, health))


def _journal_fix(path: Path, health: JournalHealth) -> str:
    if health.state == "locked":
        return f"Close the program that has {path} open: a database viewer, a backup, or a server that hangs."
    if health.state == "newer":
        return f"Update luma-ray-mcp. Or: {OTHER_JOURNAL}"
    # Not Path.is_file: before Python 3.14 it raises PermissionError below a folder that cannot be read.
    if health.state == "unusable" and os.path.isfile(path):  # noqa: PTH113
        return f"{_shell('chmod', 'u+rwx', path.parent)} && {_shell('chmod', 'u+rw', path)}"
    if health.state != "damaged":
        return OTHER_JOURNAL
    # With what SQLite keeps beside it: parts of one file must not get into the next.
    parts = [f"{path}{end}" for end in ("", "-wal", "-shm") if os.path.lexists(f"{path}{end}")]
    folder, number = f"{path}.damaged", 1
    while os.path.lexists(folder):
        number += 1
        folder = f"{path}.damaged-{number}"
    return f"{_shell('mkdir', folder)} && {_shell('mv', *parts, folder)}"


# The server


class StartFailed(Exception):
    """A command did not become a server that answers."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answered."""

    name: str
    version: str
    protocol: str
    tools: tuple[str, ...]


async def check_server(here: Environment) -> list[CheckResult]:
    """The installation starts with the settings of the environment, and answers clients of both protocols."""
    args, fix = here.command.args, REINSTALL
    if here.settings.simulated:
        args = (*args, "--simulate")
    if here.invalid:
        fix = f"Set {' and '.join(here.invalid)} as the lines above say, or unset them."
    servers: dict[str, Server] = {}
    failures: list[StartFailed] = []

    async def start(mode: str) -> None:
        try:
            servers[mode] = await start_server(here.command.program, args, here.variables, mode=mode)
        except StartFailed as error:
            failures.append(error)

    async with anyio.create_task_group() as tasks:
        for mode in MODES:
            tasks.start_soon(start, mode)
    if failures:
        return [failed("server", str(failures[0]), fix)]
    newest, older = servers[MODES[0]], servers[MODES[1]]
    if not newest.tools or not older.tools:
        return [failed("server", "lists no tools", fix)]
    return [passed("server", f"speaks {newest.protocol} and {older.protocol}: {', '.join(newest.tools)}")]


async def start_server(
    command: str, args: Sequence[str], variables: Mapping[str, str], *, mode: str = "legacy"
) -> Server:
    """Start a server as a host does, list its tools, and stop it.

    Raises:
        StartFailed: why it is not one: its exit code, and the last line that it wrote to stderr.
    """
    environment = dict(variables)
    # A server that lives for a moment must neither record anything nor resume what is recorded. An unusable value
    # stays, so that the server ends as it does in the host.
    if _parse_settings({"LUMA_MCP_JOURNAL": environment.get("LUMA_MCP_JOURNAL", "")}):
        environment["LUMA_MCP_JOURNAL"] = "off"
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+", errors="replace") as log:
        ending = Path(folder, "ending")
        launch = ["-I", "-S", "-c", _LAUNCHER, str(ending), command, *args]
        server = StdioServerParameters(command=sys.executable, args=launch, env=environment)
        try:
            async with Client(stdio_client(server, errlog=log), mode=mode) as client:
                tools = (await client.list_tools()).tools
                name, version = "", ""
                if client.server_info:
                    name, version = client.server_info.name, client.server_info.version
                return Server(name, version, client.protocol_version, tuple(tool.name for tool in tools))
        except Exception as error:  # noqa: BLE001 - whatever it is, this is not a server
            reason = _read_ending(ending) or f"does not answer: {_describe(error)}"
            if line := _last_line(log):
                secret = environment.get(TOKEN) or "\0"
                reason = f'{reason}; it says: "{line.replace(secret, "***")}"'
            raise StartFailed(reason) from None


_LAUNCHER = """
import subprocess, sys
try:
    reason = f"ends with exit code {subprocess.call(sys.argv[2:])}"
except OSError as error:
    reason = f"cannot be started: {error.strerror}"
open(sys.argv[1], "w").write(reason)
"""
"""Starts a command and writes down how it ended, which the SDK keeps to itself."""


def _read_ending(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _describe(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def _last_line(log: IO[str]) -> str:
    log.seek(0)
    lines = log.read()[-4000:].strip().splitlines() or [""]
    return lines[-1].strip()[:300]


# The hosts


async def check_host(file: HostFile, here: Environment) -> list[CheckResult]:
    """A host has our entry, and what it runs starts, answers, and can use its own settings."""
    name, entry, fix = file.host.name, file.entry, _install_command(file)
    if file.error:
        return [failed(name, str(file.error), f"Correct the file; {fix} --print shows the entry.")]
    if entry is None or entry.origin == "other":
        detail = f"there is no entry of ours in {file.path}"
        if entry:
            detail = f"{detail}: its server luma is another one ({entry.safe_command}), which was not started"
        return [note(name, detail, fix)]
    path = entry.env.get("PATH") or bare_path(here.system, here.variables)
    command = find_program(entry.command, path)
    if reason := _why_not_started(entry, command):
        # Somebody else's program may have read the token, if the host has started it.
        detail = f"its entry runs {entry.safe_command}, {reason}. It was not started here, but {name} starts it"
        if not entry.is_ours:
            fix = f"{fix} --force"
        rotate = "then replace your API token at https://useapi.net: it may have been read"
        return [failed(name, f"{detail} with your API token", f"{fix}, {rotate}.")]
    try:
        server = await _start_entry(entry, command, path)
    except StartFailed as error:
        if _parse_settings(entry.env) is None:
            fix = f"Correct its settings in {file.path}."
        return [failed(name, f"its command {entry.command} {error}", fix)]
    settings = _parse_settings(entry.env) or Settings()
    if settings.token is None and "--simulate" not in entry.args:
        return [_tokenless_result(here, file, entry)]
    version = server.version
    if version != __version__:
        version = f"{version}, not {__version__} as here"
    result = passed(name, f"{entry.command} starts: luma-ray-mcp {version}, {len(server.tools)} tools")
    return [result, *await _entry_results(here, file, entry, settings)]


async def _start_entry(entry: Entry, command: str | None, path: str) -> Server:
    if command is None and Path(entry.command).is_absolute():
        raise StartFailed("cannot be found, or cannot be executed")
    if command is None:
        raise StartFailed("cannot be found: its path is not absolute, and hosts do not have a shell's PATH")
    server = await start_server(command, entry.args, {"PATH": path, **entry.env})
    if server.name != NAME:
        raise StartFailed(f"is another server ({server.name})")
    return server


def _tokenless_result(here: Environment, file: HostFile, entry: Entry) -> CheckResult:
    if "${" in entry.env.get(TOKEN, ""):
        return note(file.host.name, "it starts; the host fills in the token, so whether it is accepted is not known")
    if here.variables.get(TOKEN):
        detail = "it starts; its entry has no token, and only some hosts pass on that of the terminal"
        return note(file.host.name, detail)
    return failed(
        file.host.name, "it starts, but its entry has no token: nothing can be ordered", _install_command(file)
    )


def _why_not_started(entry: Entry, command: str | None) -> str:
    """Why an entry must not be started: it runs somebody else's program, or may do so. Empty if it can be."""
    if entry.origin == "index":
        return "which takes our name from an index, where it belongs to an unrelated project"
    if entry.origin == "former":
        return "with the name luma-mcp, which belongs to an unrelated project"
    if entry.origin == "module" and command and command != sys.executable and not _has_our_script(entry, command):
        return "with the module luma_mcp, but luma-ray-mcp is not installed there: it may be an unrelated project's"
    return ""


def _has_our_script(entry: Entry, command: str) -> bool:
    """Whether the environment of a Python has the script of our distribution."""
    folders = [Path(command).parent, Path(command).parent / "Scripts"]
    for option, value in pairwise(entry.args):
        # uv uses the environment of a project.
        if option in ("--directory", "--project"):
            folders += [Path(value, ".venv", "bin"), Path(value, ".venv", "Scripts")]
    scripts = [folder / NAME for folder in folders] + [folder / f"{NAME}.exe" for folder in folders]
    return any(map(os.path.lexists, scripts))


async def _entry_results(here: Environment, file: HostFile, entry: Entry, settings: Settings) -> list[CheckResult]:
    """What is wrong with an entry's own settings, which this terminal may know nothing of."""
    name, results = file.host.name, []
    theirs = replace(settings, simulated="--simulate" in entry.args)
    for variable, value_of, check in SETTING_CHECKS:
        if value_of(theirs) in (None, value_of(here.settings)):
            continue
        for result in await check(replace(here, settings=theirs, token_file=file)):
            fix = result.fix
            if variable in fix:
                fix = f"{fix.rstrip('.')}, then write that into the entry: {invocation()} install {file.host.id}"
            if result.status == "failed":
                results.append(failed(name, f"{result.name} of its entry ({variable}): {result.detail}", fix))
    if settings.confirm != "never" and not file.host.asks:
        detail = f"LUMA_MCP_CONFIRM={settings.confirm} has no effect: {name} is not known to show a server's questions"
        results.append(note(name, f"{detail}; LUMA_MCP_MAX_JOBS_PER_HOUR limits its orders"))
    for field, value in file.host.fields.items():
        if entry.numbers.get(field, 0) <= file.host.wait:
            detail = f"a call waits up to {file.host.wait} s for its video, but {field} does not allow that"
            results.append(note(name, detail, f"Set {field} to {value} in {file.path}."))
    if settings.token and is_readable_by_others(file.path):
        detail = f"{file.path} contains the token, and other users of this machine can read it"
        results.append(note(name, detail, _shell("chmod", "600", file.path)))
    return results


def _api_of(settings: Settings) -> tuple[object, str] | None:
    if settings.simulated:
        return None
    return settings.token, settings.base_url


SETTING_CHECKS: tuple[tuple[str, Callable[[Settings], object], Check], ...] = (
    (TOKEN, _api_of, check_api),
    ("LUMA_MCP_OUTPUT_DIR", output_folder, check_output),
    ("LUMA_MCP_INPUT_DIRS", lambda settings: settings.input_dirs, check_inputs),
    ("LUMA_MCP_JOURNAL", journal_path, check_journal),
)
"""The checks of settings that an entry may have otherwise than this terminal; each with the setting's value."""


def _install_command(file: HostFile) -> str:
    command = f"{invocation()} install {file.host.id}"
    if file.entry and "--simulate" in file.entry.args:
        return f"{command} --simulate"
    return command


def _parse_settings(variables: Mapping[str, str]) -> Settings | None:
    """The settings in some variables; None if one cannot be used."""
    try:
        return Settings.from_environment(variables)
    except SettingsError:
        return None


def bare_path(system: System, variables: Mapping[str, str]) -> str:
    """The `PATH` of a program that was not started from a shell."""
    if system == "win32":
        root = variables.get("SYSTEMROOT") or r"C:\Windows"
        return rf"{root}\system32;{root}"
    if system == "darwin":
        return "/usr/bin:/bin:/usr/sbin:/sbin"
    return "/usr/local/bin:/usr/bin:/bin"


def find_program(command: str, path: str) -> str | None:
    """The program that a host starts for this command, without a shell's help; None if there is none."""
    is_name = os.path.basename(command) == command  # noqa: PTH119 - Path drops a "./"
    if not is_name and not Path(command).is_absolute():
        return None
    return shutil.which(command, path=path)


# The table


@dataclass(frozen=True, slots=True)
class Row:
    """A check. `late`: what to do if it takes too long, unless more time helps."""

    name: str
    check: Check
    late: str = ""


CHECKS = (
    Row("python", check_python),
    Row("packages", check_packages),
    Row("settings", check_settings),
    Row("api", check_api),
    Row("output folder", check_output, "Set LUMA_MCP_OUTPUT_DIR to a folder on a disk that answers."),
    Row("input folders", check_inputs, "Set LUMA_MCP_INPUT_DIRS to folders on disks that answer."),
    Row("journal", check_journal, OTHER_JOURNAL),
    Row("server", check_server),
)


def host_checks(here: Environment) -> list[Row]:
    """The checks of the hosts on this machine."""
    return [Row(file.host.name, partial(check_host, file), _install_command(file)) for file in here.files]


async def run_checks(here: Environment, checks: Sequence[Row] | None = None) -> list[CheckResult]:
    """Run checks (all by default) at the same time, each within its time; the results in the order of the rows."""
    rows = checks or [*CHECKS, *host_checks(here)]
    results: dict[str, list[CheckResult]] = {}

    async def run(row: Row) -> None:
        fix = row.late or f"{invocation()} doctor --seconds 60"
        results[row.name] = [failed(row.name, f"no answer within {here.seconds:g} s", fix)]
        # A check that keeps its time itself has a second more for its results.
        with anyio.move_on_after(here.seconds + 1):
            results[row.name] = await row.check(here)

    async with anyio.create_task_group() as tasks:
        for row in rows:
            tasks.start_soon(run, row)
    found = [result for row in rows for result in results[row.name]]
    if not checks and not here.files:
        found.append(note("hosts", f"none has a configuration file here; {invocation()} install HOST adds our entry"))
    return found
