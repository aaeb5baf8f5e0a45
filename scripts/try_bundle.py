"""Tries the bundle as Claude Desktop would use it: judged, unpacked, started, and asked for a video.

    python -m scripts.try_bundle

Needs npm and the network (the official tool, by lock file; the packages, by uv). The Luma API is a simulated one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import anyio
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from scripts.build_bundle import build
from scripts.generating.project import NAME, ROOT
from scripts.node_packages import install

from luma_mcp.simulator.serve import TOKEN, new_simulator, running

FOLDER = ROOT / "packaging"
TOOL = FOLDER / "node_modules" / "@anthropic-ai" / "mcpb" / "dist" / "cli" / "cli.js"
LONGEST = 300
"""Seconds for one start: the first one fetches every package."""


def tool(*arguments: str) -> None:
    """The official tool, which has to agree."""
    subprocess.run(["node", str(TOOL), *arguments], check=True)


def uv(folder: Path) -> str:
    """uv: the machine's own, or fetched into a folder."""
    if own := shutil.which("uv"):
        return own
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    scripts = folder / ("Scripts" if sys.platform == "win32" else "bin")
    install_uv = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet", "uv"]
    subprocess.run([str(scripts / "python"), *install_uv], check=True)
    return str(scripts / "uv")


def configured(unpacked: Path, **filled: Any) -> dict[str, Any]:
    """What the host starts, if a person has filled that in."""
    command = ["node", str(FOLDER / "substitute.mjs"), str(unpacked), json.dumps(filled)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    config: dict[str, Any] = json.loads(done.stdout)
    return config


async def first_video(config: dict[str, Any], environment: dict[str, str], manifest: dict[str, Any]) -> None:
    """A handshake, the tools and prompts that the manifest names, and a video on the disk."""
    server = StdioServerParameters(command=config["command"], args=config["args"], env=config["env"] | environment)
    with anyio.fail_after(LONGEST):
        async with Client(server) as client:
            tools = (await client.list_tools()).tools
            prompts = (await client.list_prompts()).prompts
            _same([t.name for t in tools], [t["name"] for t in manifest["tools"]])
            _same([p.name for p in prompts], [p["name"] for p in manifest["prompts"]])
            said = {"prompt": "A fox in the snow", "save": True}
            content = (await client.call_tool("generate_video", said)).structured_content or {}
    files = [Path(name) for name in content.get("saved_files", ())]
    if not files or files[0].read_bytes()[4:8] != b"ftyp":
        sys.exit(f"no video was saved: {content}")
    print(f"a video from what was unpacked: {files[0].name}", flush=True)


def _same(seen: list[str], told: list[str]) -> None:
    if seen != told:
        sys.exit(f"the manifest tells {told}, the server {seen}")


def attempt(scratch: Path) -> None:
    """The whole of it, in a folder of its own."""
    install(FOLDER)
    bundle = build(scratch)
    unpacked = scratch / "unpacked"
    tool("unpack", str(bundle), str(unpacked))
    tool("validate", str(unpacked / "manifest.json"))
    manifest = json.loads((unpacked / "manifest.json").read_text(encoding="utf-8"))
    if configured(unpacked) is not None:
        sys.exit("a bundle without a token must not be started")
    with running(new_simulator(speed=30)) as url:
        surroundings = {**os.environ, "LUMA_MCP_BASE_URL": url, "LUMA_MCP_JOURNAL": "off", "HOME": str(scratch)}
        only_token = configured(unpacked, useapi_token=TOKEN)
        everything = configured(
            unpacked, useapi_token=TOKEN, output_dir=str(scratch / "Videos of mine"), max_jobs_per_hour=5
        )
        # Some hosts start the entry point itself: for type uv the command is theirs to choose.
        by_entry_point = everything | {
            "args": ["run", "--directory", str(unpacked), manifest["server"]["entry_point"]],
        }
        command = uv(scratch / "uv")
        for config in (only_token, everything, by_entry_point):
            anyio.run(first_video, config | {"command": command}, surroundings, manifest)


def main() -> int:
    """0: it works."""
    with tempfile.TemporaryDirectory(prefix=NAME) as scratch:
        attempt(Path(scratch).resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
