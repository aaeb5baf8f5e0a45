"""What people type."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests import table

import luma_mcp

LUMA_MCP = [sys.executable, "-m", "luma_mcp"]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LUMA_MCP, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


def test_help_tells_what_to_do_first() -> None:
    done = run("--help")
    assert done.returncode == 0
    for word in ("luma-ray-mcp demo", "--simulate", "USEAPI_TOKEN", "options", "simulator"):
        assert word in done.stdout


def test_version_is_the_package_s() -> None:
    assert luma_mcp.__version__ in run("--version").stdout


def test_options_shows_the_whole_table() -> None:
    shown = run("options").stdout
    for word in (*table.MODELS, *table.RESOLUTIONS, *table.ASPECT_RATIOS, *table.DYNAMIC_RANGES):
        assert word in shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LUMA_MCP_MAX_WAIT_SECONDS", "soon"),
        ("USEAPI_TOKEN", "user:1 not-a-token"),
        ("LUMA_MCP_EMAIL", "user:1-not-a-token"),
    ],
)
def test_a_setting_that_cannot_be_used_is_one_line_on_stderr_and_exit_2(name: str, value: str) -> None:
    done = run(**{name: value})
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"luma-ray-mcp: {name} ")
    assert "not-a-token" not in line


def test_an_end_of_input_ends_the_server_quietly() -> None:
    done = run()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
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
def test_an_option_that_would_be_without_effect_is_refused_with_what_is_missing(
    arguments: tuple[str, ...], words: str
) -> None:
    done = run(*arguments, USEAPI_TOKEN="user:1-fox", LUMA_MCP_BASE_URL="http://127.0.0.1:9")
    assert (done.returncode, done.stdout, words in done.stderr) == (2, "", True), done.stderr


def test_options_that_go_together_are_taken() -> None:
    done = run("serve", "--simulate", "--speed", "9")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
