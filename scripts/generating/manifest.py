"""packaging/manifest.json: the bundle as Claude Desktop sees it (manifest 0.4, type uv).

The host includes uv, and uv fetches Python and the packages, so nothing has to be installed first.
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
        "title": "API token from useapi.net",
        "description": (
            "If you use useapi.net: your API token (user:…), with your Luma account configured there. Fill in this or "
            "the key below; with both, useapi.net is used."
        ),
        "sensitive": True,
        "required": False,
    },
    "agents_key": {
        "type": "string",
        "title": "API key from Luma",
        "description": "If you use Luma's own Agents API: your API key (luma-api-…) from platform.lumalabs.ai.",
        "sensitive": True,
        "required": False,
    },
    "output_dir": {
        "type": "directory",
        "title": "Folder for videos",
        "description": "Where videos are saved when you ask for files. If empty: Luma in your videos folder.",
        "required": False,
    },
    "max_jobs_per_hour": {
        "type": "number",
        "title": "Maximum videos per hour",
        "description": "Each video costs money: no more than this many are ordered per hour. If empty: no limit.",
        "required": False,
        "min": 1,
        "max": 10_000,
    },
    "budget_per_day": {
        "type": "number",
        "title": "Budget for 24 hours",
        "description": (
            "The most that the videos of 24 hours may cost: dollars with Luma's Agents API, credits with useapi.net. "
            "If empty: no limit."
        ),
        "required": False,
        "min": 0.01,
    },
}
# Which field sets which variable. A field left empty arrives as `${user_config.…}`, which settings treat as unset.
ENVIRONMENT = {
    "USEAPI_TOKEN": "useapi_token",
    "LUMA_AGENTS_API_KEY": "agents_key",
    "LUMA_MCP_OUTPUT_DIR": "output_dir",
    "LUMA_MCP_MAX_JOBS_PER_HOUR": "max_jobs_per_hour",
    "LUMA_MCP_BUDGET_PER_DAY": "budget_per_day",
}


def manifest(tools: list[Tool], prompts: dict[str, tuple[Prompt, str]]) -> dict[str, Any]:
    """Build the manifest.

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
            "Ask for a video: from a prompt, from an image, or continuing the last clip. Invalid combinations are "
            "rejected before you are charged, and no order is ever sent twice.\n\n"
            "Needs an API token from useapi.net with a Luma account configured there, or an API key for Luma's own "
            "Agents API. Each video costs credits or dollars. Prompts and the images that you name are sent to that "
            "API and to Luma."
        ),
        "author": {"name": PROJECT["authors"][0]["name"]},
        "icon": "icon.png",
        "server": {
            "type": "uv",
            "entry_point": ENTRY_POINT,
            "mcp_config": {
                "command": "uv",
                "args": ["run", "--directory", "${__dirname}", "--no-dev", "--extra", "film", NAME],
                "env": {variable: f"${{user_config.{field}}}" for variable, field in ENVIRONMENT.items()},
            },
        },
        "tools": [{"name": tool.name, "description": tool.description} for tool in tools],
        "prompts": [_build_prompt(prompt, text) for prompt, text in prompts.values()],
        "keywords": PROJECT["keywords"],
        "license": PROJECT["license"],
        "compatibility": {"platforms": list(SYSTEMS), "runtimes": {"python": PROJECT["requires-python"]}},
        "user_config": USER_CONFIG,
    }


def _build_prompt(prompt: Prompt, text: str) -> dict[str, Any]:
    """Build a prompt of the manifest. It can only have arguments that its text contains."""
    names = [argument.name for argument in prompt.arguments or []]
    return {
        "name": prompt.name,
        "description": prompt.description,
        "arguments": [name for name in names if f"${{arguments.{name}}}" in text],
        "text": text,
    }
