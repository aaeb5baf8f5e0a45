"""The checks. A new one is a function from the environment to its results, and a row in `CHECKS`."""

from __future__ import annotations

import os
import re
import shlex
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import urlsplit

import anyio
from anyio.to_thread import run_sync
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from pydantic import SecretStr

from luma_mcp import __version__, errors
from luma_mcp.api.agents.client import AgentsClient
from luma_mcp.api.protocol import FEATURES, Account, parse_time
from luma_mcp.api.useapi.client import LumaClient
from luma_mcp.catalog.agents import AGENTS
from luma_mcp.errors import LumaError
from luma_mcp.install.command import NAME, PSYCOPG, PYAV, Command, command_here, invocation, package_command
from luma_mcp.install.config import HostFile, InstallError, is_readable_by_others, present_files, resolve_token
from luma_mcp.install.entry import Entry, bare_path, find_program, is_secret, why_unsafe
from luma_mcp.install.paths import this_system
from luma_mcp.journal.sqlite import COMPANIONS, check_health
from luma_mcp.media.sources import home_folders
from luma_mcp.providers import BY_VARIABLE, PROVIDERS, Provider
from luma_mcp.service import journal_place, output_folder
from luma_mcp.settings import (
    LOOPBACK,
    VARIABLES,
    ProxyVariableError,
    Settings,
    SettingsError,
    find_proxy,
)

if TYPE_CHECKING:
    import httpx2

    Check = Callable[["Environment"], Awaitable[list["CheckResult"]]]

REINSTALL = "Reinstall luma-ray-mcp from its clone: make clean install"
RETRY_TIMEOUT = 1.0
"""Seconds within which a transient failure of the API is tried again."""
NO_TOKEN = "none"  # noqa: S105 - sent if there is none: the response shows that the API is there
SOON = timedelta(days=3)
CHECK_DATABASE = "Check that the database runs, and its address in LUMA_MCP_JOURNAL: docs/hosting.md."
OTHER_JOURNAL = "Set LUMA_MCP_JOURNAL to another file, or to off."
MODES = ("2026-07-28", "legacy")
"""The two ways in which a client starts, as the SDK names them."""


def installed_version(package: str) -> str:
    """The version of a package that this Python would import; empty if there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


@dataclass(frozen=True, slots=True)
class Environment:
    """The input of all checks.

    Attributes:
        settings: those in the `variables`, without the `invalid` ones; of these, the reason why they cannot be used.
        files: the configuration files of hosts on this machine.
        token_file: the file whose entry the token was taken from, if the environment has none.
        seconds: how long a check may wait.
        command: what starts this installation.
        transport, python, version_of: what carries requests, and the versions of Python and of packages; for tests.
    """

    variables: Mapping[str, str]
    settings: Settings
    invalid: Mapping[str, str] = field(default_factory=dict)
    files: tuple[HostFile, ...] = ()
    token_file: HostFile | None = None
    seconds: float = 8.0
    command: Command = field(default_factory=command_here)
    transport: httpx2.AsyncBaseTransport | None = None
    python: tuple[int, ...] = tuple(sys.version_info[:3])
    version_of: Callable[[str], str] = installed_version


def detect(*, seconds: float) -> Environment:
    """The environment of this process."""
    usable, invalid = dict(os.environ), {}
    for row in VARIABLES.values():
        name = row.metadata["name"]
        try:
            Settings.from_environment({name: usable.get(name, "")})
        except SettingsError as error:
            invalid[name] = str(error)
            del usable[name]
    settings, token_file = Settings.from_environment(usable), None
    files = tuple(file for file in present_files() if file.exists)
    # A credential from elsewhere would hide the problem of an unusable one.
    if not invalid.keys() & {*BY_VARIABLE, "LUMA_MCP_API"}:
        settings, token_file = resolve_token(settings, files)
    return Environment(os.environ, settings, invalid, files, token_file, seconds)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One line of the report. `detail` never contains a secret; `fix`: one command or sentence that ends a failure."""

    name: str
    status: Literal["passed", "failed", "note"]
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
    if here.python >= (3, 11):
        return [passed("python", f"{version} ({sys.executable})")]
    return [failed("python", f"{version} is too old", "Install Python 3.11 or later, then luma-ray-mcp.")]


async def check_packages(here: Environment) -> list[CheckResult]:
    """Every package that luma-ray-mcp needs is installed in a version that works."""
    try:
        requirements = metadata.requires(NAME) or []
    except metadata.PackageNotFoundError:
        return [note("packages", "luma-ray-mcp is not installed as a package here: what it needs is not known")]
    results = []
    for requirement in requirements:
        package = re.split(r"[^\w.-]", requirement)[0]
        version = here.version_of(package)
        # A requirement with a marker belongs to an extra.
        if ";" in requirement or (version and _is_in_range(version, requirement)):
            continue
        problem = f"{package} {version} is installed, but" if version else f"{package} is missing:"
        results.append(failed("packages", f"{problem} luma-ray-mcp needs {requirement}", REINSTALL))
    versions = f"luma-ray-mcp {__version__}, mcp {here.version_of('mcp')}"
    return [*(results or [passed("packages", f"{versions}; all in their ranges")]), *_check_pyav(here)]


def _check_pyav(here: Environment) -> list[CheckResult]:
    """PyAV, which is optional, is installed in a version that works."""
    version = here.version_of("av")
    if version and _is_in_range(version, PYAV):
        return []
    state = f"PyAV {version} is too old" if version else "PyAV is not installed"
    lacks = "so there are no contact sheets, no films, and no last frame of videos that come without one"
    return [note("packages", f"{state}, {lacks}", package_command(PYAV))]


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
        elif is_secret(name, value):
            used.append(f"{name} (not shown)")
        else:
            used.append(f"{name}={value}")
    results += _choice_of_api(here.settings)
    return [*results, passed("settings", f"from the environment: {', '.join(used) or 'none'}; the rest by default")]


def _choice_of_api(settings: Settings) -> list[CheckResult]:
    """Which API is used if that is not obvious, and which settings it does not support."""
    results: list[CheckResult] = []
    provider = settings.provider
    if settings.unused and settings.token:
        detail = f"{provider.variable} and {settings.unused} are both set: {provider.title} is used"
        results.append(note("settings", detail, "Set LUMA_MCP_API to useapi or to agents."))
    if settings.email and not FEATURES[settings.api].accounts:
        results.append(note("settings", f"LUMA_MCP_EMAIL has no effect: {provider.title} has no accounts"))
    return results


# The API, the token and the accounts


async def check_api(here: Environment) -> list[CheckResult]:
    """The API can be reached, it accepts the credential, and where there are accounts, they can make videos."""
    if FEATURES[here.settings.api].accounts:
        return await _check_accounts(here)
    return await _check_key(here)


async def _check_key(here: Environment) -> list[CheckResult]:
    """Without accounts: one request that costs nothing."""
    error: LumaError | None = errors.NetworkError("timeout", detail=f"{here.seconds:g} s")
    key = here.settings.token.get_secret_value() if here.settings.token else NO_TOKEN
    async with AgentsClient(key, base_url=here.settings.base_url, transport=here.transport) as client:
        with anyio.move_on_after(here.seconds):
            try:
                await client.check(retry_timeout=RETRY_TIMEOUT)
                error = None
            except LumaError as failure:
                error = failure
    results = [_api_result(here, error), _token_result(here, error)]
    if error is None:
        detail = "whether the account may use it shows only with an order; one without access is refused"
        results.append(note("hdr", detail))
        prices = AGENTS.prices.values()
        low, high = min(prices), max(prices)
        amounts = f"{errors.format_amount(low, 'dollars')} to {errors.format_amount(high, 'dollars')}"
        detail = f"{amounts} a video ({AGENTS.price_source}, {AGENTS.price_date})"
        results.append(note("prices", f"{detail}; {invocation()} options shows what there is"))
    return results


async def _check_accounts(here: Environment) -> list[CheckResult]:
    token = here.settings.token.get_secret_value() if here.settings.token else NO_TOKEN
    error: LumaError | None = errors.NetworkError("timeout", detail=f"{here.seconds:g} s")
    accounts: dict[str, Account] = {}
    unchecked: dict[str, LumaError | str] = {}
    async with LumaClient(token, base_url=here.settings.base_url, transport=here.transport) as luma:

        async def fetch(listed: Account) -> None:
            unchecked[listed.email] = "no answer in time"
            try:
                live = await luma.account(listed.email, retry_timeout=RETRY_TIMEOUT)
            except errors.AccountSession:
                live = replace(listed, session_valid=False)
            except LumaError as failure:
                unchecked[listed.email] = failure
                return
            del unchecked[listed.email]
            # Only the list has the number of its slots.
            live = replace(live, email=listed.email, concurrency=listed.concurrency, executing=listed.executing)
            expires, problem = live.session_expires or listed.session_expires, live.error or listed.error
            accounts[listed.email] = replace(live, session_expires=expires, error=problem)

        with anyio.move_on_after(here.seconds):
            try:
                accounts = {account.email: account for account in await luma.accounts(retry_timeout=RETRY_TIMEOUT)}
                error = None
            except LumaError as failure:
                error = failure
            async with anyio.create_task_group() as tasks:
                for account in accounts.values():
                    tasks.start_soon(fetch, account)
    results = [_api_result(here, error), _token_result(here, error)]
    if error:
        return results
    for email, account in accounts.items():
        results.append(_account_result(account, unchecked.get(email)))
    if not accounts:
        detail = f"none is configured at {here.settings.base_url}"
        results.append(failed("accounts", detail, f"{invocation()} accounts add"))
    elif here.settings.email and here.settings.email not in accounts:
        fix = f"Set LUMA_MCP_EMAIL to one of {', '.join(accounts)}, or unset it."
        results.append(failed("accounts", f"{here.settings.email} (LUMA_MCP_EMAIL) is not configured", fix))
    return results


def _api_result(here: Environment, error: LumaError | None) -> CheckResult:
    url = here.settings.base_url
    proxy = proxy_of(url)
    is_usual = url == here.settings.provider.base_url
    elsewhere = "run it in another network" if is_usual else "unset LUMA_MCP_BASE_URL"
    if isinstance(error, errors.NetworkError):
        fix = _network_fix(url, error.stage, proxy, elsewhere, is_usual=is_usual)
        if error.detail.endswith("_PROXY"):
            fix = f"Set {error.detail} to the URL of a proxy, such as http://proxy.example:8080, or unset it."
        return failed("api", str(error), fix)
    if isinstance(error, errors.Upstream):
        fix = f"Something else answers at this address: sign in to this network, or {elsewhere}."
        if error.status is not None and error.status >= 500:
            fix = f"Wait a while and rerun {invocation()} doctor: this is a failure of the API."
        return failed("api", str(error), fix)
    through = f", through the proxy {proxy}" if proxy else ""
    return passed("api", f"{url} answers{through}")


def _network_fix(url: str, stage: errors.FailureStage, proxy: str | None, elsewhere: str, *, is_usual: bool) -> str:
    host = urlsplit(url).hostname
    fixes: dict[errors.FailureStage, str] = {
        "dns": f"Connect this machine to a network whose DNS knows {host}.",
        "tls": "Set SSL_CERT_FILE to the PEM file of the authority that your network's certificates come from.",
        "timeout": f"Allow more time: {invocation()} doctor --seconds 30",
        "broken": f"Allow HTTPS between this machine and {host}, or {elsewhere}.",
        "unsendable": "Unset those of SSL_CERT_FILE, SSL_CERT_DIR, HTTPS_PROXY and ALL_PROXY that are not valid.",
    }
    if not is_usual:
        fixes["dns"] = f"Correct LUMA_MCP_BASE_URL ({host} is not known), or unset it."
        fixes["refused"] = f"Start the server that should answer at {url}, or {elsewhere}."
    if proxy and stage in ("dns", "proxy", "refused"):
        return f"Set HTTPS_PROXY to a proxy that works ({proxy} does not), or unset it."
    return fixes.get(stage, f"Allow connections to {host} (a firewall, or no network?).")


def proxy_of(url: str) -> str | None:
    """Host and port of the proxy that requests go through, without its user and password; None for no proxy."""
    if urlsplit(url).hostname in LOOPBACK:
        return None
    try:
        proxy = find_proxy(url)
    except ProxyVariableError:
        return None
    return urlsplit(proxy).netloc.rpartition("@")[2] if proxy else None


def _token_result(here: Environment, error: LumaError | None) -> CheckResult:
    provider = here.settings.provider
    name, fix = provider.short_noun, _new_credential(provider)
    if here.settings.token is None:
        detail = f"{provider.variable} is not set here or in the entry of a host"
        if here.settings.unused:
            detail = f"{detail}; {here.settings.unused} is set, but LUMA_MCP_API selects {provider.title}"
            fix = f"{fix} Or unset LUMA_MCP_API."
        elif not here.settings.is_api_stated:
            ways = [f"{each.variable} ({each.title})" for each in PROVIDERS.values()]
            detail = f"neither {' nor '.join(ways)} is set here or in the entry of a host"
            fix = " Or: ".join(map(_new_credential, PROVIDERS.values()))
        return failed(name, detail, f"{fix} To try without one: {invocation()} doctor --simulate")
    source = f"the {name} of the environment"
    if here.settings.simulated:
        source = f"the {name} of the simulation"
    elif here.token_file:
        source, fix = f"the {name} of {here.token_file.host.name}'s entry", _install_command(here.token_file)
    if isinstance(error, errors.Unauthorized):
        return failed(name, f"the API does not accept {source}", fix)
    if refusal := _describe_refusal(error, here.settings):
        return failed(name, *refusal)
    if error:
        return note(name, f"{source} is set; whether the API accepts it is not known")
    return passed(name, f"{source} is accepted (not shown)")


def _describe_refusal(error: LumaError | None, settings: Settings) -> tuple[str, str] | None:
    """What is wrong although the credential may be right, and its fix; None if that is not known."""
    provider = settings.provider
    if isinstance(error, errors.PaymentRequired):
        renew = "Renew the subscription" if provider.unit == "credits" else "Add credits"
        return str(error), f"{renew} at {provider.console}."
    if isinstance(error, errors.AccessDenied):
        return str(error), f"Check the state of your account at {provider.console}."
    if isinstance(error, errors.NotFound) and error.what == "address":
        fix = f"Correct LUMA_MCP_BASE_URL, or unset it: it is {provider.base_url} then."
        return f"{settings.base_url} is not the address of {provider.title}", fix
    return None


def _new_credential(provider: Provider) -> str:
    return (
        f"Set {provider.variable} to the complete {provider.noun} that {provider.console} shows ({provider.example})."
    )


def _account_result(account: Account, unchecked: LumaError | str | None) -> CheckResult:
    """What an account can do now. `unchecked`: why its session could not be checked."""
    name, now, expires = f"account {account.email}", datetime.now(UTC), parse_time(account.session_expires)
    # Quoted, because the address comes from the API, and the command is pasted into a shell.
    refresh = f"{invocation()} accounts refresh {shlex.quote(account.email)}"
    is_expired = account.session_valid is False
    if account.session_valid is None and expires:
        # The API writes some times without a zone: a day makes up for it.
        is_expired = expires < now - timedelta(days=1)
    if is_expired or account.error:
        problem = "its session has expired" if is_expired else "it has an error"
        if account.error:
            problem = f'{problem}; the API says: "{account.error}"'
        return failed(name, problem, refresh)
    slots = "an unknown number" if account.concurrency is None else account.concurrency
    detail = f"{account.executing or 0} of {slots} slots in use"
    if expires:
        detail = f"{detail}; session until {expires:%Y-%m-%d}"
    usage, limit = map((account.credits or {}).get, ("usage", "limit"))
    if isinstance(usage, int | float) and isinstance(limit, int | float):
        detail = f"{detail}; credits {usage:g} of {limit:g} used"
    if unchecked:
        return note(name, f"{detail}; its session could not be checked: {unchecked}")
    if expires and expires < now + SOON:
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
    folders = here.settings.input_dirs
    if folders is None:
        return [passed("input folders", f"{', '.join(map(str, home_folders())) or 'none'}, without hidden folders")]
    failures = await run_sync(_input_failures, folders, abandon_on_cancel=True)
    return failures or [passed("input folders", ", ".join(map(str, folders)))]


def _input_failures(folders: Sequence[Path]) -> list[CheckResult]:
    name, results = "input folders", []
    for folder in folders:
        try:
            next(folder.iterdir(), None)
        except FileNotFoundError:
            results.append(failed(name, f"{folder} does not exist", shlex.join(["mkdir", "-p", str(folder)])))
        except NotADirectoryError:
            results.append(failed(name, f"{folder} is not a folder", f"Remove {folder} from LUMA_MCP_INPUT_DIRS."))
        except OSError as error:
            # The folder is closed, or one in which it is.
            closed = next((place for place in reversed(folder.parents) if not os.access(place, os.X_OK)), folder)
            fix = shlex.join(["chmod", "u+rx", str(closed)])
            results.append(failed(name, f"{folder} cannot be read: {error.strerror}", fix))
    return results


async def check_journal(here: Environment) -> list[CheckResult]:
    """Orders can be recorded."""
    place = journal_place(here.settings)
    if here.settings.simulated:
        return [note("journal", "a simulation has none")]
    if place is None:
        return [note("journal", "LUMA_MCP_JOURNAL is off: orders are not found again after a crash")]
    if isinstance(place, SecretStr):
        return [await run_sync(_database_result, place, here.settings.journal_migrate, abandon_on_cancel=True)]
    return [await run_sync(_journal_result, place, abandon_on_cancel=True)]


def _database_result(address: SecretStr, may_migrate: bool) -> CheckResult:
    """The check of a journal in a database, whose address is not shown."""
    try:
        from luma_mcp.journal.postgres import check_health
    except ImportError:
        return failed("journal", "psycopg is missing, which a journal in a database needs", package_command(PSYCOPG))
    health = check_health(address)
    migrate = f"{invocation()} migrate"
    if health.state == "ok":
        orders = "1 order" if health.orders == 1 else f"{health.orders} orders"
        return passed("journal", f"a PostgreSQL database: usable, {orders} of all who share it")
    if health.state in ("missing", "older") and may_migrate:
        return passed("journal", "a PostgreSQL database: its tables are made or updated with the first order")
    reason = health.reason or "it has no tables yet"
    fix = {"missing": migrate, "older": migrate, "newer": "Update luma-ray-mcp."}.get(health.state, CHECK_DATABASE)
    return failed("journal", f"the PostgreSQL database cannot be used: {reason}. Nothing is ordered", fix)


def _journal_result(path: Path) -> CheckResult:
    health = check_health(path)
    copies = ""
    if health.damaged_copies:
        copies = f"; a damaged one is kept as {health.damaged_copies[-1].name}"
    if health.state == "ok":
        orders = "1 order" if health.orders == 1 else f"{health.orders} orders"
        return passed("journal", f"{path}: intact, {orders}{copies}")
    if health.state == "missing":
        if reason := _why_not_writable(path.parent):
            return failed("journal", f"{path} cannot be created: {reason}", OTHER_JOURNAL)
        return passed("journal", f"{path}, created with the first order{copies}")
    close = f"Close the program that has {path} open: a database viewer, a backup, or a server that hangs."
    problem, fix = {
        "locked": ("is locked by another process", close),
        "damaged": ("is damaged", _move_journal(path)),
        "newer": ("was written by a newer luma-ray-mcp", f"Update luma-ray-mcp. Or: {OTHER_JOURNAL}"),
        "foreign": ("belongs to another program", OTHER_JOURNAL),
        "unusable": ("cannot be used", OTHER_JOURNAL),
    }[health.state]
    # Not Path.is_file: before Python 3.14 it raises PermissionError below a folder that cannot be read.
    if health.state == "unusable" and os.path.isfile(path):  # noqa: PTH113
        fix = f"chmod u+rwx {shlex.quote(str(path.parent))} && chmod u+rw {shlex.quote(str(path))}"
    if health.reason:
        problem = f"{problem} ({health.reason})"
    return failed("journal", f"{path} {problem}: orders are kept elsewhere, where other servers do not see them", fix)


def _move_journal(path: Path) -> str:
    """The command that moves a journal to a new folder, whose name is that of a copy which a server sets aside."""
    # With what SQLite keeps beside it: parts of one file must not get into the next.
    parts = [f"{path}{end}" for end in ("", *COMPANIONS) if os.path.lexists(f"{path}{end}")]
    folder = f"{path}.damaged-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    return f"mkdir {shlex.quote(folder)} && {shlex.join(['mv', *parts, folder])}"


# The server


class StartFailed(Exception):
    """A command did not become a server that answers."""


class Server(NamedTuple):
    """A server that answered."""

    name: str
    version: str
    protocol: str
    tools: list[str]


async def check_server(here: Environment) -> list[CheckResult]:
    """The installation starts with the settings of the environment, and answers clients of both protocols."""
    args, fix = here.command.args, REINSTALL
    if here.settings.simulated:
        args = (*args, "--simulate")
    if here.invalid:
        fix = f"Set {' and '.join(here.invalid)} as the lines above say, or unset them."
    servers: dict[str, Server] = {}
    problems: list[str] = []

    async def start(mode: str) -> None:
        try:
            servers[mode] = await start_server(here.command.program, args, here.variables, mode=mode)
        except StartFailed as error:
            problems.append(str(error))
        else:
            if not servers[mode].tools:
                problems.append("lists no tools")

    async with anyio.create_task_group() as tasks:
        for mode in MODES:
            tasks.start_soon(start, mode)
    if problems:
        return [failed("server", problems[0], fix)]
    newest, older = servers[MODES[0]], servers[MODES[1]]
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
                tools = [tool.name for tool in (await client.list_tools()).tools]
                info = client.server_info
                return Server(info.name if info else "", info.version if info else "", client.protocol_version, tools)
        except Exception as error:  # noqa: BLE001 - whatever it is, this is not a server
            secrets = [value for name, value in environment.items() if value and is_secret(name, value)]
            raise StartFailed(_why_failed(error, ending, log, secrets)) from None


def _why_failed(error: BaseException, ending: Path, log: IO[str], secrets: Sequence[str]) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    reason = f"does not answer: {type(error).__name__}: {error}"
    if ending.exists():
        reason = ending.read_text()
    log.seek(0)
    text = log.read()
    # Mask secrets before the line is cut, so that no part of one remains.
    for secret in secrets:
        text = text.replace(secret, "***")
    lines = text.strip().splitlines()
    return f'{reason}; it says: "{lines[-1].strip()[:300]}"' if lines else reason


_LAUNCHER = """
import subprocess, sys
try:
    reason = f"ends with exit code {subprocess.call(sys.argv[2:])}"
except OSError as error:
    reason = f"cannot be started: {error.strerror}"
open(sys.argv[1], "w").write(reason)
"""
"""Starts a command and records how it ended, which the SDK does not report."""


# The hosts


async def check_host(file: HostFile, here: Environment) -> list[CheckResult]:
    """A host has our entry, and what it runs starts, answers, and can use its own settings."""
    name, entry, fix = file.host.name, file.entry, _install_command(file)
    if isinstance(file.content, InstallError):
        return [failed(name, str(file.content), f"Correct the file; {fix} --print shows the entry.")]
    if entry is None or entry.origin == "other":
        detail = f"there is no entry of ours in {file.path}"
        if entry:
            detail = f"{detail}: its server luma is another one ({entry.safe_command}), which was not started"
        return [note(name, detail, fix)]
    path = entry.env.get("PATH") or bare_path(this_system(), here.variables)
    program = find_program(entry.command, path)
    if reason := why_unsafe(entry, program):
        # If the host has started the unrelated program, it may have read the token.
        detail = f"its entry runs {entry.safe_command}, {reason}. It was not started here, but {name} starts it"
        if not entry.is_ours:
            fix = f"{fix} --force"
        rotate = f"then replace your {entry.provider.noun} at {entry.provider.console}: it may have been read"
        return [failed(name, f"{detail} with your {entry.provider.noun}", f"{fix}, {rotate}.")]
    settings = _parse_settings(entry.env)
    try:
        server = await _start_entry(entry, program, path)
    except StartFailed as error:
        if settings is None:
            fix = f"Correct its settings in {file.path}."
        return [failed(name, f"its command {entry.command} {error}", fix)]
    settings = settings or Settings()
    result = _start_result(here, file, entry, settings, server)
    if result.status != "passed":
        return [result]
    return [result, *await _entry_results(here, file, entry, settings)]


def _start_result(here: Environment, file: HostFile, entry: Entry, settings: Settings, server: Server) -> CheckResult:
    name = file.host.name
    if settings.token or "--simulate" in entry.args:
        version = server.version
        if version != __version__:
            version = f"{version}, not {__version__} as here"
        return passed(name, f"{entry.command} starts: luma-ray-mcp {version}, {len(server.tools)} tools")
    variable, noun = entry.provider.variable, entry.provider.short_noun
    if variable in entry.credentials:
        return note(name, f"it starts; the host fills in the {noun}, so whether it is accepted is not known")
    if settings.unused:
        detail = f"it starts, but its entry has no {variable}, which LUMA_MCP_API needs; it has {settings.unused}"
        return failed(name, f"{detail}: nothing can be ordered", _install_command(file))
    if any(map(here.variables.get, BY_VARIABLE)):
        return note(name, f"it starts; its entry has no {noun}, and only some hosts pass on that of the terminal")
    return failed(name, f"it starts, but its entry has no {noun}: nothing can be ordered", _install_command(file))


async def _start_entry(entry: Entry, program: str | None, path: str) -> Server:
    if program is None and Path(entry.command).is_absolute():
        raise StartFailed("cannot be found, or cannot be executed")
    if program is None:
        raise StartFailed("cannot be found: its path is not absolute, and hosts do not have a shell's PATH")
    server = await start_server(program, entry.args, {"PATH": path, **entry.env})
    if server.name != NAME:
        raise StartFailed(f"is another server ({server.name})")
    return server


async def _entry_results(here: Environment, file: HostFile, entry: Entry, settings: Settings) -> list[CheckResult]:
    """What is wrong with an entry's own settings, which this terminal may know nothing of."""
    name, results = file.host.name, []
    theirs = replace(settings, simulated="--simulate" in entry.args)
    for name_of_variable, value_of, check in SETTING_CHECKS:
        variable = name_of_variable or entry.provider.variable
        if value_of(theirs) in (None, value_of(here.settings)):
            continue
        for result in await check(replace(here, settings=theirs, token_file=file)):
            fix = result.fix
            if variable in fix:
                fix = f"{fix.rstrip('.')}, then write that into the entry: {invocation()} install {file.host.id}"
            if result.status == "failed":
                results.append(failed(name, f"{result.name} of its entry ({variable}): {result.detail}", fix))
    results += _notes_on_entry(file, entry, settings)
    return results


def _notes_on_entry(file: HostFile, entry: Entry, settings: Settings) -> list[CheckResult]:
    """Peculiarities of an entry that may be intended."""
    name = file.host.name
    results: list[CheckResult] = []
    if settings.token and settings.unused:
        detail = f"its entry has {entry.provider.variable} and {settings.unused}: {entry.provider.title} is used"
        results.append(note(name, detail, f"Remove one of them from {file.path}, or set LUMA_MCP_API there."))
    if settings.confirm != "never" and not file.host.asks:
        detail = f"LUMA_MCP_CONFIRM={settings.confirm} has no effect: {name} is not known to show a server's questions"
        results.append(note(name, f"{detail}; LUMA_MCP_MAX_JOBS_PER_HOUR limits its orders"))
    for field_name, value in file.host.fields.items():
        if entry.numbers.get(field_name, 0) <= file.host.wait:
            detail = f"a call waits up to {file.host.wait} s for its video, but {field_name} does not allow that"
            results.append(note(name, detail, f"Set {field_name} to {value} in {file.path}."))
    if settings.token and is_readable_by_others(file.path):
        noun = entry.provider.short_noun
        detail = f"{file.path} contains the {noun}, and other users of this machine can read it"
        results.append(note(name, detail, shlex.join(["chmod", "600", str(file.path)])))
    return results


SETTING_CHECKS: tuple[tuple[str, Callable[[Settings], object], Check], ...] = (
    (
        "",
        lambda settings: None if settings.simulated else (settings.api, settings.token, settings.base_url),
        check_api,
    ),
    ("LUMA_MCP_OUTPUT_DIR", output_folder, check_output),
    ("LUMA_MCP_INPUT_DIRS", lambda settings: settings.input_dirs, check_inputs),
    ("LUMA_MCP_JOURNAL", journal_place, check_journal),
)
"""The checks of settings that an entry may have otherwise than this terminal: variable, value, check.

The variable of the credential is that of the entry's API.
"""


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


# The table


class Row(NamedTuple):
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
