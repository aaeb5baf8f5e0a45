"""`luma-ray-mcp install` and `uninstall`: our entry in the hosts' configuration files, every step visible."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from luma_mcp.cli.context import now, read_settings
from luma_mcp.cli.install_questions import TRIES, chosen, confirm, find_tokens, found, named, usage
from luma_mcp.install import paths
from luma_mcp.install.command import launch_here
from luma_mcp.install.config import Config, installed
from luma_mcp.install.diff import difference, shown_command
from luma_mcp.install.entry import NAME, PLACEHOLDER, TOKEN, Entry, snippet
from luma_mcp.install.errors import Changed, InstallError
from luma_mcp.install.files import copies_with, is_read_by_others, read, replace
from luma_mcp.service.paths import journal_path, output_folder
from luma_mcp.settings import VARIABLES, Settings, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from luma_mcp.hosts import Host

PROMPT = "Make a five-second draft of a fox walking through fresh snow at dawn."
NOT_SIMULATED = {"LUMA_MCP_BASE_URL", "LUMA_MCP_EMAIL"}
"""Variables that a simulation has no use for."""
OF_THE_NETWORK = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
NOT_PASSED_ON = (
    "{names}: set in this terminal, but a host that is not started from it knows nothing of that. If it does not reach "
    "the API, add the same to the entry's env."
)
COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@dataclass(frozen=True, slots=True)
class InstallOptions:
    """The options of the two commands."""

    everywhere: bool = False
    simulate: bool = False
    yes: bool = False
    only_print: bool = False
    force: bool = False
    check: bool = True


@dataclass(frozen=True, slots=True)
class _Work:
    """What is done to a file: its new text, given our entry in it; what to say of one that is so already; the end."""

    change: Callable[[Config, Entry | None], str]
    same: str
    told: Callable[[Host, Entry | None], str]


def install(word: str | None, wishes: InstallOptions) -> None:
    """Puts our entry into the configuration of the host that is meant; exits with 1 where that was not done.

    Raises:
        click.ClickException: why not; the files are as they were.
    """
    settings = read_settings()
    started = launch_here(paths.this_system(), os.environ)
    args = (*started.args, "--simulate") if wishes.simulate else started.args
    env = _variables(wishes)
    if wishes.only_print:
        host, path = named(word) if word else usage("install")
        token = {} if wishes.simulate else {TOKEN: PLACEHOLDER}
        click.echo(f"For {path}:", err=True)
        click.echo(snippet(host, command=started.command, args=args, env=token | env).rstrip("\n"))
        return
    hosts = chosen(word, "install", found(), everywhere=wishes.everywhere)
    unknown = [name for name in OF_THE_NETWORK if os.environ.get(name)]
    needed = (NOT_PASSED_ON.format(names=" and ".join(unknown)),) if unknown and not wishes.simulate else ()
    for remark in (*started.remarks, *needed):
        click.secho(remark, fg="yellow", err=True)
    tokens = {} if wishes.simulate else find_tokens(hosts, settings, check=wishes.check)

    def put(config: Config, entry: Entry | None) -> str:
        token = {TOKEN: tokens[config.path]} if config.path in tokens else {}
        wanted = Entry(started.command, args, token | env)
        return config.with_entry(wanted, replace=entry is not None and not entry.is_ours)

    work = _Work(
        put,
        f"{NAME} is there already, just like this: nothing to change.",
        lambda host, _: f"{host.restart} Then ask: {PROMPT}",
    )
    _each(hosts, wishes, work)


def uninstall(word: str | None, wishes: InstallOptions) -> None:
    """Takes our entry out of the configuration of the host that is meant; exits with 1 where that was not done.

    Raises:
        click.ClickException: why not; the files are as they were.
    """
    having = [(host, path) for host, path in found() if _has_entry(host, path)]
    work = _Work(
        lambda config, _: config.without_entry(),
        f"{NAME} is not in it: nothing to change.",
        lambda _, entry: f"Your videos and the journal of what was ordered stay{_where(entry)}.",
    )
    _each(chosen(word, "uninstall", having, everywhere=wishes.everywhere), wishes, work)


def _variables(wishes: InstallOptions) -> dict[str, str]:
    """The settings of this terminal, but for the token: the host knows nothing of them."""
    names = {row.metadata["name"] for row in VARIABLES.values()} - {TOKEN}
    names -= NOT_SIMULATED if wishes.simulate else set()
    here = {name: os.environ.get(name, "").strip() for name in sorted(names)}
    return {name: text for name, text in here.items() if text and "${" not in text}


def _each(hosts: list[tuple[Host, Path]], wishes: InstallOptions, work: _Work) -> None:
    left = 0
    for host, path in hosts:
        link = f" (a link to {os.path.realpath(path)})" if path.is_symlink() else ""
        click.echo(f"{click.style(host.name, bold=True)}: {path}{link}")
        try:
            done = _one(host, path, wishes, work)
        except InstallError as fault:
            click.secho(f"Error: {fault}", fg="red", err=True)
            done = False
        if not done:
            left += 1
            click.echo("Nothing was changed.")
    if left:
        sys.exit(1)


def _one(host: Host, path: Path, wishes: InstallOptions, work: _Work) -> bool:
    for attempt in range(TRIES):
        snapshot = read(path)
        config = Config.decode(host, path, snapshot.data)
        entry = config.entry()
        text = work.change(config, entry)
        if text == config.text:
            click.echo(work.same)
            _warn_of_readers(config)
            return True
        click.echo("The file is new:" if snapshot.data is None else "This changes:")
        new = Config(host, path, text)
        for line in difference(config, new):
            click.secho(f"  {line}", fg=COLOURS.get(line[:1]))
        if entry and not entry.is_ours and not wishes.force:
            click.secho(f"The {NAME} that is there is not luma-ray-mcp: {shown_command(entry)}.", fg="yellow")
            if not confirm("Change it all the same?", instead="--force"):
                return False
        if not wishes.yes and not confirm("Write it?", instead="--yes"):
            return False
        try:
            backup = replace(snapshot, text, now())
        except Changed:
            if attempt + 1 == TRIES:
                raise
            click.echo("Somebody else has changed the file meanwhile. Once more, from how it is now:")
            continue
        click.secho("Written.", fg="green", nl=False)
        click.echo(f" As it was, with all that it held: {backup}" if backup else "")
        _warn_of_readers(new)
        _warn_of_copies(path, entry)
        click.echo(work.told(host, entry))
        return True
    return False


def _warn_of_readers(config: Config) -> None:
    """What is there keeps the rights that its owner has given it; that it holds a token now may be news."""
    if _token_of(config.entry()) and is_read_by_others(config.path):
        ends = f"chmod 600 {shlex.quote(str(config.path))}"
        click.secho(
            f"Others on this machine can read this file, and the token in it. This ends it: {ends}", fg="yellow"
        )


def _warn_of_copies(path: Path, entry: Entry | None) -> None:
    if token := _token_of(entry):
        for copy in copies_with(path, token):
            click.secho(f"The copy {copy} holds your token: delete it when you are content.", fg="yellow")


def _token_of(entry: Entry | None) -> str | None:
    """The token in an entry, if it is one, and not a name that the host puts it in for."""
    token = entry.token if entry else None
    return None if token is None or token == PLACEHOLDER or "${" in token else token


def _has_entry(host: Host, path: Path) -> bool:
    try:
        return installed(host, path) is not None
    except InstallError:
        # Whoever wants to remove it is told why it cannot be seen.
        return True


def _where(entry: Entry | None) -> str:
    try:
        settings = Settings.from_environment(entry.env if entry else {})
    except SettingsError:
        return ""
    return f": {output_folder(settings)}, {journal_path(settings) or 'no journal'}"
