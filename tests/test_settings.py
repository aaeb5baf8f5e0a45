"""Environment variables: what counts as unset, what is refused, and that the token stays secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from luma_mcp.settings import VARIABLES, Settings, SettingsError

if TYPE_CHECKING:
    from dataclasses import Field


@pytest.mark.parametrize("value", ["", "   ", "${USEAPI_TOKEN}", "${user_config.token}", "Bearer ${TOKEN}"])
def test_an_empty_value_and_an_unexpanded_placeholder_count_as_unset(value: str) -> None:
    settings = Settings.from_environment({"USEAPI_TOKEN": value, "LUMA_MCP_SCHEMA": value, "LUMA_MCP_BASE_URL": value})
    assert settings == Settings()


def test_every_variable_is_read() -> None:
    settings = Settings.from_environment(
        {
            "USEAPI_TOKEN": " Bearer user:1-abc ",
            "LUMA_MCP_BASE_URL": "http://127.0.0.1:8080/v1/luma/",
            "LUMA_MCP_EMAIL": "me@example.com",
            "LUMA_MCP_MAX_WAIT_SECONDS": "120",
            "LUMA_MCP_SCHEMA": "EXACT",
            "LUMA_MCP_LOG_LEVEL": "debug",
        }
    )
    assert settings.token is not None
    assert settings.token.get_secret_value() == "user:1-abc"
    assert settings.base_url == "http://127.0.0.1:8080/v1/luma"
    assert settings.email == "me@example.com"
    assert settings.max_wait_seconds == 120
    assert (settings.schema, settings.log_level) == ("exact", "DEBUG")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("USEAPI_TOKEN", "user:1-abc def"),
        ("USEAPI_TOKEN", "user:1-äbc"),
        ("LUMA_MCP_BASE_URL", "http://api.example.com"),
        ("LUMA_MCP_BASE_URL", "api.example.com"),
        ("LUMA_MCP_BASE_URL", "https://user:hidden@api.example.com"),
        ("LUMA_MCP_BASE_URL", "https://api.example.com:99999"),
        ("LUMA_MCP_BASE_URL", "https://api.example.com:port"),
        ("LUMA_MCP_BASE_URL", "https://api example.com"),
        ("LUMA_MCP_BASE_URL", "https://api.example.com?key=hidden"),
        ("LUMA_MCP_BASE_URL", "https://[bad"),
        ("LUMA_MCP_EMAIL", "me"),
        ("LUMA_MCP_MAX_WAIT_SECONDS", "601"),
        ("LUMA_MCP_MAX_WAIT_SECONDS", "-1"),
        ("LUMA_MCP_SCHEMA", "strict"),
        ("LUMA_MCP_LOG_LEVEL", "loud"),
    ],
)
def test_a_value_that_cannot_be_used_is_one_line_that_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({name: value})
    assert str(caught.value).startswith(f"{name} must be ")
    assert "\n" not in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("row", VARIABLES.values(), ids=lambda row: row.metadata["name"])
@pytest.mark.parametrize(
    "value",
    ["user:1-hidden", "user:1-hid@den", " Bearer user:1-hidden", '"user:1-hidden"', "USEAPI_TOKEN=user:1-hidden"],
)
def test_a_token_that_was_pasted_into_the_wrong_variable_is_refused_and_not_repeated(
    row: Field[object], value: str
) -> None:
    name = row.metadata["name"]
    if name == "USEAPI_TOKEN":
        return
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({name: value})
    assert str(caught.value).startswith(f"{name} must be ")
    assert "USEAPI_TOKEN" in str(caught.value)
    assert "1-hid" not in str(caught.value)


def test_all_values_that_cannot_be_used_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"LUMA_MCP_SCHEMA": "x", "LUMA_MCP_LOG_LEVEL": "y"})
    assert len(str(caught.value).splitlines()) == 2


def test_the_token_is_in_no_repr_and_in_no_refusal() -> None:
    settings = Settings.from_environment({"USEAPI_TOKEN": "user:1-secret"})
    assert "secret" not in repr(settings)
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"USEAPI_TOKEN": "user:1 secret"})
    assert "secret" not in str(caught.value)
