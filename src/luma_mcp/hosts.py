"""The hosts that people use: ONE table of what has to be known of each.

How long a call waits, what `luma-ray-mcp install` writes and where, and every snippet in the documents come from it: a
new host is one row in `HOSTS`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

System = Literal["darwin", "win32", "linux"]
"""As `sys.platform` names them."""
Format = Literal["json", "jsonc", "toml"]

UNKNOWN_WAIT = 45
"""Seconds: the shortest cut that is known of any host is 60, and the answer needs its time."""
PATIENT_WAIT = 240
"""Seconds: within them nearly every job ends."""


@dataclass(frozen=True, slots=True)
class Host:
    """A row.

    Attributes:
        id: the word for it on the command line; `name`: what its makers call it.
        client_names: how it calls itself to servers, in small letters.
        wait: seconds that one call may wait for its job. The newest evidence found, not a promise of its makers.
        places: its configuration file on each system, with `{home}`, `{config}` (`$XDG_CONFIG_HOME`) and `{appdata}`
            (`%APPDATA%`); none where it cannot start servers of this machine.
        packaged: the pattern, below `%LOCALAPPDATA%`, of the copy that its packaged (MSIX) edition for Windows reads.
        moved_by: the environment variable that names another folder for that file.
        format: `jsonc` may have comments and trailing commas.
        key: under which the servers are.
        types: whether an entry says `"type": "stdio"`.
        fields: what else an entry says here, unless its owner says otherwise.
        restart: what a person does so that it reads the file again.
        asks: whether it can show a server's question (elicitation), as far as is known.
    """

    id: str
    name: str
    client_names: tuple[str, ...]
    wait: int = UNKNOWN_WAIT
    places: Mapping[System, str] = field(default_factory=dict)
    packaged: str | None = None
    moved_by: str | None = None
    format: Format = "json"
    key: str = "mcpServers"
    types: bool = False
    fields: Mapping[str, int] = field(default_factory=dict)
    restart: str = ""
    asks: bool = False


def _everywhere(place: str) -> dict[System, str]:
    return {"darwin": place, "win32": place, "linux": place}


HOSTS = (
    Host(
        "claude-desktop",
        "Claude Desktop",
        # Its calls end after about 240 s, in places after 60 s, and that cannot be changed.
        ("claude-ai", "claude-desktop"),
        places={
            "darwin": "{home}/Library/Application Support/Claude/claude_desktop_config.json",
            "win32": "{appdata}/Claude/claude_desktop_config.json",
            "linux": "{config}/Claude/claude_desktop_config.json",
        },
        # The usual installer is such a package since February 2026: github.com/anthropics/claude-code/issues/26073.
        packaged="Packages/Claude_*/LocalCache/Roaming/Claude/claude_desktop_config.json",
        restart="Quit Claude Desktop and open it again.",
    ),
    Host(
        "claude-code",
        "Claude Code",
        ("claude-code",),
        # Hours; 5 to 30 minutes for a call that reports no progress.
        PATIENT_WAIT,
        places=_everywhere("{home}/.claude.json"),
        moved_by="CLAUDE_CONFIG_DIR",
        types=True,
        restart="Start a new session; /mcp shows the server.",
        asks=True,
    ),
    Host(
        "cursor",
        "Cursor",
        # Unknown.
        ("cursor", "cursor-vscode"),
        places=_everywhere("{home}/.cursor/mcp.json"),
        format="jsonc",
        restart="Cursor sees it at once; Settings, MCP shows the server.",
        asks=True,
    ),
    Host(
        "vscode",
        "VS Code",
        ("visual studio code", "visual studio code - insiders", "vscode"),
        # No limit.
        PATIENT_WAIT,
        places={
            "darwin": "{home}/Library/Application Support/Code/User/mcp.json",
            "win32": "{appdata}/Code/User/mcp.json",
            "linux": "{config}/Code/User/mcp.json",
        },
        format="jsonc",
        key="servers",
        types=True,
        restart="Run the command MCP: List Servers, and start luma.",
        asks=True,
    ),
    Host(
        "windsurf",
        "Windsurf",
        # Unknown.
        ("windsurf", "windsurf-client"),
        places=_everywhere("{home}/.codeium/windsurf/mcp_config.json"),
        restart="Press the refresh button in Cascade's MCP panel.",
    ),
    Host(
        "codex",
        "Codex",
        # 60 s unless configured.
        ("codex-mcp-client",),
        places=_everywhere("{home}/.codex/config.toml"),
        moved_by="CODEX_HOME",
        format="toml",
        key="mcp_servers",
        # As long as a call of ours may last, and the answer's own time.
        fields={"tool_timeout_sec": 660},
        restart="Start Codex anew; /mcp shows the server.",
    ),
    Host(
        "gemini-cli",
        "Gemini CLI",
        # 10 minutes unless configured.
        ("gemini-cli-mcp-client",),
        PATIENT_WAIT,
        places=_everywhere("{home}/.gemini/settings.json"),
        format="jsonc",
        restart="Start Gemini CLI anew; /mcp shows the server.",
    ),
    # 60 s. It starts no servers of this machine.
    Host("chatgpt", "ChatGPT", ("openai-mcp", "chatgpt")),
)


def wait_of(client_name: str) -> int:
    """Seconds that one call of that client may wait; the shortest there is for one that nobody knows."""
    for host in HOSTS:
        if client_name.casefold() in host.client_names:
            return host.wait
    return UNKNOWN_WAIT
