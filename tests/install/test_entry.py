"""Which entries are ours, the origin of their server, and how they are shown."""

from __future__ import annotations

import pytest

from luma_mcp.hosts import HOSTS
from luma_mcp.install.entry import Entry, Origin, format_entry, masked, parse_entry
from luma_mcp.providers import PROVIDERS, Provider

HOST = {host.id: host for host in HOSTS}
TOKEN = "user:4711-very-secret-token"
SOURCE = "git+https://example.com/luma-ray-mcp"


@pytest.mark.parametrize(
    ("command", "args", "origin"),
    [
        ("/opt/x/bin/luma-ray-mcp", (), "installed"),
        ("C:\\Tools\\luma-ray-mcp.exe", (), "installed"),
        ("luma-ray-mcp", ("--simulate",), "installed"),
        ("uv", ("run", "--directory", "/srv/luma-ray-mcp", "--no-dev", "luma-ray-mcp"), "installed"),
        ("uv", ("run", "--directory", "/srv/luma-ray-mcp", "--extra", "film", "luma-ray-mcp"), "installed"),
        ("uv", ("--directory", "/srv/x", "run", "luma-ray-mcp", "--simulate"), "installed"),
        ("uvx", ("--from", SOURCE, "luma-ray-mcp"), "installed"),
        ("uvx", (f"--from={SOURCE}", "luma-ray-mcp"), "installed"),
        ("uvx", ("--from", ".", "luma-ray-mcp"), "installed"),
        ("uvx", (SOURCE,), "installed"),
        ("uvx", (f"{SOURCE}.git@main",), "installed"),
        ("uvx", ("--from", f"luma-ray-mcp[otel] @ {SOURCE}", "luma-ray-mcp"), "installed"),
        ("/opt/uvx", ("--python", "3.12", "--from", SOURCE, "luma-ray-mcp[all]==1.2"), "installed"),
        ("pipx", ("run", "--spec", "/srv/x.whl", "luma-ray-mcp"), "installed"),
        ("cmd", ("/c", "uvx", "--from", r"C:\\luma", "luma-ray-mcp"), "installed"),
        # The former name, with a path.
        ("/srv/luma-mcp/.venv/bin/luma-mcp", (), "former"),
        (r"C:\luma\.venv\Scripts\luma-mcp.exe", (), "former"),
        ("uv", ("run", "--directory", "/srv/luma-mcp", "luma-mcp"), "former"),
        ("uvx", ("--from", "/srv/luma-mcp", "luma-mcp"), "former"),
        # The module. An unrelated project has a module of that name.
        ("/venv/bin/python", ("-m", "luma_mcp", "--simulate"), "module"),
        ("uv", ("run", "--project", "/srv/x", "python", "-m", "luma_mcp"), "module"),
        ("uv", ("run", "-m", "luma_mcp"), "module"),
        ("uvx", ("--from", "/srv/x", "python", "-m", "luma_mcp"), "module"),
        # A package from an index, with one of the names.
        ("luma-mcp", (), "index"),
        ("luma-mcp.exe", (), "index"),
        ("uvx", ("luma-mcp",), "index"),
        ("uvx", ("luma-ray-mcp@latest",), "index"),
        ("uvx", ("luma_ray_mcp>=1",), "index"),
        ("uvx", ("--from", "luma-mcp", "luma-mcp"), "index"),
        ("uvx", ("--from", "luma-ray-mcp[otel]==1.0", "luma-ray-mcp"), "index"),
        ("uvx", ("--from", "luma-mcp", "python", "-m", "luma_mcp"), "index"),
        ("uvx", ("--with", "luma-mcp", "python", "-m", "luma_mcp"), "index"),
        ("uvx", ("--from", "luma-ray-mcp", "another"), "index"),
        ("uvx", ("--index", "https://example.com/simple", "luma-ray-mcp"), "index"),
        # Options after the package are for the package.
        ("uvx", ("luma-mcp", "--from", "/srv/x"), "index"),
        ("C:\\bin\\uv.exe", ("tool", "run", "--refresh", "luma-ray-mcp"), "index"),
        ("uv", ("run", "--with", "luma-mcp", "python", "-m", "luma_mcp"), "index"),
        ("uv", ("run", "--with", "luma-ray-mcp==1", "luma-ray-mcp"), "index"),
        ("pipx", ("run", "luma-mcp"), "index"),
        ("pipx", ("run", "--spec", "luma-ray-mcp", "luma-ray-mcp"), "index"),
        ("python3", ("-m", "pipx", "run", "luma-ray-mcp"), "index"),
        ("cmd", ("/c", "uvx", "luma-ray-mcp"), "index"),
        # Other servers.
        ("npx", ("-y", "@someone/luma-ray-mcp", "--project", "7"), "other"),
        ("npx", ("-y", "luma-ray-mcp"), "other"),
        ("uvx", ("@someone/luma-ray-mcp",), "other"),
        ("uvx", ("--with", "luma-ray-mcp", "another"), "other"),
        ("uvx", ("another", "luma-ray-mcp"), "other"),
        ("uvx", ("--from",), "other"),
        ("uv", ("run", "--directory", "/srv/luma-ray-mcp", "another.py"), "other"),
        ("uv", ("pip", "install", "luma-ray-mcp"), "other"),
        ("docker", ("run", "ghcr.io/someone/luma-ray-mcp"), "other"),
        ("python", ("-m", "another", "luma_mcp"), "other"),
        ("cmd", ("/c",), "other"),
        ("npx", ("-y", "luma-ai-mcp-server"), "other"),
        ("luma", (), "other"),
        ("npx", ("luma-ray-mcp-of-others",), "other"),
        ("", (), "other"),
    ],
)
def test_origin_of_an_entry(command: str, args: tuple[str, ...], origin: Origin) -> None:
    entry = Entry(command, args)
    assert entry.origin == origin
    assert entry.is_ours == (origin in ("installed", "former", "module"))


def test_values_of_other_types_are_ignored() -> None:
    entry = parse_entry({"command": ["x"], "args": "x", "env": {"A": "b", "C": 1}, "timeout": 60, "disabled": True})
    assert entry == Entry("", (), {"A": "b"}, {"timeout": 60})


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=lambda provider: provider.name)
@pytest.mark.parametrize("value", ["", " ", "${input:token}", None])
def test_placeholder_of_a_credential_is_not_a_secret(provider: Provider, value: str | None) -> None:
    placeholder = provider.placeholder if value is None else value
    entry = Entry("luma-ray-mcp", (), {provider.variable: placeholder, "LUMA_MCP_EMAIL": "fox@example.com"})
    assert entry.secrets == {}
    secret = f"{provider.begins}4711"
    filled = Entry("luma-ray-mcp", (), {**entry.env, provider.variable: secret})
    assert (filled.secrets, filled.provider) == ({provider.variable: secret}, provider)


@pytest.mark.parametrize(
    ("env", "api"),
    [
        ({}, "useapi"),
        ({"LUMA_AGENTS_API_KEY": "${input:key}"}, "agents"),
        ({"LUMA_AGENTS_API_KEY": "luma-api-1", "USEAPI_TOKEN": "user:1"}, "useapi"),
        ({"LUMA_AGENTS_API_KEY": "luma-api-1", "USEAPI_TOKEN": "user:1", "LUMA_MCP_API": "Agents"}, "agents"),
        ({"LUMA_AGENTS_API_KEY": "luma-api-1", "LUMA_MCP_API": "useapi"}, "useapi"),
    ],
)
def test_api_of_an_entry_is_that_of_its_server(env: dict[str, str], api: str) -> None:
    assert Entry("luma-ray-mcp", (), env).provider.name == api


@pytest.mark.parametrize("host", ["cursor", "codex"])
def test_entry_is_shown_without_secrets(host: str) -> None:
    credentials = {"USEAPI_TOKEN": TOKEN, "LUMA_AGENTS_API_KEY": "luma-api-SECRET"}
    ours = Entry("/a b/luma-ray-mcp", ("--simulate",), {**credentials, "LUMA_MCP_EMAIL": "fox@example.com"})
    proxy = {"HTTPS_PROXY": "http://bob:SECRET@proxy:8080", "LUMA_MCP_OUTPUT_DIR": "/SECRET"}
    complete = Entry(ours.command, ("--simulate", "--key", "SECRET"), {**ours.env, **proxy})
    shown = format_entry(HOST[host], masked(complete, ours))
    for text in (
        "/a b/luma-ray-mcp",
        "--simulate",
        "user:…",
        "luma-api-…",
        "fox@example.com",
        "HTTPS_PROXY",
        "LUMA_MCP_OUTPUT_DIR",
    ):
        assert text in shown
    assert [secret for secret in (TOKEN, "4711", "SECRET", "bob", "--key") if secret in shown] == []


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("/opt/a b/luma-ray-mcp", "/opt/a b/luma-ray-mcp"),
        (r"C:\Program Files\uv\uvx.exe", r"C:\Program Files\uv\uvx.exe"),
        ("uvx", "uvx"),
        ("npx --key SECRET", "…"),
        ("KEY=SECRET npx", "…"),
        ("https://u:SECRET@h/x", "…"),
        ("", "no command"),
    ],
)
def test_command_is_shown_only_if_it_is_a_program(command: str, shown: str) -> None:
    assert Entry(command).safe_command == shown
    assert masked(Entry(command), Entry("other")).command == shown
