"""Try the bundle as Claude Desktop would use it: validate it, unpack it, start it, and make a video.

    python -m scripts.try_bundle

Needs npm and the network (for the official tool, by lock file, and for the packages, by uv). The Luma API is simulated.
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

from luma_mcp.simulator.app import TOKEN, new_simulator, running

FOLDER = ROOT / "packaging"
TOOL = FOLDER / "node_modules" / "@anthropic-ai" / "mcpb" / "dist" / "cli" / "cli.js"
# Seconds for one start; the first one fetches every package.
TIMEOUT = 300


def run_tool(*arguments: str) -> None:
    """Run the official tool, and stop if it reports a problem."""
    subprocess.run(["node", str(TOOL), *arguments], check=True)


def uv(folder: Path) -> str:
    """Get the path of uv: the machine's own, or one installed into a folder."""
    if own := shutil.which("uv"):
        return own
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    scripts = folder / ("Scripts" if sys.platform == "win32" else "bin")
    install_uv = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet", "uv"]
    subprocess.run([str(scripts / "python"), *install_uv], check=True)
    return str(scripts / "uv")


def get_config(unpacked: Path, **filled: Any) -> dict[str, Any]:
    """Get what the host starts once a person has filled in these fields; None if it starts nothing."""
    command = ["node", str(FOLDER / "substitute.mjs"), str(unpacked), json.dumps(filled)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    config: dict[str, Any] = json.loads(done.stdout)
    return config


async def make_video(config: dict[str, Any], environment: dict[str, str], manifest: dict[str, Any]) -> None:
    """Connect, compare tools and prompts with the manifest, and save a video."""
    server = StdioServerParameters(command=config["command"], args=config["args"], env=config["env"] | environment)
    with anyio.fail_after(TIMEOUT):
        async with Client(server) as client:
            tools = (await client.list_tools()).tools
            prompts = (await client.list_prompts()).prompts
            _check_equal([t.name for t in tools], [t["name"] for t in manifest["tools"]])
            _check_equal([p.name for p in prompts], [p["name"] for p in manifest["prompts"]])
            arguments = {"prompt": "A fox in the snow", "save": True}
            content = (await client.call_tool("generate_video", arguments)).structured_content or {}
    files = [Path(name) for name in content.get("saved_files", ())]
    if not files or files[0].read_bytes()[4:8] != b"ftyp":
        sys.exit(f"no video was saved: {content}")
    print(f"the unpacked bundle made a video: {files[0].name}", flush=True)


def _check_equal(listed: list[str], in_manifest: list[str]) -> None:
    if listed != in_manifest:
        sys.exit(f"the manifest has {in_manifest}, but the server lists {listed}")


def try_bundle(scratch: Path) -> None:
    """Try everything in an empty folder."""
    install(FOLDER)
    bundle = build(scratch)
    unpacked = scratch / "unpacked"
    run_tool("unpack", str(bundle), str(unpacked))
    run_tool("validate", str(unpacked / "manifest.json"))
    manifest = json.loads((unpacked / "manifest.json").read_text(encoding="utf-8"))
    if get_config(unpacked) is None:
        sys.exit("a bundle without a token does not start, so nobody sees which one is missing")
    with running(new_simulator(speed=30)) as url:
        variables = {**os.environ, "LUMA_MCP_BASE_URL": url, "LUMA_MCP_JOURNAL": "off", "HOME": str(scratch)}
        only_token = get_config(unpacked, useapi_token=TOKEN)
        all_fields = get_config(
            unpacked, useapi_token=TOKEN, output_dir=str(scratch / "My videos"), max_jobs_per_hour=5
        )
        # Some hosts start the entry point itself: with type uv, they choose the command.
        by_entry_point = all_fields | {
            "args": ["run", "--directory", str(unpacked), manifest["server"]["entry_point"]],
        }
        command = uv(scratch / "uv")
        for config in (only_token, all_fields, by_entry_point):
            anyio.run(make_video, config | {"command": command}, variables, manifest)


def main() -> int:
    """Return 0 if it works."""
    with tempfile.TemporaryDirectory(prefix=NAME) as scratch:
        try_bundle(Path(scratch).resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
