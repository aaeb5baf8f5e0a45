"""What a person adds to an app's configuration: the installer's own entry, for the documents and the example file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luma_mcp.install import entry
from luma_mcp.providers import USEAPI

if TYPE_CHECKING:
    from luma_mcp.hosts import Host

# As `make install` prints it.
COMMAND = "/path/to/luma-ray-mcp/.venv/bin/luma-ray-mcp"


def snippet(host: Host) -> str:
    """Build our entry as that app's file has it, including what encloses it."""
    return entry.snippet(host, command=COMMAND, args=(), env={USEAPI.variable: USEAPI.placeholder}).rstrip("\n") + "\n"


def snippet_block(host: Host) -> str:
    """Build the same as a fenced block."""
    language = "toml" if host.format == "toml" else "json"
    return f"```{language}\n{snippet(host)}```"
