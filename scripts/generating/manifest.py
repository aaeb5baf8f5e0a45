"""packaging/manifest.json: what Claude Desktop is told of the bundle (manifest 0.4, type uv).

The host brings uv along, and uv brings Python and the packages: nothing has to be installed before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scripts.generating.project import DESCRIPTION, NAME, PROJECT, SYSTEMS, VERSION

if TYPE_CHECKING:
    from mcp.types import Prompt, Tool

ENTRY_POINT = "src/luma_mcp/__main__.py"
USER_CONFIG: dict[str, dict[str, Any]] = {
    "useapi_token": {
        "type": "string",
        "title": "API token",
        "description": "Your API token from useapi.net (user:…), with your Luma account configured there.",
        "sensitive": True,
        "required": True,
    },
    "output_dir": {
        "type": "directory",
        "title": "Folder for videos",
        "description": "Where videos are saved when you ask for files. If empty: Luma in your videos folder.",
        "required": False,
    },
    "max_jobs_per_hour": {
        "type": "number",
        "title": "Most videos per hour",
        "description": "Each video costs credits: within an hour, no more than these are ordered. If empty: no limit.",
        "required": False,
        "min": 1,
        "max": 10_000,
    },
}
ENVIRONMENT = {
    "USEAPI_TOKEN": "useapi_token",
    "LUMA_MCP_OUTPUT_DIR": "output_dir",
    "LUMA_MCP_MAX_JOBS_PER_HOUR": "max_jobs_per_hour",
}
"""Which field sets which variable. One that is left empty arrives as `${user_config.…}`: settings take it as unset."""


def manifest(tools: list[Tool], prompts: dict[str, tuple[Prompt, str]]) -> dict[str, Any]:
    """The whole manifest.

    Args:
        tools: as the server lists them.
        prompts: by name, as the server lists them, each with its text.
    """
    return {
        "manifest_version": "0.4",
        "name": NAME,
        "display_name": "Luma Ray 3 video",
        "version": VERSION,
        "description": DESCRIPTION,
        "long_description": (
            "Ask for a video, and get one: from words, from a picture, or going on from the last clip. What cannot be "
            "made is refused before it costs anything; an order is never sent twice.\n\n"
            "Needs an API token from useapi.net with a Luma account configured there. Each video costs credits of "
            "that account. Prompts and the pictures that you name go to useapi.net and to Luma."
        ),
        "author": {"name": PROJECT["authors"][0]["name"]},
        "icon": "icon.png",
        "server": {
            "type": "uv",
            "entry_point": ENTRY_POINT,
            "mcp_config": {
                "command": "uv",
                "args": ["run", "--directory", "${__dirname}", "--no-dev", NAME],
                "env": {variable: f"${{user_config.{field}}}" for variable, field in ENVIRONMENT.items()},
            },
        },
        "tools": [{"name": tool.name, "description": tool.description} for tool in tools],
        "prompts": [
            {
                "name": prompt.name,
                "description": prompt.description,
                "arguments": [a.name for a in prompt.arguments or [] if f"${{arguments.{a.name}}}" in text],
                "text": text,
            }
            for prompt, text in prompts.values()
        ],
        "keywords": PROJECT["keywords"],
        "license": PROJECT["license"],
        "compatibility": {"platforms": list(SYSTEMS), "runtimes": {"python": PROJECT["requires-python"]}},
        "user_config": USER_CONFIG,
    }
