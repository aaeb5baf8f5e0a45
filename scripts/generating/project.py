"""Facts about the project that several files repeat, read from where they are kept: pyproject.toml and the package."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from luma_mcp import __version__

ROOT = Path(__file__).parent.parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAME: str = PROJECT["name"]
DESCRIPTION: str = PROJECT["description"]
VERSION = __version__
# The GitHub account that publishes. It owns the name in the MCP registry; the release workflow runs for no other.
OWNER = "luma-ray-mcp"
REGISTRY_NAME = f"io.github.{OWNER}/{NAME}"
# As `sys.platform` and bundles name them.
SYSTEMS = ("darwin", "win32", "linux")
