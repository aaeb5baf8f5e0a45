"""The options of the program, and settings and options that it rejects."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from tests import table
from tests.cli.commands import run_command, run_process
from tests.conftest import TOKEN

import luma_mcp

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.commands import Run


def test_help_names_the_first_steps(run: Run) -> None:
    done = run("--help")
    assert done.returncode == 0
    for text in ("luma-ray-mcp demo", "--simulate", "USEAPI_TOKEN", "options", "simulator"):
        assert text in done.stdout


def test_version_is_the_package_s() -> None:
    assert luma_mcp.__version__ in run_process("--version", environment={}).stdout


def test_options_shows_the_whole_table(run: Run) -> None:
    shown = run("options").stdout
    for value in (*table.MODELS, *table.RESOLUTIONS, *table.ASPECT_RATIOS, *table.DYNAMIC_RANGES):
        assert value in shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LUMA_MCP_MAX_WAIT_SECONDS", "soon"),
        ("USEAPI_TOKEN", "user:1 not-a-token"),
        ("LUMA_MCP_EMAIL", "user:1-not-a-token"),
    ],
)
def test_an_unusable_setting_is_one_line_and_exit_code_2(run: Run, name: str, value: str) -> None:
    done = run(**{name: value})
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"luma-ray-mcp: {name} ")
    assert "not-a-token" not in line


OAUTH = {"LUMA_MCP_OAUTH_ISSUER": "https://login.example.com", "LUMA_MCP_PUBLIC_URL": "https://video.example.com"}
OPTIONAL_PACKAGES = [
    ("psycopg", "psycopg[binary]", {"LUMA_MCP_JOURNAL": "postgresql://db.example.com/luma"}),
    ("obstore", "obstore", {"LUMA_MCP_STORE": "s3://bucket/without-obstore"}),
    ("jwt", "pyjwt[crypto]", {"USEAPI_TOKEN": TOKEN, **OAUTH}),
    ("prometheus_client", "prometheus-client", {"LUMA_MCP_METRICS_ADDRESS": "127.0.0.1:0"}),
]


@pytest.mark.parametrize(
    ("module", "package", "environment"), OPTIONAL_PACKAGES, ids=[module for module, *_ in OPTIONAL_PACKAGES]
)
def test_a_package_that_a_setting_needs_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, package: str, environment: dict[str, str]
) -> None:
    # Simulates a missing package.
    monkeypatch.setitem(sys.modules, module, None)
    environment = {"HOME": str(tmp_path), **environment}
    done = run_command("serve", "--http", "--port", "0", environment=environment, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(tuple(f"luma-ray-mcp: {name} " for name in environment))
    assert "Install it with: " in line
    assert f"{package}>=" in line


def test_an_end_of_input_ends_the_server_quietly() -> None:
    done = run_process(environment={})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("serve", "--port", "9000"), "--port needs --http"),
        (("serve", "--port", "8787", "--simulate"), "--port needs --http"),
        (("serve", "--host", "localhost"), "--host needs --http"),
        (("serve", "--speed", "9"), "--speed needs --simulate"),
        (("serve", "--http", "--speed", "9"), "--speed needs --simulate"),
        (("--speed", "9"), "--speed needs --simulate"),
        (("--simulate", "generate", "A fox"), "--simulate goes after the command"),
        (("--speed", "9", "serve", "--simulate"), "--speed goes after the command"),
    ],
)
def test_an_option_without_effect_is_rejected(run: Run, arguments: tuple[str, ...], reason: str) -> None:
    done = run(*arguments, USEAPI_TOKEN="user:1-fox")
    assert (done.returncode, done.stdout, reason in done.stderr) == (2, "", True), done.stderr


def test_options_that_go_together_are_accepted() -> None:
    done = run_process("serve", "--simulate", "--speed", "9", environment={})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
