"""server.json for the MCP registry, in its format of 2025-12-11. Written at release time, into dist/.

`registryBaseUrl` is left out: without it the registry uses the one index that it allows for this kind of package.
`repository` and `websiteUrl` are optional, and are left out while the project has no public address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scripts.generating.project import DESCRIPTION, NAME, REGISTRY_NAME, VERSION

from luma_mcp.settings import HOSTING_VARIABLES, VARIABLES

if TYPE_CHECKING:
    from dataclasses import Field

SCHEMA = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
SECRET = frozenset({"token", "agents_key", "http_token"})
# Their default depends on which credential is set, so a client must not fill it in.
DEPENDENT = frozenset({"api", "base_url"})
FORMATS = {
    "output_dir": "filepath",
    **dict.fromkeys(("max_wait_seconds", "max_jobs_per_hour", "budget_per_day"), "number"),
}
BOOLEANS = frozenset({"allow_private_urls", "thumbnails"})


def server_json() -> dict[str, Any]:
    """Build the file."""
    return {
        "$schema": SCHEMA,
        "name": REGISTRY_NAME,
        "title": "Luma Ray 3 video",
        "description": DESCRIPTION,
        "version": VERSION,
        "packages": [
            {
                "registryType": "pypi",
                "identifier": NAME,
                "version": VERSION,
                "runtimeHint": "uvx",
                "transport": {"type": "stdio"},
                # A client starts this package for one person.
                "environmentVariables": [
                    _build_variable(name, row) for name, row in VARIABLES.items() if name not in HOSTING_VARIABLES
                ],
            }
        ],
    }


def _build_variable(name: str, row: Field[Any]) -> dict[str, Any]:
    variable = {
        "name": row.metadata["name"],
        "description": row.metadata["about"].replace("`", ""),
        "format": FORMATS.get(name, "string"),
        # One of two credentials is required. The format cannot express that.
        "isRequired": False,
        "isSecret": name in SECRET,
    }
    if name in BOOLEANS:
        variable |= {"format": "boolean", "default": str(row.default).lower()}
    elif row.default is not None and name not in DEPENDENT:
        variable["default"] = str(row.default)
    return variable
