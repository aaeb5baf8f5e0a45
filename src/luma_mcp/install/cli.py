"""The commands `install` and `uninstall`: our entry in the hosts' configuration files, every step visible."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

import anyio
import click
from pydantic import SecretStr

from luma_mcp.errors import AccessDenied, LumaError, Unauthorized
from luma_mcp.hosts import Host
from luma_mcp.install import paths
from luma_mcp.install.command import command_here, invocation
from luma_mcp.install.config import (
    Changed,
    Config,
    HostFile,
    InstallError,
    Unparsable,
    backups_with,
    is_readable_by_others,
    present_files,
    replace,
)
from luma_mcp.install.entry import NAME, Entry, format_entry, is_secret, masked
from luma_mcp.providers import AGENTS, BY_VARIABLE, PROVIDERS, Provider
from luma_mcp.settings import HOSTING_VARIABLES, VARIABLES, Settings, SettingsError
from luma_mcp.text import decode_utf8

Credential = tuple[Provider, str]
TRIES = 3
HOST_IDS = ", ".join(host.id for host in paths.INSTALLABLE)
EXAMPLE = "Make a five-second draft of a fox walking through fresh snow at dawn."
NOT_SIMULATED = {"LUMA_MCP_BASE_URL", "LUMA_MCP_EMAIL"}
"""Variables that a simulation does not use."""
NETWORK_VARIABLES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
NOT_PASSED_ON = (
    "set in this terminal, which a host usually does not see. If it does not reach the API, add the same to the env of "
    "the entry."
)
ROTATE_TOKEN = "It runs a package that belongs to an unrelated project: replace your {noun} at {console}."  # noqa: S105 - a sentence


@dataclass(frozen=True, slots=True)
class InstallOptions:
    """The options of the two commands. `force`: also replace or remove a server of our name that is not ours."""

    everywhere: bool = False
    simulate: bool = False
    yes: bool = False
    only_print: bool = False
    force: bool = False
    check: bool = True


def install(host_name: str | None, options: InstallOptions) -> None:
    """Write our entry into the configuration of a host; exit with 1 if that was not done.

    `host_name`: an id or a name; None to choose among the hosts that are found.
    """
    try:
        settings = Settings.from_environment(os.environ)
    except SettingsError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    command = command_here()
    program = _as_utf8(command.program, "The path of this program")
    args, env = command.args, _entry_settings(options)
    if options.simulate:
        args = (*args, "--simulate")
        if settings.api == AGENTS.name:
            # Stated, because the credential that implies the API here is not in the entry.
            env["LUMA_MCP_API"] = AGENTS.name
    if options.only_print:
        if host_name is None:
            raise click.ClickException(_name_a_host("install"))
        host, path = _resolve_host(host_name)
        if not options.simulate:
            env = {settings.provider.variable: settings.provider.placeholder, **env}
        click.echo(f"For {path}:", err=True)
        click.echo(format_entry(host, Entry(program, args, env)).rstrip("\n"))
        return
    files = _choose_files(host_name, "install", options)
    for warning in [*command.warnings, *([] if options.simulate else _warnings(settings))]:
        click.secho(warning, fg="yellow", err=True)
    work: list[tuple[HostFile, Entry | None]] = []
    resolve = cache(partial(_resolve_credential, settings, check=options.check))
    for file, present in zip(files, _present_credentials(files, settings), strict=True):
        wanted = Entry(program, args, env)
        if not options.simulate:
            provider, token = resolve(present)
            wanted = Entry(program, args, {provider.variable: token, **_select_api(file, provider, env), **env})
        work.append((file, wanted))
    _process_all(work, options)


def _warnings(settings: Settings) -> list[str]:
    """What to know about the settings before they are written."""
    warnings: list[str] = []
    if settings.unused and settings.token:
        both = f"{settings.provider.variable} and {settings.unused} are both set"
        warnings.append(f"{both}: the entry is for {settings.provider.title}. LUMA_MCP_API chooses the other.")
    network = [name for name in NETWORK_VARIABLES if os.environ.get(name)]
    if network:
        warnings.append(f"{' and '.join(network)}: {NOT_PASSED_ON}")
    return warnings


def _select_api(file: HostFile, provider: Provider, env: Mapping[str, str]) -> dict[str, str]:
    """Get the variables, besides a credential, with which an entry uses that API, whatever variables it already has."""
    before = file.entry
    if before is None or not before.is_ours:
        return {}
    kept = {**before.env, provider.variable: "set", **env}
    added: dict[str, str] = {}
    if Entry("", (), kept).provider != provider:
        added["LUMA_MCP_API"] = provider.name
    if before.provider != provider and before.env.get("LUMA_MCP_BASE_URL"):
        # It is the address of the other API, which is not given this credential.
        added["LUMA_MCP_BASE_URL"] = provider.base_url
    return added


def uninstall(host_name: str | None, options: InstallOptions) -> None:
    """Remove our entry from the configuration of a host; exit with 1 if that was not done.

    `host_name`: an id or a name; None to choose among the hosts that have the entry.
    """
    files = _choose_files(host_name, "uninstall", options)
    _process_all([(file, None) for file in files], options)


def _entry_settings(options: InstallOptions) -> dict[str, str]:
    """The settings of this terminal without the secrets. The host does not see them otherwise."""
    env = {}
    hosting = {row.metadata["name"] for row in HOSTING_VARIABLES.values()}
    for name in sorted({row.metadata["name"] for row in VARIABLES.values()} - hosting):
        value = os.environ.get(name, "").strip()
        if is_secret(name, value) or (options.simulate and name in NOT_SIMULATED):
            continue
        if value and "${" not in value:
            env[name] = _as_utf8(value, name)
    return env


def _as_utf8(text: str, subject: str) -> str:
    """A text from the system as a file contains it, also in a terminal that decodes it otherwise."""
    try:
        return decode_utf8(text)
    except UnicodeError as error:
        reason = "is not UTF-8, and a configuration file can contain nothing else. Nothing was changed."
        raise click.ClickException(f"{subject} {reason}") from error


# The hosts


def _choose_files(host_name: str | None, command: str, options: InstallOptions) -> list[HostFile]:
    """The files to work on."""
    if host_name:
        return [HostFile.load(*_resolve_host(host_name))]
    present = present_files()
    if command == "uninstall":
        # A file that cannot be read may have the entry.
        present = [file for file in present if file.entry or isinstance(file.content, InstallError)]
    if not present:
        raise click.ClickException(_name_a_host(command))
    if options.everywhere:
        return present
    if not sys.stdin.isatty():
        found = ", ".join(file.host.id for file in present)
        raise click.ClickException(f"{_name_a_host(command)} Found here: {found} (--all for all of them).")
    click.echo("Found here:")
    for number, file in enumerate(present, 1):
        click.echo(f"  {number}  {file.host.name:<16}{file.path}")
    chosen: list[HostFile] = click.prompt(
        'Which one (number, name or "all")', value_proc=lambda answer: _parse_choice(answer.strip(), present)
    )
    return chosen


def _parse_choice(answer: str, present: list[HostFile]) -> list[HostFile]:
    if answer.casefold() == "all":
        return present
    if answer.isdecimal() and 1 <= int(answer) <= len(present):
        return [present[int(answer) - 1]]
    try:
        return [HostFile.load(*_resolve_host(answer))]
    except click.ClickException as error:
        # The prompt shows this error and asks again.
        raise click.BadParameter(error.message) from error


def _resolve_host(text: str) -> tuple[Host, Path]:
    """The host with the name that the user typed, with its file."""
    matches = paths.match_hosts(text)
    if not matches:
        closest = paths.closest_host(text)
        suggestion = f" Did you mean {closest.id}?" if closest else ""
        raise click.ClickException(f'Unknown host "{text}".{suggestion} The hosts are {HOST_IDS}.')
    if len(matches) > 1:
        raise click.ClickException(f'"{text}" can mean {" or ".join(host.id for host in matches)}.')
    host = matches[0]
    path = paths.find_config(host, paths.this_system(), os.environ, Path.home())
    if path is None:
        raise click.ClickException(f"{host.name} cannot start servers on this machine, so it needs no entry.")
    return host, path


def _name_a_host(command: str) -> str:
    return f"Name a host: {invocation()} {command} HOST, where HOST is one of {HOST_IDS}."


# The credential


def _present_credentials(files: list[HostFile], settings: Settings) -> list[Credential | None]:
    """The credential that our entry has in each file, and its API.

    None if there is none, if the environment has one, or if it is for another API than the one that is stated.
    """
    present: list[Credential | None] = []
    for file in files:
        found = None
        if settings.token is None and file.entry and file.entry.is_ours:
            provider = settings.provider if settings.is_api_stated else file.entry.provider
            if value := file.entry.credentials.get(provider.variable):
                found = (provider, value)
        present.append(found)
    known = set(present) - {None}
    if len(known) > 1:
        return present
    # The credential of one host is right for another that has none yet.
    return [next(iter(known), None)] * len(files)


def _resolve_credential(
    settings: Settings, present: tuple[Provider, str] | None, *, check: bool
) -> tuple[Provider, str]:
    """An API and a credential that it accepts, as far as can be checked: of the settings, `present`, or typed in."""
    found: Settings | None = None
    if settings.token:
        found = settings
    elif present:
        provider, value = present
        if "${" in value:
            click.echo(
                f"The {provider.short_noun} in the entry stays: the host fills it in, so it is not checked here."
            )
            return provider, value
        click.echo(f"{provider.variable} is not set here: the {provider.short_noun} in the entry is used.")
        found = _parse_credential(value, settings, provider)
    for _ in range(TRIES):
        # The first one may be unusable, or not accepted.
        if found is None:
            if not sys.stdin.isatty():
                raise click.ClickException(_no_credential(settings))
            found = _parse_credential(click.prompt(_question(settings), hide_input=True), settings)
        if found and found.token and (not check or _is_accepted(found)):
            return found.provider, found.token.get_secret_value()
        found = None
        if not sys.stdin.isatty():
            break
    raise click.ClickException("Nothing was changed, because there is no token or key that an API accepts.")


def _offered(settings: Settings) -> list[Provider]:
    """The APIs that a credential may be for."""
    return [settings.provider] if settings.is_api_stated else list(PROVIDERS.values())


def _question(settings: Settings) -> str:
    ways = [f"{provider.noun} from {provider.site} ({provider.example})" for provider in _offered(settings)]
    return f"{' or '.join(ways)}; it is not shown"


def _no_credential(settings: Settings) -> str:
    offered = _offered(settings)
    noun = " or ".join(provider.short_noun for provider in offered)
    ways = [f"{provider.variable} to your {provider.noun} from {provider.console}" for provider in offered]
    instead = ""
    if settings.unused:
        instead = f" {settings.unused} is set, but LUMA_MCP_API selects {settings.provider.title}."
    return (
        f"There is no {noun}. Set {', or '.join(ways)}; or run this in a terminal and enter it there.{instead} To try "
        "without one: --simulate."
    )


def _parse_credential(text: str, settings: Settings, provider: Provider | None = None) -> Settings | None:
    """The settings with the credential in a text; None if there is none that can be used.

    `provider`: the API that it is for; None to find that out by how it begins.
    """
    if provider is None:
        provider = settings.provider
        bare = re.sub(r"^Bearer\s+", "", text.strip())
        for offered in _offered(settings):
            if bare.startswith(offered.begins):
                provider = offered
    others = dict.fromkeys(BY_VARIABLE, "")
    try:
        return Settings.from_environment({**os.environ, **others, provider.variable: text})
    except SettingsError as error:
        click.echo(f"{error}.")
        return None


def _is_accepted(settings: Settings) -> bool:
    noun = settings.provider.short_noun
    try:
        accounts = anyio.run(_check_credential, settings)
    except (AccessDenied, Unauthorized) as error:
        click.secho(str(error), fg="red", err=True)
        return False
    except LumaError as error:
        click.secho(f"The {noun} could not be checked. {error}", fg="yellow", err=True)
        if not _confirm("Continue without the check?", option="--no-check"):
            raise click.ClickException("Nothing was changed.") from error
        return True
    if accounts is None:
        click.echo(f"The {noun} works.")
    elif accounts == 0:
        text = f"The {noun} works, but no Luma account is configured for it yet, so no video can be made."
        click.secho(f"{text} Add yours: {invocation()} accounts add", fg="yellow", err=True)
    else:
        click.echo(f"The {noun} works, with {accounts} Luma {'account' if accounts == 1 else 'accounts'}.")
    return True


async def _check_credential(settings: Settings) -> int | None:
    """Send the API one request that costs nothing; get the number of accounts, None where there are none to add."""
    token = settings.token.get_secret_value() if settings.token else ""
    # The other steps need no HTTP client.
    if settings.api == AGENTS.name:
        from luma_mcp.api.agents.client import AgentsClient

        async with AgentsClient(token, base_url=settings.base_url) as agents:
            await agents.check(retry_timeout=0)
        return None
    from luma_mcp.api.useapi.client import LumaClient

    async with LumaClient(token, base_url=settings.base_url) as luma:
        return len(await luma.accounts(retry_timeout=0))


# The files


def _process_all(work: Sequence[tuple[HostFile, Entry | None]], options: InstallOptions) -> None:
    """Write an entry into each file, or remove the entry where None is wanted."""
    failures = 0
    for file, wanted in work:
        # Not Path.is_symlink: before Python 3.14 it raises PermissionError below a folder that cannot be read.
        is_link = os.path.islink(file.path)  # noqa: PTH114
        click.echo(f"{click.style(file.host.name, bold=True)}: {file.path}", nl=not is_link)
        if is_link:
            click.echo(f" (a link to {os.path.realpath(file.path)})")
        try:
            done = _process(file, wanted, options)
        except InstallError as error:
            click.secho(f"Error: {error}.", fg="red", err=True)
            advice = error.fix
            if isinstance(error, Unparsable):
                by_hand = f'remove the entry "{NAME}" from it by hand.'
                if wanted:
                    by_hand = f"add the entry by hand: {invocation()} install {file.host.id} --print shows it."
                advice = f"{advice} Or {by_hand}"
            click.echo(advice, err=True)
            done = False
        if not done:
            failures += 1
            click.echo("Nothing was changed.")
    if failures:
        sys.exit(1)


def _process(file: HostFile, wanted: Entry | None, options: InstallOptions) -> bool:
    """Change one file; False if the person declines."""
    for attempt in range(TRIES):
        config, entry = file.content, file.entry
        if isinstance(config, InstallError):
            raise config
        changed = config.with_entry(wanted) if wanted else config.without_entry()
        if changed is config:
            click.echo("There is nothing to change.")
            _warn_of_readers(config)
            return True
        _show(config, changed, wanted)
        if not _is_confirmed(entry, options):
            return False
        try:
            backup = replace(config.snapshot, changed.data, datetime.now(UTC))
        except Changed:
            if attempt + 1 == TRIES:
                raise
            click.echo("Another program has changed the file meanwhile. Once more, with its present content:")
            file = HostFile.load(file.host, file.path)
            continue
        # A new file has no backup.
        click.secho("Saved.", fg="green", nl=not backup)
        if backup:
            click.echo(f" Backup: {backup} · delete it once everything works")
        _warn_of_readers(changed)
        _print_next_steps(file, entry, wanted)
        return True
    return False


def _print_next_steps(file: HostFile, before: Entry | None, wanted: Entry | None) -> None:
    if before:
        for variable, secret in before.secrets.items():
            noun = BY_VARIABLE[variable].short_noun
            for copy in backups_with(file.path, secret):
                click.secho(f"The backup {copy} contains your {noun}: delete it once everything works.", fg="yellow")
    if wanted:
        click.echo(f"{file.host.restart} Then ask: {EXAMPLE}")
    elif before:
        from luma_mcp.service import journal_place, output_folder

        places = ""
        # Where the server of the entry has put them.
        with suppress(SettingsError):
            settings = Settings.from_environment(before.env)
            journal = journal_place(settings)
            shown = "the journal's database" if isinstance(journal, SecretStr) else journal or "no journal"
            places = f": {output_folder(settings)}, {shown}"
        click.echo(f"Your videos and the journal of your orders stay{places}.")


def _is_confirmed(entry: Entry | None, options: InstallOptions) -> bool:
    if entry and not entry.is_ours:
        click.secho(f'The server "{NAME}" in this file is not luma-ray-mcp: {entry.safe_command}.', fg="yellow")
        if entry.origin == "index":
            provider = entry.provider
            click.secho(ROTATE_TOKEN.format(noun=provider.noun, console=provider.console), fg="yellow")
        if not options.force and not _confirm("Change it anyway?", option="--force"):
            return False
    return options.yes or _confirm("Write it?", option="--yes")


def _confirm(question: str, *, option: str) -> bool:
    """Ask the user; raise an error if there is no terminal. `option`: the one that would have answered."""
    if not sys.stdin.isatty():
        raise click.ClickException(f"There is no terminal to ask in, so this was not changed. Add {option} to go on.")
    return click.confirm(question, default=False)


def _show(config: Config, changed: Config, wanted: Entry | None) -> None:
    """Print the entry that is written or removed, without its secrets and without the rest of the file."""
    before, after = config.entry, changed.entry
    verb, color, shown, known = "written", "green", after, wanted
    if wanted is None:
        verb, color, shown, known = "removed", "red", before, Entry("")
    click.echo(f"This entry is {verb}; everything else in the file stays as it is:")
    if shown and known:
        click.secho(format_entry(config.host, masked(shown, known)).rstrip("\n"), fg=color)
    if after is None:
        return
    if before and before.command != after.command:
        click.echo(f"It replaces one that runs {before.safe_command}.")
    if before is None or not before.secrets:
        return
    provider = after.provider
    if before.provider != provider:
        click.echo(f"It uses {provider.title}; before, it used {before.provider.title}.")
    elif before.secrets.get(provider.variable) != after.secrets.get(provider.variable):
        click.echo(f"It contains another {provider.noun} than before.")
    for variable in after.secrets.keys() - {provider.variable}:
        click.echo(f"{variable} stays in it, unused: remove it by hand if you do not need it there.")


def _warn_of_readers(config: Config) -> None:
    """Say that others can read a secret. The mode of an existing file is its owner's decision, so it stays."""
    if config.entry and config.entry.secrets and is_readable_by_others(config.snapshot.path):
        noun = config.entry.provider.short_noun
        text = f"Other users of this machine can read this file and the {noun} in it. To prevent that:"
        click.secho(f"{text} chmod 600 {shlex.quote(str(config.snapshot.path))}", fg="yellow")
