"""The table of apps in the documents, and the generated part of each app's page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.generating.snippets import snippet_block

from luma_mcp.catalog.tables import format_table
from luma_mcp.hosts import HOSTS
from luma_mcp.providers import AGENTS

if TYPE_CHECKING:
    from luma_mcp.hosts import Host, System

SYSTEM_NAMES: dict[System, str] = {"darwin": "macOS", "win32": "Windows", "linux": "Linux"}
# The first version of a new app's page.
NEW_PAGE = """# {name}

<!-- generated: host {id} -->
<!-- end -->

## Notes

- To be written.
"""


def format_path(host: Host, system: System) -> str:
    """Format the path of an app's configuration as a person writes it."""
    path = host.paths[system]
    if system == "win32":
        return path.format(home="%USERPROFILE%", appdata="%APPDATA%", config="").replace("/", "\\")
    return path.format(home="~", config="~/.config", appdata="")


def hosts_block() -> str:
    """All apps, each with a link to its page."""
    rows = [["app", "how to install", "a call waits", "configuration"]]
    for host in HOSTS:
        link = f"[{host.name}]({host.id}.md)"
        if host.is_installable:
            install = f"`luma-ray-mcp install {host.id}`"
            rows.append([link, install, f"{host.wait} s", f"`{host.key}`, {host.format.upper()}"])
        else:
            rows.append([link, "[a server for a team](../hosting.md)", "", ""])
    return format_table(rows)


def host_block(host: Host) -> str:
    """Build the section of an app from the table of hosts."""
    if not host.is_installable:
        return f"{host.name} starts no servers on your machine: it needs [a server for a team](../hosting.md)."
    rows = [["system", "configuration file"]]
    for system, name in SYSTEM_NAMES.items():
        if system in host.paths:
            rows.append([name, f"`{format_path(host, system)}`"])
    unchanged = "It asks for the token or key and leaves everything else in the file as it is."
    parts = [
        f"Run `luma-ray-mcp install {host.id}`. {unchanged}",
        "To do it by hand:",
        format_table(rows),
    ]
    if host.packaged:
        path = f"%LOCALAPPDATA%/{host.packaged}".replace("/", "\\")
        parts.append(f"On Windows, the packaged edition (MSIX) reads `{path}` instead.")
    if host.moved_by:
        parts.append(f"If `{host.moved_by}` is set, the file is in the folder that it names.")
    parts += [
        "Add this to the file, with your path and token:",
        snippet_block(host),
        f"With {AGENTS.title}, the variable is `{AGENTS.variable}` ([choosing an API](../choosing-an-api.md)).",
        host.restart,
        f"A call waits {host.wait} seconds here unless the agent sets `wait_seconds`. Then the agent calls `get_job`.",
    ]
    return "\n\n".join(parts)
