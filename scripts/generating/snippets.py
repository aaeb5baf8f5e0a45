"""What a person writes into a host's configuration: the installer's own entry, for README, docs/ and the example."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luma_mcp.install import entry
from luma_mcp.install.entry import PLACEHOLDER, TOKEN

if TYPE_CHECKING:
    from luma_mcp.hosts import Host

COMMAND = "/path/to/luma-ray-mcp/.venv/bin/luma-ray-mcp"
"""As `make install` prints it."""


def snippet(host: Host) -> str:
    """Our entry as that host's file has it, with what is around it."""
    return entry.snippet(host, command=COMMAND, args=(), env={TOKEN: PLACEHOLDER}).rstrip("\n") + "\n"


def snippet_block(host: Host) -> str:
    """The same, fenced."""
    return f"```{'toml' if host.format == 'toml' else 'json'}\n{snippet(host)}```"
