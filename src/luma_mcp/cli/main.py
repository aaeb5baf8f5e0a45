"""`luma-ray-mcp` and its commands. Each imports what it needs when it is called, so that `--help` is quick."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import IO, Any

import click
from click.core import ParameterSource

from luma_mcp import __version__
from luma_mcp.cli.context import INTERRUPTED, Interrupted
from luma_mcp.providers import PROVIDERS
from luma_mcp.settings import Settings
from luma_mcp.text import strip_control

SPEED = click.FloatRange(min=0, min_open=True)
# As `api.protocol.ListedState`, which is not imported for `--help`.
JOB_STATES = ("running", "completed", "failed", "unknown", "deleted")
NEEDS_SIMULATE = "{option} needs --simulate."
APIS = click.Choice(tuple(PROVIDERS))


class SanitizingGroup(click.Group):
    """Strips control characters from error messages, and exits with 130 whenever Ctrl-C ends a command."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run from the command line."""
        # Characters that the terminal cannot encode become question marks: an error could end a command that has paid.
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        return super().main(*args, **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands and `accounts`."""
        return sorted([*super().list_commands(ctx), "accounts"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Get a command. `accounts` is imported only now, since a host starts the server without it."""
        if cmd_name != "accounts":
            return super().get_command(ctx, cmd_name)
        from luma_mcp.cli.accounts import accounts

        return accounts

    def invoke(self, context: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(context)
        except click.ClickException as error:
            # click prints this attribute, and texts of the API may be in it.
            error.message = strip_control(error.message)  # type: ignore[misc]
            raise
        except (Exception, KeyboardInterrupt) as error:
            # click turns Ctrl-C at a prompt into Abort.
            if isinstance(error, click.Abort | Interrupted | KeyboardInterrupt):
                sys.exit(INTERRUPTED)
            raise


class RequestCommand(click.Command):
    """A command with an option for each parameter of a request, from the catalog of the API in use."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the settings first: the options depend on them. They are the context's object."""
        from luma_mcp.cli.request_options import find_other_api

        ctx.obj = self._read_settings(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            other = find_other_api(error.option_name, ctx.obj.provider)
            if other is None:
                raise
            from luma_mcp.cli.messages import other_option

            raise click.UsageError(other_option(error.option_name, ctx.obj.provider, other), ctx) from error

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """List the parameters, those of a request first."""
        from luma_mcp.catalog import get_catalog
        from luma_mcp.cli.request_options import build_options

        return [*build_options(get_catalog(ctx.obj.api)), *super().get_params(ctx)]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what an image may be."""
        from luma_mcp.catalog import get_catalog

        expects = get_catalog(ctx.obj.api).images["image_start"].expects
        self.epilog = f"IMAGE is {expects}, or a path relative to the current folder."
        super().format_epilog(ctx, formatter)

    def _read_settings(self, args: list[str]) -> Settings:
        from luma_mcp.cli.context import settings_for_help, settings_with_token

        # What follows is prompts.
        options = args[: args.index("--")] if "--" in args else args
        if {"-h", "--help"} & set(options):
            return settings_for_help()
        return settings_with_token(quiet="--simulate" in options)


def _reject_options(context: click.Context, reason: str, *names: str) -> None:
    """Reject options that would have no effect, if one was given."""
    for name in names:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(reason.format(option=f"--{name.replace('_', '-')}"), context)


@click.group(
    cls=SanitizingGroup,
    invoke_without_command=True,
    epilog=(
        f"Settings are environment variables: {' or '.join(each.variable for each in PROVIDERS.values())}, and "
        "LUMA_MCP_…, listed in docs/reference.md."
    ),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--simulate", is_flag=True, help="Use a simulated Luma API: no token, no cost, stand-in clips.")
@click.option("--speed", type=SPEED, default=4.0, show_default=True, help="With --simulate: how many times faster.")
@click.version_option(__version__, prog_name="luma-ray-mcp")
@click.pass_context
def main(context: click.Context, *, simulate: bool, speed: float) -> None:
    """Luma Ray 3 video for AI agents: an MCP server.

    Without a command it serves on stdin and stdout, which is how a host (Claude Desktop, an IDE) starts it.
    To see it work first: luma-ray-mcp demo
    """
    if context.invoked_subcommand is not None:
        # Ignoring --simulate here would place a real, charged order.
        _reject_options(context, "{option} goes after the command, not before it.", "simulate", "speed")
        return
    if not simulate:
        _reject_options(context, NEEDS_SIMULATE, "speed")
    from luma_mcp.cli.serve import serve

    serve(simulate=simulate, speed=speed)


@main.command("serve", short_help="Run the server on stdin and stdout, or over HTTP.")
@click.option("--http", is_flag=True, help="Serve Streamable HTTP, and print the URL.")
@click.option("--host", default="127.0.0.1", show_default=True, help="With --http; others: see docs/hosting.md.")
@click.option("--port", type=click.IntRange(0, 65535), default=8787, show_default=True, help="With --http; 0: any.")
@click.option("--no-auth", is_flag=True, help="With --http: serve every program and user of this machine.")
@click.option("--simulate", is_flag=True, help="Use a simulated Luma API: no token, no cost, stand-in clips.")
@click.option("--speed", type=SPEED, default=4.0, show_default=True, help="With --simulate: how many times faster.")
@click.pass_context
def serve_command(
    context: click.Context, *, http: bool, host: str, port: int, no_auth: bool, simulate: bool, speed: float
) -> None:
    """Run the MCP server: on stdin and stdout as without a command, or over HTTP.

    Over HTTP each request must have a bearer token: LUMA_MCP_HTTP_TOKEN, or one that is generated at the first start.
    If the server has no credential of its own, each request must have the caller's; with LUMA_MCP_OAUTH_ISSUER, an
    access token of the identity provider. An address that other machines can reach needs one of these three set up.
    """
    if not http:
        _reject_options(context, "{option} needs --http.", "host", "port", "no_auth")
    if not simulate:
        _reject_options(context, NEEDS_SIMULATE, "speed")
    from luma_mcp.cli.serve import serve

    serve(simulate=simulate, speed=speed, http=(host.strip("[]"), port) if http else None, authenticate=not no_auth)


@main.command(short_help="See it work: a rejection, a suggestion, a film. No token, no cost.")
def demo() -> None:
    """See everything in 25 seconds: a rejection, a suggestion and a film of three clips. No token, no cost."""
    from luma_mcp.cli.demo import run

    run()


def _result_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options for what becomes of a finished video."""
    json_help = "Print one JSON object per video on stdout, and nothing else."
    command = click.option("--json", "as_json", is_flag=True, help=json_help)(command)
    output_help = "Save there: a folder, or for one video a name that ends in .mp4. Overwrites nothing."
    command = click.option("--output", metavar="FILE_OR_FOLDER", help=output_help)(command)
    save_help = "Save the video and print its path instead of its link."
    return click.option("--save", is_flag=True, help=save_help)(command)


@main.command(
    "generate", short_help='Make videos: luma-ray-mcp generate "a fox in the snow" --save', cls=RequestCommand
)
@click.argument("prompts", metavar="[PROMPT]...", nargs=-1)
@click.option("--file", type=click.File("rb"), help="Prompts, one a line; - for stdin. # starts a comment line.")
@_result_options
@click.option("--no-wait", is_flag=True, help="Print the jobid once it is ordered, and do not wait for the video.")
@click.option("--new-take", is_flag=True, help="Order another one even if an identical job is running.")
@click.option("--simulate", is_flag=True, help="Use a simulated Luma API: no token, no cost, stand-in clips.")
@click.pass_obj
def generate_command(
    settings: Settings,
    /,
    *,
    prompts: tuple[str, ...],
    file: IO[bytes] | None,
    save: bool,
    output: str | None,
    as_json: bool,
    no_wait: bool,
    new_take: bool,
    simulate: bool,
    **params: Any,
) -> None:
    """Make a video for each PROMPT, wait for them, and print their links.

    Quote each prompt. They are ordered one after another, as slots become free; one that fails does not stop the
    others. A prompt that is repeated is ordered once, unless --new-take is given. Options that you leave out take the
    cheapest value that fits. Ctrl-C ends the wait, not the jobs.
    """
    from luma_mcp.cli.clips import Options
    from luma_mcp.cli.jobs import generate, read_prompts, resolve_output

    if no_wait and (save or output):
        raise click.UsageError("--no-wait saves nothing: pass --save or --output to get, when the video is ready.")
    if no_wait and simulate:
        raise click.UsageError("--no-wait does not go with --simulate: a simulated job ends with the command.")
    texts = read_prompts(prompts, file)
    options = Options(save=save, wait=not no_wait, as_json=as_json, new_take=new_take, simulated=simulate)
    # click passes None or an empty tuple for what was left out.
    given = {name: value for name, value in params.items() if value not in (None, ())}
    generate(settings, texts, given, resolve_output(options, output, count=len(texts)))


@main.command("film", short_help="Make a film of several shots: luma-ray-mcp film shots.toml")
@click.argument("file", metavar="SHOTS.toml", type=click.Path(exists=True, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Print the plan and the price, and order nothing.")
@click.option("--yes", is_flag=True, help="Order without asking.")
@click.option("--output", metavar="FILE_OR_FOLDER", help="Save there: a folder, or a name that ends in .mp4.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else.")
@click.option("--order-lost", is_flag=True, help="Order again what may have been ordered, but whose answer was lost.")
@click.option("--simulate", is_flag=True, help="Use a simulated Luma API: no token, no cost, stand-in clips.")
def film_command(*, file: str, simulate: bool, **given: Any) -> None:
    """Make the shots that a file describes (docs/films.md), and join them to one film.

    The plan with its price is shown before anything is ordered. Shots are ordered one after another, as slots become
    free. Whatever ends the command, run it again: it orders nothing twice, and makes only what is missing.
    """
    from pathlib import Path

    from luma_mcp.cli.context import settings_with_token
    from luma_mcp.cli.film import FilmOptions, film

    settings = settings_with_token(quiet=simulate)
    film(Path(file).absolute(), settings, FilmOptions(simulated=simulate, **given))


@main.command("get")
@click.argument("jobids", metavar="JOBID...", nargs=-1, required=True)
@_result_options
def get_command(*, jobids: tuple[str, ...], save: bool, output: str | None, as_json: bool) -> None:
    """Wait for jobs that were ordered earlier, and print their links."""
    from luma_mcp.cli.clips import Options
    from luma_mcp.cli.jobs import get, resolve_output

    get(jobids, resolve_output(Options(save=save, as_json=as_json), output, count=len(jobids)))


@main.command()
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many, newest first.")
@click.option("--state", type=click.Choice(JOB_STATES), help="Only those in this state.")
@click.option("--text", help="Only those whose prompt has these words.")
@click.option("--since", metavar="TIME", help="Only those ordered since then: a date, an age such as 2h, yesterday.")
@click.option("--before", metavar="TIME", help="Only those ordered before then.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per job on stdout, and nothing else.")
def jobs(*, limit: int, state: Any, text: str | None, since: str | None, before: str | None, as_json: bool) -> None:
    """List running jobs and those ordered from this machine."""
    from luma_mcp.cli.jobs import list_jobs, parse_time_option
    from luma_mcp.journal.protocol import OrderQuery

    query = OrderQuery(state, text, parse_time_option("--since", since), parse_time_option("--before", before))
    list_jobs(query, limit=limit, as_json=as_json)


@main.command("delete")
@click.argument("jobids", metavar="JOBID...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Delete without asking.")
def delete_command(*, jobids: tuple[str, ...], yes: bool) -> None:
    """Delete finished jobs at Luma, after asking. Their links may stop working; saved files stay."""
    from luma_mcp.cli.jobs import delete

    delete(jobids, yes=yes)


@main.command("doctor", short_help="Check the setup and suggest fixes.")
@click.option("--json", "as_json", is_flag=True, help="As JSON: {ok, checks: [{name, status, detail, fix}]}.")
@click.option("--simulate", is_flag=True, help="Use a simulated Luma API: no token needed.")
@click.option("--seconds", type=click.FloatRange(min=1), default=8.0, show_default=True, help="Time for each check.")
def doctor_command(*, as_json: bool, simulate: bool, seconds: float) -> None:
    """Check everything from Python to the hosts' entries, and suggest fixes; exit with 1 if something failed.

    Nothing is ordered or changed, and no secret is shown.
    """
    from luma_mcp.doctor.cli import doctor

    doctor(simulate=simulate, as_json=as_json, seconds=seconds)


@main.command()
@click.option("--api", type=APIS, help="Of this API. If omitted: of the one whose credential is set.")
def options(api: str | None) -> None:
    """Show what Luma can make, and what it costs where that is known, as tables."""
    from luma_mcp.catalog import get_catalog
    from luma_mcp.catalog.tables import all_tables, prices_table
    from luma_mcp.cli.context import settings_for_help

    catalog = get_catalog(api or settings_for_help().api)
    click.echo(all_tables(catalog))
    if catalog.prices:
        click.echo(f"\nWhat one video costs ({catalog.price_source}, {catalog.price_date}):\n")
        click.echo(prices_table(catalog, catalog.prices))


@main.command("install", short_help="Add luma-ray-mcp to an app: Claude Desktop, Cursor, …")
@click.argument("host", required=False)
@click.option("--all", "everywhere", is_flag=True, help="Add it to every app that is found here.")
@click.option("--simulate", is_flag=True, help="Use a simulated Luma API: no token, no cost, stand-in clips.")
@click.option("--yes", is_flag=True, help="Write without asking.")
@click.option("--print", "only_print", is_flag=True, help="Only print the entry.")
@click.option("--force", is_flag=True, help="Also replace another server named luma.")
@click.option("--check/--no-check", default=True, help="Verify the token or key with one call (free).")
def install_command(host: str | None, **options: bool) -> None:
    """Add luma-ray-mcp to the configuration of HOST, and leave everything else in it as it is.

    Without HOST it lists the apps that it finds and asks. The API token (USEAPI_TOKEN) or key (LUMA_AGENTS_API_KEY) is
    that of the environment, or is typed without being shown.
    """
    from luma_mcp.install.cli import InstallOptions, install

    install(host, InstallOptions(**options))


@main.command("uninstall", short_help="Remove luma-ray-mcp from an app's configuration.")
@click.argument("host", required=False)
@click.option("--all", "everywhere", is_flag=True, help="Remove it from every app that has it.")
@click.option("--yes", is_flag=True, help="Write without asking.")
@click.option("--force", is_flag=True, help="Also remove another server named luma.")
def uninstall_command(host: str | None, **options: bool) -> None:
    """Remove luma-ray-mcp from the configuration of HOST, and leave everything else in it as it is."""
    from luma_mcp.install.cli import InstallOptions, uninstall

    uninstall(host, InstallOptions(**options))


@main.command("migrate", short_help="Create or update the tables of the journal's database.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and change nothing.")
def migrate_command(*, dry_run: bool) -> None:
    """Create or update the tables of the PostgreSQL database that LUMA_MCP_JOURNAL names.

    A server does so by itself before its first order, unless LUMA_MCP_JOURNAL_MIGRATE is 0. Exit with 1 if that is not
    possible; with --dry-run, also if something is to be done.
    """
    from luma_mcp.cli.context import read_settings
    from luma_mcp.cli.jobs import migrate_journal

    migrate_journal(read_settings(), dry_run=dry_run)


@main.command("usage", short_help="Report who ordered what, and what it cost.")
@click.option(
    "--since", metavar="TIME", help="Only what was ordered since then: a date, an age such as 30d, yesterday."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per tenant on stdout, and nothing else.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a line of headings.")
def usage_command(*, since: str | None, as_json: bool, as_csv: bool) -> None:
    """Report who ordered what with which API, and what it cost, from the journal that LUMA_MCP_JOURNAL names.

    Costs are the credits that jobs used, or prices by the price list. A server for many people has a line for each of
    them; the owner of a credential is named by its id, which reveals nothing.
    """
    from luma_mcp.cli.context import read_settings
    from luma_mcp.cli.jobs import parse_time_option
    from luma_mcp.cli.usage import report_usage

    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other.")
    report_usage(read_settings(), parse_time_option("--since", since), as_json=as_json, as_csv=as_csv)


@main.command(short_help="Run the simulated Luma API on its own.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1; 0 picks a free one.")
@click.option("--speed", type=SPEED, default=1.0, show_default=True, help="How many times faster than Luma.")
@click.option("--slots", type=click.IntRange(min=0), default=4, show_default=True, help="Jobs that may run at a time.")
@click.option("--api", type=APIS, default="useapi", show_default=True, help="Which API it stands in for.")
def simulator(port: int, speed: float, slots: int, api: str) -> None:
    """Run the simulated Luma API on its own, and print its base URL (for LUMA_MCP_BASE_URL)."""
    from luma_mcp.simulator.app import new_simulator, serve

    serve(new_simulator(api=api, speed=speed, concurrency=slots, renders=True), port=port)
