"""`luma-ray-mcp demo`: the simulated API and the server as subprocesses, and a real MCP client that talks to it."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any

import anyio
import click
from anyio.streams.text import TextReceiveStream
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.types import TextContent

from luma_mcp.simulator.serve import TOKEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mcp.types import CallToolResult

SPEED = 15.0
LUMA_MCP = (sys.executable, "-m", "luma_mcp")
IMPOSSIBLE = {
    "prompt": "The sun sets over a calm sea",
    "model": "ray-v3-reasoning",
    "resolution": "draft",
}
SECOND = "Night falls, and the stars come out"


def run() -> None:
    """Runs the demo.

    Raises:
        click.ClickException: something went wrong in it.
    """
    anyio.run(_demo)


async def _demo() -> None:
    click.secho(
        "luma-ray-mcp demo: a simulated Luma API, the server, and an MCP client. No token, no cost.\n", bold=True
    )
    folder = _folder()
    async with _simulator() as url:
        environment = {
            "USEAPI_TOKEN": TOKEN,
            "LUMA_MCP_BASE_URL": url,
            "LUMA_MCP_OUTPUT_DIR": str(folder),
            "LUMA_MCP_JOURNAL": "off",
        }
        command, *arguments = LUMA_MCP
        server = StdioServerParameters(command=command, args=arguments, env=environment)
        async with Client(server) as client:
            names = ", ".join(tool.name for tool in (await client.list_tools()).tools)
            _step(1, f"Connected over stdio (MCP {client.protocol_version}). Tools: {names}")
            told = (await client.call_tool("list_options", {})).content[0]
            parts = told.text.split("\n\n") if isinstance(told, TextContent) else []
            table = next(part for part in parts if part.startswith("|"))
            _step(2, "list_options tells what can be made:\n" + indent(f"\n{table}\n", "   "))
            suggestion = await _refusal(client)
            _step(4, f"The suggestion is taken, and the file wanted (time runs {SPEED:.0f} times as fast here):")
            first = await _video(client, {**suggestion, "save": True})
            _step(5, "A second clip goes on from the first one's last frame: its jobid is the image_start.")
            second = await _video(client, {"prompt": SECOND, "image_start": first["jobid"], "save": True})
    _step(6, "Two files, ready to be joined (stand-in clips, as all is simulated):")
    for file in (*first["saved_files"], *second["saved_files"]):
        size = (await anyio.Path(file).stat()).st_size
        click.echo(f"   {file} ({size / 1000:.0f} kB)")
    _next()


async def _refusal(client: Client) -> dict[str, Any]:
    _step(3, f"generate_video refuses what cannot be made: {json.dumps(IMPOSSIBLE)}")
    result = await client.call_tool("generate_video", IMPOSSIBLE)
    error = _content(result)["error"]
    click.echo(f"   {click.style('Refused:', fg='yellow')} {error['message']}")
    click.echo(f"   Suggested: {json.dumps(error['suggestion'])}")
    return dict(error["suggestion"])


async def _video(client: Client, arguments: dict[str, Any]) -> dict[str, Any]:
    with click.progressbar(length=100, label="   generate_video", show_eta=False) as bar:

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
            # The server measures in its own time, and the simulated job runs ahead of it.
            bar.update(max(0, int(min(progress * SPEED, 100)) - bar.pos))

        result = await client.call_tool("generate_video", arguments, progress_callback=on_progress)
        while (content := _content(result)).get("state") == "running":
            again = {"jobid": content["jobid"], "save": True}
            result = await client.call_tool("get_job", again, progress_callback=on_progress)
    if result.is_error:
        raise click.ClickException(content["error"]["message"])
    if "saved_files" not in content:
        raise click.ClickException(content.get("save_problem", "nothing was saved"))
    click.echo(f"   Ready after {content['elapsed_seconds']:.0f} s, and saved.")
    for name, ref in content.get("assets", {}).items():
        click.echo(f"   {name} was uploaded: {ref}")
    return content


def _next() -> None:
    command = shutil.which("luma-ray-mcp", path=str(Path(sys.executable).parent)) or "luma-ray-mcp"
    click.secho("\nNext: put it into your host, restart that, and ask for a video.", bold=True)
    click.echo(f"{command} install              with your API token from https://useapi.net")
    click.echo(f"{command} install --simulate   with stand-in clips, as here")


@asynccontextmanager
async def _simulator() -> AsyncIterator[str]:
    """The simulated API as a subprocess; its base URL."""
    process = await anyio.open_process([*LUMA_MCP, "simulator", "--speed", str(SPEED)], stderr=None)
    try:
        if process.stdout is None:
            raise click.ClickException("the simulator has no output")
        yield (await TextReceiveStream(process.stdout).receive()).strip()
    finally:
        process.terminate()
        await process.wait()


def _folder() -> Path:
    """Where the videos go: here or, where nothing can be written here, in the temporary folder."""
    return (Path.cwd() if os.access(Path.cwd(), os.W_OK) else Path(tempfile.gettempdir())) / "luma-demo"


def _content(result: CallToolResult) -> dict[str, Any]:
    return result.structured_content or {}


def _step(number: int, text: str) -> None:
    click.echo(f"{click.style(f'{number}.', bold=True)} {text}")
