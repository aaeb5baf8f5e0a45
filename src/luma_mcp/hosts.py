"""The hosts (applications that start MCP servers) that people use, in one table.

How long a call waits, what `luma-ray-mcp install` writes, and every snippet in the documents come from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

System = Literal["darwin", "win32", "linux"]
"""As `sys.platform` names them."""
Format = Literal["json", "jsonc", "toml"]

DEFAULT_WAIT = 45
"""Seconds. The shortest known limit of any host is 60 s, and the response needs some of it."""
LONG_WAIT = 240
"""Seconds within which nearly every job finishes."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host.

    Attributes:
        client_names: the names by which it identifies itself to servers, in lower case.
        wait: seconds that a call waits for its job by default: the newest evidence found, not a vendor's promise.
        paths: its configuration file on each system, with placeholders. Empty if it cannot start servers here.
        packaged: a glob pattern below `%LOCALAPPDATA%` for the copy that its packaged (MSIX) edition for Windows reads.
        moved_by: the environment variable that names another folder for the file.
        format: `jsonc` allows comments and trailing commas.
        key: the name of the object that holds the servers.
        types: whether an entry contains `"type": "stdio"`.
        fields: further fields that a new entry gets; values that its owner has set are kept.
        restart: what a person does so that the host reads the file again.
        asks: whether it is known to show a server's questions (elicitation).
    """

    id: str
    name: str
    client_names: tuple[str, ...]
    wait: int = DEFAULT_WAIT
    paths: Mapping[System, str] = field(default_factory=dict)
    packaged: str | None = None
    moved_by: str | None = None
    format: Format = "json"
    key: str = "mcpServers"
    types: bool = False
    fields: Mapping[str, int] = field(default_factory=dict)
    restart: str = ""
    asks: bool = False

    @property
    def is_installable(self) -> bool:
        """Whether an entry can be written for it."""
        return bool(self.paths)

    @property
    def http_wait(self) -> int:
        """Seconds that a call over HTTP waits by default: `fields`, which may raise a limit, are in no such entry."""
        return DEFAULT_WAIT if self.fields else self.wait


def _on_every_system(path: str) -> dict[System, str]:
    return {"darwin": path, "win32": path, "linux": path}


HOSTS = (
    Host(
        "claude-desktop",
        "Claude Desktop",
        # Its calls end after about 240 s, in places after 60 s, and that cannot be changed.
        ("claude-ai", "claude-desktop"),
        paths={
            "darwin": "{home}/Library/Application Support/Claude/claude_desktop_config.json",
            "win32": "{appdata}/Claude/claude_desktop_config.json",
            "linux": "{config}/Claude/claude_desktop_config.json",
        },
        # The standard installer is such a package since February 2026: github.com/anthropics/claude-code/issues/26073.
        packaged="Packages/Claude_*/LocalCache/Roaming/Claude/claude_desktop_config.json",
        restart="Quit Claude Desktop and open it again.",
    ),
    Host(
        "claude-code",
        "Claude Code",
        ("claude-code",),
        # Its limit is hours, or 5 to 30 minutes for a call that reports no progress.
        LONG_WAIT,
        paths=_on_every_system("{home}/.claude.json"),
        moved_by="CLAUDE_CONFIG_DIR",
        types=True,
        restart="Start a new session; /mcp shows the server.",
        asks=True,
    ),
    Host(
        "cursor",
        "Cursor",
        # Its limit is not known.
        ("cursor", "cursor-vscode"),
        paths=_on_every_system("{home}/.cursor/mcp.json"),
        format="jsonc",
        restart="Cursor reads the file at once; Settings, MCP shows the server.",
        asks=True,
    ),
    Host(
        "vscode",
        "VS Code",
        ("visual studio code", "visual studio code - insiders", "vscode"),
        # It has no limit.
        LONG_WAIT,
        paths={
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
        # Its limit is not known.
        ("windsurf", "windsurf-client"),
        paths=_on_every_system("{home}/.codeium/windsurf/mcp_config.json"),
        restart="Press the refresh button in Cascade's MCP panel.",
    ),
    Host(
        "codex",
        "Codex",
        ("codex-mcp-client",),
        # Its limit is 60 s unless the entry sets another, as ours does: see `fields`.
        LONG_WAIT,
        paths=_on_every_system("{home}/.codex/config.toml"),
        moved_by="CODEX_HOME",
        format="toml",
        key="mcp_servers",
        # Seconds: the longest wait that a caller may request (600 s), and a minute for the response.
        fields={"tool_timeout_sec": 660},
        restart="Restart Codex; /mcp shows the server.",
    ),
    Host(
        "gemini-cli",
        "Gemini CLI",
        # Its limit is 10 minutes unless configured.
        ("gemini-cli-mcp-client",),
        LONG_WAIT,
        paths=_on_every_system("{home}/.gemini/settings.json"),
        format="jsonc",
        restart="Restart Gemini CLI; /mcp shows the server.",
    ),
    # It starts no servers on this machine. Its calls end after about 60 s.
    Host("chatgpt", "ChatGPT", ("openai-mcp", "chatgpt")),
)


WAIT_LIMITS = {name: host.wait for host in HOSTS for name in host.client_names}
"""Seconds that one call waits by default, by the client's name in lower case; `DEFAULT_WAIT` for unknown clients."""
HTTP_WAIT_LIMITS = {name: host.http_wait for host in HOSTS for name in host.client_names}
"""The same over HTTP."""
WAIT_MARGIN = 15
"""Seconds by which a host's limit is at least longer than that wait."""
