"""Terminals that lack characters, and names that are not UTF-8: commands succeed, and every response is sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.commands import LUMA_MCP, TIMEOUT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux allows any bytes in names")
ASCII = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
TERMINALS = {
    "cp1252": {"PYTHONIOENCODING": "cp1252:strict"},
    "gbk": {"PYTHONIOENCODING": "gbk"},
    "the C locale": ASCII,
}
COMMANDS = (
    ["--help"],
    ["options"],
    ["jobs"],
    ["doctor", "--simulate", "--seconds", "60"],
    ["install", "cursor", "--simulate", "--yes"],
    ["generate", "日本 🦊", "--simulate", "--save"],
)
ODD_NAME = os.fsdecode(b"Vid\xe9os \xf0\x9f\xa6\x8a \xff")
"""The name of a folder, partly Latin-1 and partly UTF-8."""


def build_environment(home: Path, **more: str) -> dict[str, str]:
    """Build the variables of a terminal whose output folder has an unusual name."""
    (home / ".cursor").mkdir(parents=True, exist_ok=True)
    return {"HOME": str(home), "PATH": os.environ["PATH"], "LUMA_MCP_OUTPUT_DIR": str(home / "Vidéos 🦊"), **more}


def run(command: list[str], environment: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*LUMA_MCP, *command],
        env=environment,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=TIMEOUT,
    )


@pytest.mark.sample(1)
@pytest.mark.parametrize("terminal", TERMINALS)
def test_commands_replace_characters_that_a_terminal_lacks(tmp_path: Path, terminal: str) -> None:
    environment = build_environment(tmp_path, **TERMINALS[terminal])
    for command in COMMANDS:
        done = run(command, environment, tmp_path)
        assert (done.returncode, b"Traceback" in done.stdout) == (0, False), (command, done.stdout)
    [video] = (tmp_path / "Vidéos 🦊").iterdir()
    assert video.stat().st_size > 1000
    entry = json.loads((tmp_path / ".cursor" / "mcp.json").read_text(encoding="utf-8"))["mcpServers"]["luma"]
    # The file has the exact name of the folder, whatever the terminal's encoding is.
    assert entry["env"]["LUMA_MCP_OUTPUT_DIR"] == str(tmp_path / "Vidéos 🦊")


def test_commands_work_in_folders_of_any_name(tmp_path: Path) -> None:
    home = tmp_path / ODD_NAME
    home.mkdir()
    environment = build_environment(home, LUMA_MCP_OUTPUT_DIR=str(home / "out"))
    for command in (
        ["doctor", "--simulate", "--seconds", "60"],
        ["generate", "A fox", "--simulate", "--save"],
        ["demo"],
    ):
        done = run(command, environment, home)
        assert (done.returncode, b"Traceback" in done.stdout) == (0, False), (command, done.stdout)
    assert len(list((home / "out").iterdir())) == 1
    files = sorted(path.name.split("_", 1)[1] for path in (home / "luma-demo").iterdir())
    [film, sheet] = [name for name in files if name.startswith("sunset-at-sea")]
    assert (len(files), film, sheet) == (5, "sunset-at-sea.mp4", "sunset-at-sea_contact-sheet.jpg")


@pytest.mark.parametrize("command", [["get"], ["delete", "--yes"]])
def test_jobid_that_is_not_utf8_is_rejected(tmp_path: Path, command: list[str]) -> None:
    # Nothing answers at this address. The command must not call it.
    environment = build_environment(tmp_path, USEAPI_TOKEN="user:1-x", LUMA_MCP_BASE_URL="http://127.0.0.1:9")
    done = run([*command, ODD_NAME], environment, tmp_path)
    assert b"Error: jobid is not valid" in done.stdout
    assert b"Traceback" not in done.stdout


@pytest.mark.parametrize("option", ["--yes", "--print"])
def test_setting_that_is_not_utf8_is_not_installed(tmp_path: Path, option: str) -> None:
    environment = build_environment(tmp_path, LUMA_MCP_OUTPUT_DIR=str(tmp_path / ODD_NAME))
    done = run(["install", "cursor", "--simulate", option], environment, tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith(b"Error: LUMA_MCP_OUTPUT_DIR is not UTF-8")
    assert b"Nothing was changed" in done.stdout
    assert list((tmp_path / ".cursor").iterdir()) == []


@pytest.mark.sample(1)
@pytest.mark.parametrize("locale", [ASCII, {}], ids=["C", "UTF-8"])
def test_paid_result_is_returned_from_folders_of_any_name(tmp_path: Path, locale: dict[str, str]) -> None:
    home = tmp_path / ODD_NAME
    environment = build_environment(home, LUMA_MCP_OUTPUT_DIR=str(home / ODD_NAME), **locale)
    order = {"prompt": "日本 é 🦊", "save": True, "wait_seconds": 60}
    client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    messages: list[dict[str, Any]] = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": client},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "generate_video", "arguments": order}},
    ]
    messages[1]["params"]["_meta"] = {"progressToken": "é"}
    with subprocess.Popen(
        [*LUMA_MCP, "--simulate", "--speed", "1000"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.writelines(json.dumps(message).encode() + b"\n" for message in messages)
        server.stdin.flush()
        received: list[dict[str, Any]] = []
        while not received or received[-1].get("id") != 2:
            received.append(json.loads(server.stdout.readline()))
        server.stdin.close()
    result = received[-1]["result"]["structuredContent"]
    assert result["state"] == "completed"
    assert len(result["saved_files"]) == 1
    assert len(list((home / ODD_NAME).iterdir())) == 1
    assert server.returncode == 0
