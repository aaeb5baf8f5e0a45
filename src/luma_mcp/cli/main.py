"""`luma-ray-mcp` and its commands. Each imports what it needs when it is called, so that `--help` is quick."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from luma_mcp import __version__
from luma_mcp.catalog.useapi import CHOICES, IMAGES, TEXTS
from luma_mcp.cli.option_checks import BEFORE_A_COMMAND, NOT_OVER_HTTP, NOT_SIMULATED, Plain, refuse
from luma_mcp.settings import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable

SPEED = click.FloatRange(min=0, min_open=True)
ONLY_HERE = (
    f"only {', '.join(LOOPBACK)}: whoever can reach the server can spend your credits, and it asks nobody who they are."
)
_EPILOG = "Settings are environment variables: USEAPI_TOKEN, and LUMA_MCP_… as the README lists them."
_IMAGES = f"IMAGE is {IMAGES['image_start'].expects}; here also a file's path from where you are."


@click.group(
    cls=Plain, invoke_without_command=True, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option("--simulate", is_flag=True, help="Serve with a simulated Luma API: no token, no cost, stand-in clips.")
@click.option(
    "--speed", type=SPEED, default=4.0, show_default=True, help="With --simulate: how many times faster jobs are made."
)
@click.version_option(__version__, prog_name="luma-ray-mcp")
@click.pass_context
def main(context: click.Context, *, simulate: bool, speed: float) -> None:
    """Luma Ray 3 video for AI agents, as an MCP server.

    Without a command it serves on stdin and stdout: that is what a host (Claude Desktop, an IDE) starts.
    To see it work first: luma-ray-mcp demo.
    """
    if context.invoked_subcommand is not None:
        # It would have no effect there, and what was meant as a simulation would be billed.
        refuse(context, BEFORE_A_COMMAND, "simulate", "speed")
    else:
        if not simulate:
            refuse(context, NOT_SIMULATED, "speed")
        from luma_mcp.cli.serve import serve

        serve(simulate=simulate, speed=speed)


def _loopback(context: click.Context, parameter: click.Parameter, host: str) -> str:
    if host.strip("[]") not in LOOPBACK:
        raise click.BadParameter(ONLY_HERE, context, parameter)
    return host.strip("[]")


@main.command("serve", short_help="Serve, on stdin and stdout or over HTTP.")
@click.option("--http", is_flag=True, help="Over Streamable HTTP, for this machine alone; prints the URL.")
@click.option("--host", default="127.0.0.1", show_default=True, callback=_loopback, help="With --http.")
@click.option("--port", type=click.IntRange(0, 65535), default=8787, show_default=True, help="With --http; 0: any.")
@click.option("--simulate", is_flag=True, help="With a simulated Luma API: no token, no cost, stand-in clips.")
@click.option("--speed", type=SPEED, default=4.0, show_default=True, help="With --simulate: so many times faster.")
@click.pass_context
def serve_command(context: click.Context, *, http: bool, host: str, port: int, simulate: bool, speed: float) -> None:
    """Serve MCP: on stdin and stdout as without a command, or over HTTP."""
    if not http:
        refuse(context, NOT_OVER_HTTP, "host", "port")
    if not simulate:
        refuse(context, NOT_SIMULATED, "speed")
    from luma_mcp.cli.serve import serve

    serve(simulate=simulate, speed=speed, http=(host, port) if http else None)


@main.command(short_help="A refusal, a suggestion, a video: no token, no cost.")
def demo() -> None:
    """Show everything in 20 seconds: a refusal, a suggestion, a video. No token, no cost."""
    from luma_mcp.cli.demo import run

    run()


def _request(command: Callable[..., None]) -> Callable[..., None]:
    """The parameters of a request as options, from the table."""
    for name, image in reversed(tuple(IMAGES.items())):
        command = click.option(f"--{name.replace('_', '-')}", metavar="IMAGE", help=f"{image.about}.")(command)
    for name, choice in reversed(tuple(CHOICES.items())):
        command = click.option(f"--{name.replace('_', '-')}", type=click.Choice(choice.values), help=choice.about)(
            command
        )
    return command


@main.command(short_help='Make a video: luma-ray-mcp generate "a fox in the snow" --save', epilog=_IMAGES)
@click.argument("prompt")
@_request
@click.option("--email", help=f"{TEXTS['email'].about}.")
@click.option("--save", is_flag=True, help="Save the video, and print its path in place of its link.")
@click.option("--new-take", is_flag=True, help="Order another, even if the same order is running.")
@click.option("--simulate", is_flag=True, help="With a simulated Luma API: no token, no cost, a stand-in clip.")
def generate(*, save: bool, new_take: bool, simulate: bool, **words: str | None) -> None:
    """Make a video, wait for it, and print its link.

    What is left out is the cheapest that fits. Ctrl-C ends the wait, not the job.
    """
    from luma_mcp.cli.generate import generate as run

    said = {name: value for name, value in words.items() if value is not None}
    run(said, save=save, another=new_take, simulate=simulate)


@main.command()
@click.argument("jobid")
@click.option("--save", is_flag=True, help="Save the video, and print its path in place of its link.")
def get(jobid: str, *, save: bool) -> None:
    """Wait for a job that was ordered earlier."""
    from luma_mcp.cli.generate import get as run

    run(jobid, save=save)


@main.command()
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many, newest first.")
def jobs(limit: int) -> None:
    """Show what was ordered from this machine, and what runs."""
    from luma_mcp.cli.jobs import jobs as run

    run(limit=limit)


@main.command(short_help="What is well on this machine, what is not, and what ends it.")
@click.option("--json", "as_json", is_flag=True, help="As JSON: {ok, checks: [{name, status, detail, mend}]}.")
@click.option("--simulate", is_flag=True, help="With a simulated Luma API: no token needed.")
@click.option(
    "--seconds", type=click.FloatRange(min=1), default=8.0, show_default=True, help="How long a check may take."
)
def doctor(*, as_json: bool, simulate: bool, seconds: float) -> None:
    """Check everything that a video needs, from Python to the hosts' entries; exits with 1 if something failed.

    Nothing is ordered, and nothing is changed. No secret is shown.
    """
    from luma_mcp.cli.doctor import doctor as run

    run(simulate=simulate, as_json=as_json, seconds=seconds)


@main.group("accounts", invoke_without_command=True, short_help="The Luma accounts: list, add, refresh, remove.")
@click.pass_context
def accounts_group(context: click.Context) -> None:
    """Show and change the Luma accounts that are configured at useapi.net. For their owner; agents cannot do it."""
    if context.invoked_subcommand is None:
        from luma_mcp.cli.accounts import list_accounts

        list_accounts()


@accounts_group.command("list")
def accounts_list() -> None:
    """Show the accounts: slots, session, credits, errors."""
    from luma_mcp.cli.accounts import list_accounts

    list_accounts()


@accounts_group.command("add", short_help="Add an account, by the session of its login.")
def accounts_add() -> None:
    """Add the account of a Luma login. Asks for the value of its session cookie without showing it, or reads stdin."""
    from luma_mcp.cli.accounts import add

    add()


@accounts_group.command("refresh", short_help="Renew the session of an account.")
@click.argument("email")
def accounts_refresh(email: str) -> None:
    """Renew the session of the account EMAIL. Asks for a cookie as add does, and checks that it is of that account."""
    from luma_mcp.cli.accounts import refresh

    refresh(email)


@accounts_group.command("remove", short_help="Remove an account; it cannot be undone.")
@click.argument("email")
@click.option("--yes", "sure", is_flag=True, help="Without a question.")
def accounts_remove(email: str, *, sure: bool) -> None:
    """Remove the account EMAIL from useapi.net. It cannot be undone, and its jobs can no longer be asked for."""
    from luma_mcp.cli.accounts import remove

    remove(email, sure=sure)


@main.command()
def options() -> None:
    """Show what Luma can make, as a table."""
    from luma_mcp.catalog import tables

    click.echo(tables.everything())


@main.command("install", short_help="Put luma-ray-mcp into a host's configuration: Claude Desktop, Cursor, …")
@click.argument("host", required=False)
@click.option("--all", "everywhere", is_flag=True, help="Into every host that is found here.")
@click.option("--simulate", is_flag=True, help="With a simulated Luma API: no token, no cost, stand-in clips.")
@click.option("--yes", is_flag=True, help="Write without asking.")
@click.option("--print", "only_print", is_flag=True, help="Only print what belongs into the file.")
@click.option("--force", is_flag=True, help="Also in place of another server of the name luma.")
@click.option("--check/--no-check", default=True, help="Whether the token is tried out with one call (free).")
def install_command(host: str | None, **wishes: bool) -> None:
    """Put luma-ray-mcp into the configuration of HOST, and leave everything else in it as it is.

    Without HOST it shows what is found here, and asks. The token is USEAPI_TOKEN, or asked for and not shown.
    """
    from luma_mcp.cli.install import InstallOptions, install

    install(host, InstallOptions(**wishes))


@main.command("uninstall", short_help="Take luma-ray-mcp out of a host's configuration.")
@click.argument("host", required=False)
@click.option("--all", "everywhere", is_flag=True, help="Out of every host that has it.")
@click.option("--yes", is_flag=True, help="Write without asking.")
@click.option("--force", is_flag=True, help="Also another server of the name luma.")
def uninstall_command(host: str | None, **wishes: bool) -> None:
    """Take luma-ray-mcp out of the configuration of HOST, and leave everything else in it as it is."""
    from luma_mcp.cli.install import InstallOptions, uninstall

    uninstall(host, InstallOptions(**wishes))


@main.command(short_help="Serve the simulated Luma API alone.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1; 0 picks a free one.")
@click.option(
    "--speed", type=SPEED, default=1.0, show_default=True, help="How many times faster than Luma jobs are made."
)
@click.option("--slots", type=click.IntRange(min=0), default=4, show_default=True, help="Jobs that may run at a time.")
def simulator(port: int, speed: float, slots: int) -> None:
    """Serve the simulated Luma API alone, and print its base URL (for LUMA_MCP_BASE_URL)."""
    from luma_mcp.simulator.serve import new_simulator
    from luma_mcp.simulator.serve import serve as serve_simulator

    serve_simulator(new_simulator(speed=speed, concurrency=slots), port=port)
