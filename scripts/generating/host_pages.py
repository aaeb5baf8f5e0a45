"""What the table of hosts says, as each host's page tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.generating.snippets import snippet_block

from luma_mcp.catalog import tables
from luma_mcp.hosts import HOSTS

if TYPE_CHECKING:
    from luma_mcp.hosts import Host, System

SYSTEM_NAMES: dict[System, str] = {"darwin": "macOS", "win32": "Windows", "linux": "Linux"}
FRAME = """# {name}

<!-- generated: host {id} -->
<!-- end -->

## Notes

- To be written.
"""
"""What a new host's page begins with."""


def place(host: Host, system: System) -> str:
    """Where its configuration lies, as a person writes it."""
    if system == "win32":
        path = host.places[system].format(home="%USERPROFILE%", appdata="%APPDATA%", config="")
        return path.replace("/", "\\")
    return host.places[system].format(home="~", config="~/.config", appdata="")


def hosts_block(folder: str = "") -> str:
    """All of them, each with its page, which is in that folder as seen from the document."""
    rows = [["host", "how to install", "a call waits at most", "configuration"]]
    for host in HOSTS:
        how = f"`luma-ray-mcp install {host.id}`" if host.places else "not possible"
        form = f"`{host.key}`, {host.format.upper()}" if host.places else ""
        rows.append([f"[{host.name}]({folder}{host.id}.md)", how, f"{host.wait} s", form])
    return tables.table(rows)


def host_block(host: Host) -> str:
    """The part of its page that the table of hosts knows."""
    if not host.places:
        return f"{host.name} starts no servers on your machine, so luma-ray-mcp cannot be added to it."
    rows = [["system", "configuration file"]]
    rows += [[name, f"`{place(host, system)}`"] for system, name in SYSTEM_NAMES.items() if system in host.places]
    packaged = ""
    if host.packaged:
        path = f"%LOCALAPPDATA%/{host.packaged}".replace("/", "\\")
        packaged = f"On Windows, the edition that comes as a package (MSIX) reads `{path}` instead.\n\n"
    moved = f"`{host.moved_by}` names another folder for it, if it is set.\n\n" if host.moved_by else ""
    return (
        f"In one step: `luma-ray-mcp install {host.id}`. It asks for the token, and keeps everything else "
        "in the file.\n\n"
        f"By hand:\n\n{tables.table(rows)}\n\n{packaged}{moved}Merge this into it, with your path and token:\n\n"
        f"{snippet_block(host)}\n\n{host.restart}\n\n"
        f"A call waits at most {host.wait} seconds for its video here. It answers then, and the job goes on; the agent "
        "asks again with `get_job`."
    )
