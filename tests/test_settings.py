"""Environment variables: unset values, rejected values, and secrecy of the token."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from luma_mcp.providers import PROVIDERS, Provider
from luma_mcp.settings import VARIABLES, ProxyVariableError, Settings, SettingsError, find_proxy

ROOT = os.path.abspath(os.sep)  # noqa: PTH100 - of the current drive, on Windows
HTTP_TOKEN = "0123456789abcdefghijklmnopqrstuv"
PARSED: dict[str, tuple[str, Any]] = {
    "USEAPI_TOKEN": (" Bearer user:1-abc ", SecretStr("user:1-abc")),
    "LUMA_AGENTS_API_KEY": ("Bearer luma-api-abc", SecretStr("luma-api-abc")),
    "LUMA_MCP_API": ("Agents", "agents"),
    "LUMA_MCP_HTTP_TOKEN": (HTTP_TOKEN, SecretStr(HTTP_TOKEN)),
    "LUMA_MCP_BASE_URL": ("http://127.0.0.1:8080/v1/luma/", "http://127.0.0.1:8080/v1/luma"),
    "LUMA_MCP_EMAIL": ("me@example.com", "me@example.com"),
    "LUMA_MCP_MAX_WAIT_SECONDS": ("120", 120),
    "LUMA_MCP_OUTPUT_DIR": ("~", Path.home()),
    "LUMA_MCP_INPUT_DIRS": (f"{ROOT} {os.pathsep}{os.pathsep}~", (Path(ROOT), Path.home())),
    "LUMA_MCP_ALLOW_PRIVATE_URLS": ("Yes", True),
    "LUMA_MCP_THUMBNAILS": ("0", False),
    "LUMA_MCP_JOURNAL": ("OFF", "off"),
    "LUMA_MCP_JOURNAL_MIGRATE": ("no", False),
    "LUMA_MCP_JOURNAL_REQUIRED": ("yes", True),
    "LUMA_MCP_REPEAT_WINDOW_SECONDS": ("60", 60),
    "LUMA_MCP_CONFIRM": ("Expensive", "expensive"),
    "LUMA_MCP_MAX_JOBS_PER_HOUR": ("10000", 10_000),
    "LUMA_MCP_BUDGET_PER_DAY": ("12.50", 12.5),
    "LUMA_MCP_SCHEMA": ("EXACT", "exact"),
    "LUMA_MCP_LOG_LEVEL": ("debug", "DEBUG"),
    "LUMA_MCP_LOG_FORMAT": ("JSON", "json"),
    "LUMA_MCP_PUBLIC_URL": ("https://video.example.com/mcp", "https://video.example.com"),
    "LUMA_MCP_OAUTH_ISSUER": ("https://id.example.com/realms/team/", "https://id.example.com/realms/team/"),
    "LUMA_MCP_OAUTH_AUDIENCE": ("api://luma", "api://luma"),
    "LUMA_MCP_OAUTH_REQUIRED_SCOPES": ("team, video", ("team", "video")),
    "LUMA_MCP_OAUTH_ADVERTISED_SCOPES": (
        "api://luma/read  api://luma/generate",
        ("api://luma/read", "api://luma/generate"),
    ),
    "LUMA_MCP_TENANTS_FILE": ("~/tenants.toml", Path.home() / "tenants.toml"),
    "LUMA_MCP_MAX_WAITS": ("5", 5),
    "LUMA_MCP_MAX_BODY_BYTES": ("20000", 20_000),
    "LUMA_MCP_SECRET_KEYS": (f"{HTTP_TOKEN}, {HTTP_TOKEN[::-1]}", (SecretStr(HTTP_TOKEN), SecretStr(HTTP_TOKEN[::-1]))),
    "LUMA_MCP_JOURNAL_LISTEN": ("postgresql://db.example.com/luma", SecretStr("postgresql://db.example.com/luma")),
    "LUMA_MCP_STORE": ("s3://videos/team/", "s3://videos/team"),
    "LUMA_MCP_METRICS_ADDRESS": ("[::1]:9464", ("::1", 9464)),
    "LUMA_MCP_DRAIN_SECONDS": ("5", 5),
}
"""A text and its parsed value for every variable."""
FIELDS = {row.metadata["name"]: name for name, row in VARIABLES.items()}


@pytest.mark.parametrize("value", ["", "   ", "${USEAPI_TOKEN}", "${user_config.token}", "Bearer ${TOKEN}"])
def test_empty_values_and_placeholders_count_as_unset(value: str) -> None:
    settings = Settings.from_environment(dict.fromkeys(PARSED, value))
    assert settings == Settings()


@pytest.mark.parametrize("variable", VARIABLES.values(), ids=lambda row: row.metadata["name"])
def test_every_variable_is_parsed(variable: Any) -> None:
    name = variable.metadata["name"]
    text, value = PARSED[name]
    settings = Settings.from_environment({name: text})
    assert getattr(settings, FIELDS[name]) == value != variable.default


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("USEAPI_TOKEN", "user:1-abc def"),
        ("USEAPI_TOKEN", "user:1-äbc"),
        ("LUMA_AGENTS_API_KEY", "luma-api-hid den"),
        ("LUMA_AGENTS_API_KEY", "Bearer"),
        ("LUMA_MCP_API", "luma"),
        ("LUMA_MCP_HTTP_TOKEN", "hidden"),
        ("LUMA_MCP_HTTP_TOKEN", HTTP_TOKEN[1:]),
        ("LUMA_MCP_HTTP_TOKEN", f"{HTTP_TOKEN} hidden"),
        ("LUMA_MCP_HTTP_TOKEN", f"{HTTP_TOKEN}ä"),
        ("LUMA_MCP_HTTP_TOKEN", "hidden-hidden-hidden-hidden-hidden"),
        ("LUMA_MCP_HTTP_TOKEN", "correct-horse-" * 3),
        ("LUMA_MCP_HTTP_TOKEN", "0101" * 20),
        ("LUMA_MCP_BASE_URL", "http://api.example.com"),
        ("LUMA_MCP_BASE_URL", "api.example.com"),
        ("LUMA_MCP_BASE_URL", "https://user:hidden@api.example.com"),
        ("LUMA_MCP_BASE_URL", "https://api.example.com:99999"),
        ("LUMA_MCP_BASE_URL", "https://api.example.com:port"),
        ("LUMA_MCP_BASE_URL", "https://api.example.com:0"),
        ("LUMA_MCP_BASE_URL", "https://api example.com"),
        ("LUMA_MCP_BASE_URL", "https://api.example.com?key=hidden"),
        ("LUMA_MCP_BASE_URL", "https://[bad"),
        ("LUMA_MCP_EMAIL", "me"),
        ("LUMA_MCP_MAX_WAIT_SECONDS", "601"),
        ("LUMA_MCP_MAX_WAIT_SECONDS", "-1"),
        ("LUMA_MCP_MAX_JOBS_PER_HOUR", "0"),
        ("LUMA_MCP_MAX_JOBS_PER_HOUR", "10001"),
        *(("LUMA_MCP_BUDGET_PER_DAY", text) for text in ("0", "-5", "$5", "5,50", "nan", "inf", "1e3", "٥", "9" * 400)),
        ("LUMA_MCP_OUTPUT_DIR", "videos"),
        ("LUMA_MCP_INPUT_DIRS", f"~{os.pathsep}pictures"),
        ("LUMA_MCP_JOURNAL", "journal.db"),
        ("LUMA_MCP_THUMBNAILS", "2"),
        ("LUMA_MCP_CONFIRM", "sometimes"),
        ("LUMA_MCP_SCHEMA", "strict"),
        ("LUMA_MCP_LOG_LEVEL", "loud"),
        ("LUMA_MCP_LOG_FORMAT", "xml"),
        ("LUMA_MCP_PUBLIC_URL", "http://video.example.com"),
        ("LUMA_MCP_OAUTH_ISSUER", "id.example.com"),
        ("LUMA_MCP_OAUTH_AUDIENCE", "api://luma api://other"),
        ("LUMA_MCP_TENANTS_FILE", "tenants.toml"),
        ("LUMA_MCP_MAX_WAITS", "0"),
        ("LUMA_MCP_MAX_BODY_BYTES", "9999"),
        ("LUMA_MCP_SECRET_KEYS", "hidden"),
        ("LUMA_MCP_SECRET_KEYS", f"{HTTP_TOKEN},hidden"),
        ("LUMA_MCP_SECRET_KEYS", "hidden-hidden-" * 3 + ","),
        ("LUMA_MCP_JOURNAL_LISTEN", "mysql://user:hidden@db/luma"),
        ("LUMA_MCP_STORE", "s3://key:hidden@bucket"),
        ("LUMA_MCP_STORE", "bucket/hidden"),
        ("LUMA_MCP_METRICS_ADDRESS", "9464"),
        ("LUMA_MCP_METRICS_ADDRESS", "127.0.0.1:70000"),
        ("LUMA_MCP_DRAIN_SECONDS", "3601"),
    ],
)
def test_error_about_an_unusable_value_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({name: value})
    assert str(caught.value).startswith(f"{name} must be ")
    assert "\n" not in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=lambda provider: provider.name)
@pytest.mark.parametrize("name", FIELDS)
def test_credential_in_another_variable_is_rejected(name: str, provider: Provider) -> None:
    credential = f"{provider.begins}1-hidden"
    for value in (
        *(
            credential,
            f"{credential}@x",
            credential.upper(),
            f" Bearer {credential}",
            f'"{credential}"',
            f"'{credential}",
        ),
        *(f"{provider.variable}={credential}", f'export {name}="{credential}"', f"Authorization: Bearer {credential}"),
        f"{ROOT}{os.pathsep} {credential}",
    ):
        if name == provider.variable:
            continue
        with pytest.raises(SettingsError) as caught:
            Settings.from_environment({name: value})
        advice = f"looks like an {provider.noun} for {provider.title}; set {provider.variable} instead"
        assert str(caught.value) == f"{name} {advice}"


def test_path_that_resembles_a_credential_is_accepted() -> None:
    for name in ("user:1", "luma-api-videos"):
        folder = Path(ROOT, "srv", name)
        assert Settings.from_environment({"LUMA_MCP_OUTPUT_DIR": str(folder)}).output_dir == folder


USEAPI, AGENTS = {"USEAPI_TOKEN": "user:1"}, {"LUMA_AGENTS_API_KEY": "luma-api-1"}


@pytest.mark.parametrize(
    ("variables", "api", "token", "unused"),
    [
        ({}, "useapi", None, None),
        (USEAPI, "useapi", "user:1", None),
        (AGENTS, "agents", "luma-api-1", None),
        (USEAPI | AGENTS, "useapi", "user:1", "LUMA_AGENTS_API_KEY"),
        ({"LUMA_MCP_API": "agents"}, "agents", None, None),
        ({"LUMA_MCP_API": "agents"} | USEAPI | AGENTS, "agents", "luma-api-1", None),
        ({"LUMA_MCP_API": "useapi"} | USEAPI | AGENTS, "useapi", "user:1", None),
        ({"LUMA_MCP_API": "agents"} | USEAPI, "agents", None, "USEAPI_TOKEN"),
        ({"LUMA_MCP_API": "useapi"} | AGENTS, "useapi", None, "LUMA_AGENTS_API_KEY"),
        ({"LUMA_MCP_API": "${API}", "USEAPI_TOKEN": "${TOKEN}"} | AGENTS, "agents", "luma-api-1", None),
    ],
)
def test_api_with_a_credential_is_used(
    variables: dict[str, str], api: str, token: str | None, unused: str | None
) -> None:
    settings = Settings.from_environment(variables)
    assert (settings.api, settings.unused) == (api, unused)
    assert (settings.token and settings.token.get_secret_value()) == token
    assert settings.base_url == settings.provider.base_url
    # A configured address applies to whichever API is in use.
    local = "http://127.0.0.1:1/v1"
    assert Settings.from_environment({**variables, "LUMA_MCP_BASE_URL": local}).base_url == local


def test_all_unusable_values_are_reported_together() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"LUMA_MCP_SCHEMA": "x", "LUMA_MCP_LOG_LEVEL": "y"})
    names = [line.split()[0] for line in str(caught.value).splitlines()]
    assert names == ["LUMA_MCP_SCHEMA", "LUMA_MCP_LOG_LEVEL"]


def test_token_is_neither_in_the_repr_nor_in_errors() -> None:
    for variables in ({"USEAPI_TOKEN": "user:1-hidden"}, {"LUMA_AGENTS_API_KEY": "luma-api-hidden"}):
        assert "hidden" not in repr(Settings.from_environment(variables))
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"USEAPI_TOKEN": "user:1 hidden"})
    assert "hidden" not in str(caught.value)


HTTPS = "https://api.example/v1"


@pytest.mark.parametrize(
    ("value", "proxy"),
    [
        ("http://proxy.corp:8080", "http://proxy.corp:8080"),
        ("proxy.corp:8080", "http://proxy.corp:8080"),
        ("proxy", "http://proxy"),
        ("//proxy.corp:8080/", "http://proxy.corp:8080/"),
        (" 'http://proxy.corp:8080'\n", "http://proxy.corp:8080"),
        ("HTTPS://user:p%40ss@[::1]:3128", "HTTPS://user:p%40ss@[::1]:3128"),
        ("socks://127.0.0.1:1080/", "socks5://127.0.0.1:1080/"),
        ("socks5h://127.0.0.1:1080", "socks5h://127.0.0.1:1080"),
        *((text, None) for text in ("", " ", "${HTTPS_PROXY}", "$https_proxy", "%HTTPS_PROXY%", "none", "DIRECT", "0")),
    ],
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_common_forms_of_a_proxy_are_accepted(
    variable: str, value: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert find_proxy(HTTPS) == proxy


@pytest.mark.parametrize(
    "value",
    [
        *("http://", "://", "http:/proxy.corp:80", "http:proxy.corp:80", "proxy.corp:port", "proxy.corp:99999", "a:0"),
        *("proxy one:80", "PROXY proxy.corp:80", "http=proxy.corp:80", "a.corp:1, b.corp:2", "http://[::1", "[::x]:80"),
        *("file:///proxy.pac", "http://wpad/proxy.pac", "socks4://a:1", "ftp://a", "http://user:swordfish@", "a..b"),
    ],
)
def test_error_about_an_invalid_proxy_does_not_repeat_it(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(ProxyVariableError) as refused:
        find_proxy(HTTPS)
    assert str(refused.value) == "HTTPS_PROXY"
    # The error affects only requests that would use this proxy.
    assert find_proxy("http://api.example/v1") is None


def test_most_specific_usable_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://all.corp:1")
    assert find_proxy(HTTPS) == "socks5://all.corp:1"
    monkeypatch.setenv("HTTPS_PROXY", "secure.corp:2")
    assert find_proxy(HTTPS) == "http://secure.corp:2"
    monkeypatch.setenv("NO_PROXY", "localhost other.example, api.example")
    assert find_proxy(HTTPS) is None


# The address of a database.

ADDRESS = "postgresql://luma:pass%20word@db.example.com/orders?sslmode=verify-full"


@pytest.mark.parametrize(
    "address", [ADDRESS, "POSTGRES://localhost/orders", "postgresql:///orders?host=/run/postgresql"]
)
def test_database_address_is_a_secret(address: str) -> None:
    settings = Settings.from_environment({"LUMA_MCP_JOURNAL": address})
    assert isinstance(settings.journal, SecretStr)
    assert settings.journal.get_secret_value() == address
    assert address not in repr(settings)


@pytest.mark.parametrize(
    "address",
    ["postgresql://luma:pass word@db/orders", "postgresql:pass word", "host=db password=pass", "mysql://luma:pass@db"],
)
def test_error_about_an_unusable_address_does_not_repeat_it(address: str) -> None:
    with pytest.raises(SettingsError, match="LUMA_MCP_JOURNAL must be") as refused:
        Settings.from_environment({"LUMA_MCP_JOURNAL": address})
    assert "pass" not in str(refused.value)


def test_psycopg_is_imported_only_for_a_database(tmp_path: Path) -> None:
    program = (
        "import sys; from datetime import UTC, datetime; from luma_mcp.settings import Settings; "
        "from luma_mcp.service.service import open_journal; import luma_mcp.server.app, luma_mcp.doctor.checks; "
        "open_journal(Settings.from_environment({'LUMA_MCP_JOURNAL': sys.argv[1]}), api='api', "
        "wall_clock=lambda: datetime.now(UTC)); print('psycopg' in sys.modules)"
    )
    for journal, imported in ((str(tmp_path / "journal.db"), "False"), ("off", "False"), (ADDRESS, "True")):
        command = [sys.executable, "-c", program, journal]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == imported
