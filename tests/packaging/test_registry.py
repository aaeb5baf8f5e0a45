"""server.json follows the registry's rules.

The rules are from its schema of 2025-12-11 and from its other checks
(github.com/modelcontextprotocol/registry: docs/reference/server-json and internal/validators).
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from scripts.generating.registry import DEPENDENT, server_json
from tests.packaging.documents import ROOT

from luma_mcp.settings import HOSTING_VARIABLES, VARIABLES

SERVER: dict[str, Any] = server_json()
FORMATS = ("string", "number", "boolean", "filepath")
KNOWN_FIELDS = {
    "server": {"$schema", "name", "title", "description", "version", "packages", "repository", "websiteUrl", "icons"},
    "package": {
        "registryType",
        "identifier",
        "version",
        "runtimeHint",
        "transport",
        "environmentVariables",
        "packageArguments",
        "runtimeArguments",
    },
    "variable": {"name", "description", "format", "default", "isRequired", "isSecret", "choices", "placeholder"},
}
"""Fields of the format that we may use. The registry drops other fields without an error."""
VERSION_RANGE = re.compile(r"[\^~<>=*|, ]|\.x|latest")


def find_problems(server: dict[str, Any]) -> list[str]:
    """The reasons for which the registry would reject it."""
    found = [f"unknown field {name}" for name in server.keys() - KNOWN_FIELDS["server"]]
    if not re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", server["name"]) or not 3 <= len(server["name"]) <= 200:
        found.append("name is not reverse DNS with one slash")
    texts = ("title", "description")
    found += [f"{name} is too long or empty" for name in texts if not 1 <= len(server[name]) <= 100]
    if not 1 <= len(server["version"]) <= 255 or VERSION_RANGE.search(server["version"]):
        found.append("version is not one version")
    for package in server["packages"]:
        found += [f"unknown field {name}" for name in package.keys() - KNOWN_FIELDS["package"]]
        found += [f"{name} is missing" for name in ("registryType", "identifier", "transport") if name not in package]
        if package.get("transport") != {"type": "stdio"}:
            found.append("the transport of a local server is stdio, without other fields")
        if not package.get("version") or VERSION_RANGE.search(package["version"]):
            found.append("a package of this type has exactly one version")
        for variable in package["environmentVariables"]:
            found += find_variable_problems(variable)
    return found


def find_variable_problems(variable: dict[str, Any]) -> list[str]:
    found = [f"unknown field {name}" for name in variable.keys() - KNOWN_FIELDS["variable"]]
    if not variable.get("name"):
        found.append("a variable has no name")
    if variable.get("format", "string") not in FORMATS:
        found.append(f"{variable['format']} is not a format")
    texts, switches = ("default", "description"), ("isRequired", "isSecret")
    found += [f"{name} is not a text" for name in texts if not isinstance(variable.get(name, ""), str)]
    found += [f"{name} is neither true nor false" for name in switches if not isinstance(variable[name], bool)]
    return found


def test_server_json_follows_the_rules() -> None:
    assert SERVER["$schema"] == "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
    assert find_problems(SERVER) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "luma-ray-mcp"},
        {"name": "io.github.someone/luma/mcp"},
        {"description": "x" * 101},
        {"version": "^1.2.3"},
        {"version": "latest"},
        {"status": "active"},
        {"packages": [SERVER["packages"][0] | {"registry_type": "pypi"}]},
        {"packages": [SERVER["packages"][0] | {"version": "latest"}]},
        {"packages": [SERVER["packages"][0] | {"transport": {"type": "http"}}]},
        {"packages": [SERVER["packages"][0] | {"environmentVariables": [{"name": "A", "format": "url"}]}]},
    ],
    ids=str,
)
def test_violation_of_a_rule_is_found(wrong: dict[str, Any]) -> None:
    for package in wrong.get("packages", ()):
        for variable in package["environmentVariables"]:
            variable.update({"isRequired": False, "isSecret": False} | variable)
    assert find_problems(SERVER | wrong) != []


def test_package_and_its_secrets() -> None:
    [package] = SERVER["packages"]
    assert (package["registryType"], package["identifier"], package["runtimeHint"]) == ("pypi", "luma-ray-mcp", "uvx")
    variables = {variable["name"]: variable for variable in package["environmentVariables"]}
    expected = [row.metadata["name"] for name, row in VARIABLES.items() if name not in HOSTING_VARIABLES]
    assert list(variables) == expected
    secrets = [name for name, variable in variables.items() if variable["isSecret"]]
    assert secrets == ["USEAPI_TOKEN", "LUMA_AGENTS_API_KEY", "LUMA_MCP_HTTP_TOKEN"]
    # Either of the two credentials is enough.
    assert [name for name, variable in variables.items() if variable["isRequired"]] == []


@pytest.mark.parametrize("name", ["LUMA_MCP_API", "LUMA_MCP_BASE_URL"])
def test_variables_that_depend_on_the_credential_have_no_default(name: str) -> None:
    [variable] = [v for v in SERVER["packages"][0]["environmentVariables"] if v["name"] == name]
    assert "default" not in variable


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, row in VARIABLES.items()
        if row.default is not None and name not in {*DEPENDENT, *HOSTING_VARIABLES}
    ],
)
def test_defaults_are_those_of_the_server(name: str) -> None:
    row = VARIABLES[name]
    [variable] = [v for v in SERVER["packages"][0]["environmentVariables"] if v["name"] == row.metadata["name"]]
    assert row.metadata["parse"](variable["default"]) == row.default


def test_readme_names_the_server() -> None:
    """The registry looks for this line in the published package's description, to verify who owns it."""
    assert f"mcp-name: {SERVER['name']} " in (ROOT / "README.md").read_text(encoding="utf-8")
