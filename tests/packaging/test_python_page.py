"""Every Python example in the documents runs with the simulated API in virtual time, and type-checks."""

from __future__ import annotations

import inspect
import io
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from PIL import Image
from tests.conftest import TOKEN, resolve, wall_clock
from tests.packaging.documents import ROOT, Block, find_blocks

from luma_mcp.api.useapi.client import LumaClient

if TYPE_CHECKING:
    from pathlib import Path

    from luma_mcp.simulator.app import Simulator

CLIENT_IN_EXAMPLES = 'LumaClient("user:your-token")'
CLIENT_IN_TEST = "LumaClient(TOKEN, transport=TRANSPORT, wall_clock=WALL_CLOCK, resolve=RESOLVE)"
LAST_LINES = "\n\nanyio.run(main)\n"
EXPECTED_OUTPUT = {
    "A video": ("https://",),
    "A limited wait": ("is processing", "completed"),
    "Errors": ("ray-v3-reasoning", "'resolution': '720p'"),
    "An image": ("https://",),
    "Saving the files": ("videos", "a-fox-in-the-snow", ".mp4"),
    "Several at once": tuple(f"fox-{number}-in-the-snow_" for number in range(1, 11)),
}
REJECTED = """
from luma_mcp import VideoRequest
VideoRequest(prompt="A fox", resolution="4k")
VideoRequest(prompt="A fox", model="ray-v2")
VideoRequest(prompt="A fox", aspect_ratio="2:1")
VideoRequest(prompt="A fox", duration="7s")
VideoRequest(prompt="A fox", dynamic_range="hdr10")
VideoRequest(prompt="A fox", length="5s")
VideoRequest(prompt="A fox", resolution="1080p", duration="10s")
"""
"""Every call but the last one has a value that the API does not document, or an unknown parameter."""


def find_heading(block: Block) -> str:
    """The last heading above a block."""
    above = (ROOT / block.page).read_text(encoding="utf-8").splitlines()[: block.line]
    return [line for line in above if line.startswith("## ")][-1].removeprefix("## ")


@pytest.mark.parametrize("block", find_blocks("python"), ids=str)
async def test_example_runs(
    block: Block,
    simulator: Simulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Only the client's arguments and the start are replaced; an example with more clients would use the real API.
    assert block.text.count("LumaClient(") == block.text.count(CLIENT_IN_EXAMPLES) == 1
    assert block.text.endswith(LAST_LINES)
    code = block.text.replace(CLIENT_IN_EXAMPLES, CLIENT_IN_TEST).removesuffix(LAST_LINES)
    image = io.BytesIO()
    Image.new("RGB", (64, 36), "orange").save(image, "JPEG")
    (tmp_path / "fox.jpg").write_bytes(image.getvalue())
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {
        "TOKEN": TOKEN,
        "TRANSPORT": httpx2.ASGITransport(simulator),
        "WALL_CLOCK": wall_clock,
        "RESOLVE": resolve,
    }
    exec(compile(code, str(block), "exec"), names)  # noqa: S102 - our own documents
    await names["main"]()
    output = capsys.readouterr().out
    for text in EXPECTED_OUTPUT.get(find_heading(block), ()):
        assert text in output
    assert output


def test_every_section_of_the_page_has_an_example() -> None:
    sections = {find_heading(block) for block in find_blocks("python") if block.page == "docs/python.md"}
    assert sections == set(EXPECTED_OUTPUT)


def build_class_example() -> str:
    """The indented example of the class's docstring, as a program."""
    example = re.search(r"^(?: {4}.*\n)+", inspect.cleandoc(LumaClient.__doc__ or ""), flags=re.MULTILINE)
    assert example is not None
    assert "luma.wait(job)" in example[0]
    return f"from luma_mcp import LumaClient, VideoRequest\n\nasync def main(token: str) -> None:\n{example[0]}"


def test_examples_type_check_and_invalid_options_do_not(tmp_path: Path) -> None:
    programs = {f"example_{number}.py": block.text for number, block in enumerate(find_blocks("python"))}
    programs |= {"docstring.py": build_class_example(), "rejected.py": REJECTED.lstrip()}
    for name, text in programs.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    # Reading the types of other packages too would take three times as long.
    ours_only = ["--no-site-packages", "--ignore-missing-imports", "--follow-imports=silent"]
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=cache", *ours_only]
    run = subprocess.run(
        [*mypy, *sorted(programs)],
        cwd=tmp_path,
        env=os.environ | {"MYPYPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    found = [line.split(": ")[0] for line in run.stdout.splitlines() if ": error: " in line]
    assert found == [f"rejected.py:{line}" for line in range(2, 8)], run.stdout + run.stderr
