"""The commands `install` and `uninstall`: our entry in the hosts' configuration files, every step visible."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click

from luma_mcp.errors import LumaError, Unauthorized
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
    replace,
)
from luma_mcp.install.entry import NAME, PLACEHOLDER, TOKEN, Entry, format_entry, masked
from luma_mcp.settings import VARIABLES, Settings, SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luma_mcp.hosts import Host

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
NO_TOKEN = (
    f"There is no token. Set {TOKEN} to your API token from https://useapi.net, or run this in a terminal and enter it "
    "there. To try without one: --simulate."
)
ROTATE_TOKEN = "It runs a package that belongs to an unrelated project: replace your API token at https://useapi.net."  # noqa: S105 - a sentence


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
    args, env = command.args, _entry_settings(options)
    if options.simulate:
        args = (*args, "--simulate")
    if options.only_print:
        if host_name is None:
            raise click.ClickException(_name_a_host("install"))
        host, path = _resolve_host(host_name)
        token = {} if options.simulate else {TOKEN: PLACEHOLDER}
        click.echo(f"For {path}:", err=True)
        click.echo(format_entry(host, Entry(command.program, args, token | env)).rstrip("\n"))
        return
    files = _choose_files(host_name, "install", _present_files(), options)
    warnings = list(command.warnings)
    network = [name for name in NETWORK_VARIABLES if os.environ.get(name)]
    if network and not options.simulate:
        warnings.append(f"{' and '.join(network)}: {NOT_PASSED_ON}")
    for warning in warnings:
        click.secho(warning, fg="yellow", err=True)
    tokens: list[dict[str, str]] = [{}] * len(files)
    if not options.simulate:
        tokens = _find_tokens(files, settings, check=options.check)
    _process_all(
        [(file, Entry(command.program, args, token | env)) for file, token in zip(files, tokens, strict=True)], options
    )


def uninstall(host_name: str | None, options: InstallOptions) -> None:
    """Remove our entry from the configuration of a host; exit with 1 if that was not done.

    `host_name`: an id or a name; None to choose among the hosts that have the entry.
    """
    # A file that cannot be read may have it.
    candidates = [file for file in _present_files() if file.entry or file.error]
    files = _choose_files(host_name, "uninstall", candidates, options)
    _process_all([(file, None) for file in files], options)


def _entry_settings(options: InstallOptions) -> dict[str, str]:
    """The settings of this terminal without the token. The host does not see them otherwise."""
    env = {}
    for name in sorted(row.metadata["name"] for row in VARIABLES.values()):
        value = os.environ.get(name, "").strip()
        if name == TOKEN or (options.simulate and name in NOT_SIMULATED):
            continue
        if value and "${" not in value:
            env[name] = value
    return env


# The hosts


def _present_files() -> list[HostFile]:
    present = paths.present_hosts(paths.this_system(), os.environ, Path.home())
    return list(starmap(HostFile.load, present))


def _choose_files(
    host_name: str | None, command: str, present: list[HostFile], options: InstallOptions
) -> list[HostFile]:
    """The files to work on."""
    if host_name:
        return [_file_of(host_name, present)]
    if options.everywhere and present:
        return present
    if not present:
        raise click.ClickException(_name_a_host(command))
    if not sys.stdin.isatty():
        found = ", ".join(file.host.id for file in present)
        raise click.ClickException(f"{_name_a_host(command)} Found here: {found} (--all for all of them).")
    click.echo("Found here:")
    for number, file in enumerate(present, 1):
        click.echo(f"  {number}  {file.host.name:<16}{file.path}")

    def parse_answer(answer: str) -> list[HostFile]:
        answer = answer.strip()
        if answer.casefold() == "all":
            return present
        if answer.isdecimal() and 1 <= int(answer) <= len(present):
            return [present[int(answer) - 1]]
        try:
            return [_file_of(answer, present)]
        except click.ClickException as error:
            # The prompt shows this error and asks again.
            raise click.BadParameter(error.message) from error

    chosen: list[HostFile] = click.prompt('Which one (number, name or "all")', value_proc=parse_answer)
    return chosen


def _file_of(host_name: str, present: list[HostFile]) -> HostFile:
    host, path = _resolve_host(host_name)
    # What is present has been read and parsed.
    return next((file for file in present if file.path == path), None) or HostFile.load(host, path)


def _resolve_host(text: str) -> tuple[Host, Path]:
    """The host that a person means, with its file."""
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


# The token


def _find_tokens(files: list[HostFile], settings: Settings, *, check: bool) -> list[dict[str, str]]:
    """The token for each file: that of the environment, else that of our entry there, else one that is typed in."""
    present = []
    for file in files:
        token = None
        if settings.token is None and file.entry and file.entry.is_ours:
            token = file.entry.env.get(TOKEN)
        if token == PLACEHOLDER:
            token = None
        present.append(token)
    known = set(present) - {None}
    # The token of one host is right for another that has none yet.
    usual = known.pop() if len(known) == 1 else None
    resolve = cache(partial(_resolve_token, settings, check=check))
    return [{TOKEN: resolve(own or usual)} for own in present]


def _resolve_token(settings: Settings, present: str | None, *, check: bool) -> str:
    """A token that the API accepts, as far as can be checked: that of the settings, `present`, or one typed in."""
    token = None
    if settings.token:
        token = settings.token.get_secret_value()
    elif present and "${" in present:
        click.echo("The token in the entry stays: the host fills it in, so it is not checked here.")
        return present
    elif present:
        click.echo(f"{TOKEN} is not set here: the token in the entry is used.")
        token = _parse_token(present)
    for _ in range(TRIES):
        # The first one may be unusable, or not accepted.
        if token is None:
            if not sys.stdin.isatty():
                raise click.ClickException(NO_TOKEN)
            question = "API token from useapi.net (user:…; it is not shown)"
            token = _parse_token(click.prompt(question, hide_input=True))
        if token and (not check or _is_accepted(token, settings)):
            return token
        token = None
        if not sys.stdin.isatty():
            break
    raise click.ClickException("Nothing was changed, because there is no token that the API accepts.")


def _parse_token(text: str) -> str | None:
    try:
        token = Settings.from_environment({TOKEN: text}).token
    except SettingsError as error:
        click.echo(f"{error}.")
        return None
    return token.get_secret_value() if token else None


def _is_accepted(token: str, settings: Settings) -> bool:
    try:
        accounts = anyio.run(_count_accounts, token, settings.base_url)
    except Unauthorized as error:
        click.secho(str(error), fg="red", err=True)
        return False
    except LumaError as error:
        click.secho(f"The token could not be checked. {error}", fg="yellow", err=True)
        if not _confirm("Continue without the check?", option="--no-check"):
            raise click.ClickException("Nothing was changed.") from error
        return True
    if accounts == 0:
        text = "The token works, but no Luma account is configured for it yet, so no video can be made."
        click.secho(f"{text} Add yours: {invocation()} accounts add", fg="yellow", err=True)
    else:
        noun = "account" if accounts == 1 else "accounts"
        click.echo(f"The token works, with {accounts} Luma {noun}.")
    return True


async def _count_accounts(token: str, base_url: str) -> int:
    # The other steps need no HTTP client.
    from luma_mcp.api.useapi.client import LumaClient

    async with LumaClient(token, base_url=base_url) as luma:
        return len(await luma.accounts(retry_timeout=0))


# The files


def _process_all(work: Sequence[tuple[HostFile, Entry | None]], options: InstallOptions) -> None:
    """Write an entry into each file, or remove the entry where None is wanted."""
    failures = 0
    for file, wanted in work:
        # Not Path.is_symlink: before Python 3.14 it raises PermissionError below a folder that cannot be read.
        link = f" (a link to {os.path.realpath(file.path)})" if os.path.islink(file.path) else ""  # noqa: PTH114
        click.echo(f"{click.style(file.host.name, bold=True)}: {file.path}{link}")
        try:
            done = _process(file, wanted, options)
        except InstallError as error:
            click.secho(f"Error: {error}.", fg="red", err=True)
            advice = ""
            if isinstance(error, Unparsable) and wanted:
                advice = f" Or add the entry by hand: {invocation()} install {file.host.id} --print shows it."
            elif isinstance(error, Unparsable):
                advice = f' Or remove the entry "{NAME}" from it by hand.'
            click.echo(error.fix + advice, err=True)
            done = False
        if not done:
            failures += 1
            click.echo("Nothing was changed.")
    if failures:
        sys.exit(1)


def _process(file: HostFile, wanted: Entry | None, options: InstallOptions) -> bool:
    """Change one file; False if the person declines."""
    for attempt in range(TRIES):
        config = file.loaded()
        entry = config.entry
        if wanted is None:
            changed = config.without_entry()
        else:
            changed = config.with_entry(wanted, replace=entry is not None and not entry.is_ours)
        if changed is config:
            click.echo("There is nothing to change.")
            _warn_of_readers(config)
            return True
        _show(config, changed, wanted)
        if not _is_confirmed(entry, options):
            return False
        try:
            backup = replace(config.snapshot, changed.text, datetime.now(UTC))
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
        for copy in backups_with(file.path, entry.token) if entry and entry.token else ():
            click.secho(f"The backup {copy} contains your token: delete it once everything works.", fg="yellow")
        if wanted:
            click.echo(f"{file.host.restart} Then ask: {EXAMPLE}")
        else:
            click.echo(f"Your videos and the journal of your orders stay{_places(entry)}.")
        return True
    return False


def _is_confirmed(entry: Entry | None, options: InstallOptions) -> bool:
    if entry and not entry.is_ours:
        click.secho(f'The server "{NAME}" in this file is not luma-ray-mcp: {entry.safe_command}.', fg="yellow")
        if entry.origin == "index":
            click.secho(ROTATE_TOKEN, fg="yellow")
        if not options.force and not _confirm("Change it anyway?", option="--force"):
            return False
    return options.yes or _confirm("Write it?", option="--yes")


def _confirm(question: str, *, option: str) -> bool:
    """Ask a person; an error if there is nobody to ask. `option` would have answered."""
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
    if before and before.token and before.token != after.token:
        click.echo("It contains another API token than before.")


def _warn_of_readers(config: Config) -> None:
    """Say that others can read a token. The mode of an existing file is its owner's decision, so it stays."""
    if config.entry and config.entry.token and is_readable_by_others(config.snapshot.path):
        text = "Other users of this machine can read this file and the token in it. To prevent that:"
        click.secho(f"{text} chmod 600 {shlex.quote(str(config.snapshot.path))}", fg="yellow")


def _places(entry: Entry | None) -> str:
    """Where the server of an entry has put them."""
    from luma_mcp.service.paths import journal_path, output_folder

    try:
        settings = Settings.from_environment(entry.env if entry else {})
    except SettingsError:
        return ""
    return f": {output_folder(settings)}, {journal_path(settings) or 'no journal'}"
