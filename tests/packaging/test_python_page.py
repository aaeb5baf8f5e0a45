"""Every block of Python in the documents runs, against the simulated API, in virtual time."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from PIL import Image
from tests.conftest import TOKEN, wall_clock
from tests.packaging.documents import Block, blocks

if TYPE_CHECKING:
    from pathlib import Path

    from luma_mcp.simulator.app import Simulator

WRITTEN = 'LumaClient("user:your-token")'
HERE = "LumaClient(TOKEN, transport=TRANSPORT, wall_clock=WALL_CLOCK)"
STARTED = "\n\nanyio.run(main)\n"
PRINTED = {
    "A video": ("https://",),
    "A wait with an end": ("is processing", "completed"),
    "What goes wrong": ("ray-v3-reasoning", "'resolution': '720p'"),
    "A picture": ("https://",),
    "Several at once": ("A fox in the snow completed", "A fox in the rain completed"),
}


def headings(block: Block) -> str:
    """The last heading above a block."""
    from tests.packaging.documents import ROOT

    above = (ROOT / block.page).read_text(encoding="utf-8").splitlines()[: block.line]
    return [line for line in above if line.startswith("## ")][-1].removeprefix("## ")


@pytest.mark.parametrize("block", blocks("python"), ids=str)
async def test_a_block_of_python_runs(
    block: Block,
    simulator: Simulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # What is changed: whom it asks, and who starts it. A block that does more asks the real API.
    assert block.text.count("LumaClient(") == block.text.count(WRITTEN) == 1
    assert block.text.endswith(STARTED)
    code = block.text.replace(WRITTEN, HERE).removesuffix(STARTED)
    picture = io.BytesIO()
    Image.new("RGB", (64, 36), "orange").save(picture, "JPEG")
    (tmp_path / "fox.jpg").write_bytes(picture.getvalue())
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {
        "TOKEN": TOKEN,
        "TRANSPORT": httpx2.ASGITransport(simulator),
        "WALL_CLOCK": wall_clock,
    }
    exec(compile(code, str(block), "exec"), names)  # noqa: S102 - our own documents
    await names["main"]()
    told = capsys.readouterr().out
    for words in PRINTED.get(headings(block), ()):
        assert words in told
    assert told


def test_every_part_of_the_page_was_found() -> None:
    found = {headings(block) for block in blocks("python") if block.page == "docs/python.md"}
    assert found == set(PRINTED)
