"""`luma-ray-mcp demo`: a simulated API, the server as a subprocess, and a real MCP client that talks to it."""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
from pathlib import Path
from textwrap import indent
from typing import Any

import click
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.types import ImageContent

from luma_mcp.catalog.tables import options_table
from luma_mcp.catalog.useapi import USEAPI
from luma_mcp.cli import messages
from luma_mcp.cli.context import INTERRUPTED, Interrupted, run_interruptible
from luma_mcp.install.command import invocation
from luma_mcp.media import can_read_clips
from luma_mcp.simulator.app import TOKEN, new_simulator, running

# A demo takes less than half a minute with it.
SPEED = 25.0
IMPOSSIBLE = {"prompt": "The sun sets over a calm sea", "model": "ray-v3-reasoning", "resolution": "draft"}
CONTINUATION = "Night falls over the sea, and the stars come out"
LAST_SHOT = "In a small town, one window is still lit at night"
TITLE = "Sunset at sea"


def run() -> None:
    """Run the demo."""
    title = "luma-ray-mcp demo: a simulated Luma API, the server, and an MCP client. No token, no cost.\n"
    click.secho(title, bold=True)
    try:
        with running(new_simulator(speed=SPEED, renders=True)) as url:
            run_interruptible(lambda: _run_steps(url))
    except Interrupted:
        click.echo(f"\n{messages.STOPPED}", err=True)
        sys.exit(INTERRUPTED)


async def _run_steps(url: str) -> None:
    # Below the temporary folder if the current one is not writable.
    parent = Path.cwd()
    if not os.access(parent, os.W_OK):
        parent = Path(tempfile.gettempdir())
    folder = parent / "luma-demo"
    environment = {
        "USEAPI_TOKEN": TOKEN,
        "LUMA_MCP_BASE_URL": url,
        "LUMA_MCP_OUTPUT_DIR": str(folder),
        "LUMA_MCP_JOURNAL": "off",
    }
    server = StdioServerParameters(command=sys.executable, args=["-m", "luma_mcp"], env=environment)
    async with Client(server) as client:
        names = ", ".join(tool.name for tool in (await client.list_tools()).tools)
        _print_step(1, f"Connected over stdio (MCP {client.protocol_version}). Tools: {names}")
        _print_step(2, "What can be made, from list_options:\n" + indent(f"\n{options_table(USEAPI)}\n", "   "))
        _print_step(3, f"An impossible request is rejected before it costs anything: {json.dumps(IMPOSSIBLE)}")
        rejected = await client.call_tool("generate_video", IMPOSSIBLE)
        error = (rejected.structured_content or {})["error"]
        click.echo(f"   {click.style('Rejected:', fg='yellow')} {error['message']}")
        click.echo(f"   Suggested: {json.dumps(error['suggestion'])}")
        _print_step(4, f"Taking the suggestion, and saving the file (time runs {SPEED:.0f} times as fast here):")
        choices = {**error["suggestion"], "save": True}
        first = await _make_video(client, choices)
        _print_step(5, "A second clip continues from the first one's last frame (image_start is its jobid):")
        second = await _make_video(client, {**choices, "prompt": CONTINUATION, "image_start": first["jobid"]})
        files = [*first["saved_files"], *second["saved_files"]]
        if can_read_clips():
            _print_step(6, "A third clip begins with a cut:")
            third = await _make_video(client, {**choices, "prompt": LAST_SHOT})
            files += third["saved_files"]
            _print_step(7, f'join_videos makes one film of the three clips, with the title "{TITLE}":')
            files += await _make_film(client, [first["jobid"], second["jobid"], third["jobid"]], folder)
    click.echo("\nThe files are on disk. The clips are stand-ins, because everything is simulated:")
    for file in files:
        # A folder whose name is not UTF-8 has another one in the answer.
        saved = folder / Path(file).name
        size = saved.stat().st_size
        click.echo(f"   {saved} ({size / 1000:.0f} kB)")
    command = invocation()
    click.secho("\nNext: add it to your app, restart the app, and ask for a video.", bold=True)
    click.echo(f"{command} install              with your API token from https://useapi.net")
    click.echo(f"{command} install --simulate   with stand-in clips, as here")


async def _make_video(client: Client, arguments: dict[str, Any]) -> dict[str, Any]:
    """Order a video and wait until it is saved; the result's structured content."""
    with click.progressbar(length=100, label="   generate_video", show_eta=False) as bar:

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
            # The server measures in its own time, and the simulated job is faster than that.
            bar.update(max(0, int(min(progress * SPEED, 100)) - bar.pos))

        result = await client.call_tool("generate_video", arguments, progress_callback=on_progress)
        while (content := result.structured_content or {}).get("state") == "running":
            again = {"jobid": content["jobid"], "save": True}
            result = await client.call_tool("get_job", again, progress_callback=on_progress)
    if result.is_error:
        raise click.ClickException(content["error"]["message"])
    if "saved_files" not in content:
        raise click.ClickException(content.get("save_problem", "The video was not saved."))
    click.echo(f"   Ready after {content['elapsed_seconds']:.0f} s, and saved.")
    for name, asset_ref in content.get("assets", {}).items():
        click.echo(f"   {name} was uploaded: {asset_ref}")
    return content


async def _make_film(client: Client, jobids: list[str], folder: Path) -> list[str]:
    """Join the videos, and save the film's contact sheet beside it; the paths of both files."""
    result = await client.call_tool("join_videos", {"videos": jobids, "title": TITLE})
    content = result.structured_content or {}
    if result.is_error:
        raise click.ClickException(content["error"]["message"])
    film = folder / Path(content["saved_files"][0]).name
    click.echo(f"   {content['duration_seconds']:.1f} s, {content['width']}x{content['height']}. {content['note']}")
    [sheet] = [part for part in result.content if isinstance(part, ImageContent)]
    times = content["contact_sheet"]["times"]
    click.echo(f"   With it, the model gets a contact sheet: {len(times)} frames, each with its time.")
    path = film.with_name(f"{film.stem}_contact-sheet.jpg")
    path.write_bytes(base64.b64decode(sheet.data))
    return [str(film), str(path)]


def _print_step(number: int, text: str) -> None:
    click.echo(f"{click.style(f'{number}.', bold=True)} {text}")
