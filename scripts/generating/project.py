"""What is said of the project in more than one place, from where it is kept: pyproject.toml and the package."""

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
OWNER = "luma-ray-mcp"
"""The GitHub account that publishes: it owns the name in the MCP registry. The release workflow runs for no other."""
REGISTRY_NAME = f"io.github.{OWNER}/{NAME}"
SYSTEMS = ("darwin", "win32", "linux")
"""As `sys.platform` and bundles name them."""
