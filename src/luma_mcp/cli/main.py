"""`luma-mcp` and its commands. Each imports what it needs when it is called, so that `--help` is quick."""

from __future__ import annotations

import click

from luma_mcp import __version__

SPEED = click.FloatRange(min=0, min_open=True)
_EPILOG = "Settings are environment variables: USEAPI_TOKEN, and LUMA_MCP_… as the README lists them."


@click.group(invoke_without_command=True, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--simulate", is_flag=True, help="Serve with a simulated Luma API: no token, no cost, stand-in clips.")
@click.option(
    "--speed", type=SPEED, default=4.0, show_default=True, help="With --simulate: how many times faster jobs are made."
)
@click.version_option(__version__, prog_name="luma-mcp")
@click.pass_context
def main(context: click.Context, *, simulate: bool, speed: float) -> None:
    """Luma Ray 3 video for AI agents, as an MCP server.

    Without a command it serves on stdin and stdout: that is what a host (Claude Desktop, an IDE) starts.
    To see it work first: luma-mcp demo.
    """
    if context.invoked_subcommand is None:
        from luma_mcp.cli.serve import serve

        serve(simulate=simulate, speed=speed)


@main.command(short_help="A refusal, a suggestion, a video: no token, no cost.")
def demo() -> None:
    """Show everything in 20 seconds: a refusal, a suggestion, a video. No token, no cost."""
    from luma_mcp.cli.demo import run

    run()


@main.command()
def options() -> None:
    """Show what Luma can make, as a table."""
    from luma_mcp import tables

    click.echo(tables.everything())


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
