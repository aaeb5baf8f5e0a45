"""The hosts that people use: ONE table of what has to be known of each."""

from __future__ import annotations

from dataclasses import dataclass

UNKNOWN_WAIT = 45
"""Seconds: the shortest cut that is known of any host is 60, and the answer needs its time."""
PATIENT_WAIT = 240
"""Seconds: within them nearly every job ends."""


@dataclass(frozen=True, slots=True)
class Host:
    """A row. `client_names`: how it calls itself to servers; `wait`: seconds that one call may wait for its job.

    What a host allows is the newest evidence that was found, not a promise of its makers.
    """

    name: str
    client_names: tuple[str, ...]
    wait: int = UNKNOWN_WAIT


HOSTS = (
    # About 240 s, in places 60 s, and not to be changed.
    Host("Claude Desktop", ("claude-ai", "claude-desktop")),
    # Hours; 5 to 30 minutes for a call that reports no progress.
    Host("Claude Code", ("claude-code",), PATIENT_WAIT),
    # No limit.
    Host("VS Code", ("visual studio code", "visual studio code - insiders", "vscode"), PATIENT_WAIT),
    # 60 s.
    Host("ChatGPT", ("openai-mcp", "chatgpt")),
    # 60 s unless configured.
    Host("Codex", ("codex-mcp-client",)),
    # 10 minutes unless configured.
    Host("Gemini CLI", ("gemini-cli-mcp-client",), PATIENT_WAIT),
    # Unknown.
    Host("Cursor", ("cursor", "cursor-vscode")),
    Host("Windsurf", ("windsurf", "windsurf-client")),
)


def wait_of(client_name: str) -> int:
    """Seconds that one call of that client may wait; the shortest there is for one that nobody knows."""
    for host in HOSTS:
        if client_name.casefold() in host.client_names:
            return host.wait
    return UNKNOWN_WAIT
