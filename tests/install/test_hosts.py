"""The wait limits of the hosts."""

from __future__ import annotations

import pytest

from luma_mcp.hosts import DEFAULT_WAIT, HOSTS, WAIT_LIMITS
from luma_mcp.settings import LONGEST_WAIT


@pytest.mark.parametrize(
    ("client", "seconds"),
    [
        # Hosts that end calls after a minute or less, or whose limit is unknown.
        ("claude-ai", 45),
        ("cursor-vscode", 45),
        ("openai-mcp", 45),
        ("windsurf", 45),
        ("", 45),
        ("unknown-client", 45),
        # Hosts that are known to allow more.
        ("claude-code", 240),
        ("Visual Studio Code", 240),
        ("gemini-cli-mcp-client", 240),
        ("codex-mcp-client", 240),
    ],
)
def test_call_waits_as_long_as_its_host_allows(client: str, seconds: int) -> None:
    assert WAIT_LIMITS.get(client.casefold(), DEFAULT_WAIT) == seconds


def test_configured_timeout_covers_the_longest_wait() -> None:
    """Codex ends calls after 60 s unless its entry has a timeout."""
    [timeout] = [value for host in HOSTS for value in host.fields.values()]
    [codex] = [host for host in HOSTS if host.fields]
    assert codex.id == "codex"
    assert codex.wait > 60
    assert timeout >= max(codex.wait, LONGEST_WAIT) + 30


def test_only_chatgpt_cannot_start_a_local_server() -> None:
    assert [host.id for host in HOSTS if not host.is_installable] == ["chatgpt"]
