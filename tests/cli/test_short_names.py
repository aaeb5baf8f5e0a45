"""Disks that accept only short names, such as encrypted home folders, in a separate process."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.cli.commands import TIMEOUT

if TYPE_CHECKING:
    from pathlib import Path

# Tests cannot create such a disk. Instead, an audit hook of the interpreter raises the disk's error.
DISK_WITH_SHORT_NAMES = """
import errno, os, sys
limit, folder = int(sys.argv.pop(1)), sys.argv.pop(1)
def refuse(event, arguments):
    if event in ("open", "os.link", "os.rename", "os.mkdir"):
        for path in arguments[:2]:
            if isinstance(path, str) and path.startswith(folder) and len(os.fsencode(os.path.basename(path))) > limit:
                raise OSError(errno.ENAMETOOLONG, "File name too long", path)
sys.addaudithook(refuse)
from luma_mcp.cli.main import main
main()
"""


@pytest.mark.sample(3)
@pytest.mark.parametrize("option", ["--save", "--output"])
@pytest.mark.parametrize("limit", [143, 60])
@pytest.mark.parametrize("prompt", ["雪山を走る赤い狐" * 9, "रेगिस्तान " * 9], ids=["Japanese", "Hindi"])
def test_a_video_is_saved_under_a_name_that_the_disk_accepts(
    tmp_path: Path, prompt: str, limit: int, option: str
) -> None:
    folder = tmp_path / "videos"
    environment = {**os.environ, "LUMA_MCP_OUTPUT_DIR": str(folder), "LUMA_MCP_JOURNAL": "off", "PYTHONUTF8": "1"}
    value = [] if option == "--save" else [f"{folder}/"]
    command = [
        sys.executable,
        "-c",
        DISK_WITH_SHORT_NAMES,
        str(limit),
        str(folder),
        "generate",
        "--simulate",
        prompt,
        option,
        *value,
    ]
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr
    [file] = folder.iterdir()
    assert str(file) in done.stdout
    assert file.name.endswith(".mp4")
    assert (prompt[:4] in file.name) == (limit == 143)
