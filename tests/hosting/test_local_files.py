"""A server for remote callers uses no files of its machine for them, and its descriptions say so."""

from __future__ import annotations

import base64
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp import Client
from tests.cli.serving import STEP_TIMEOUT, run_server
from tests.clock import pass_time
from tests.conftest import BOTH_APIS, ERAS
from tests.results import read_result
from tests.server.calls import call, order, order_error

from luma_mcp.simulator.state import MEDIA

if TYPE_CHECKING:
    from collections.abc import Callable

    from luma_mcp.simulator.app import Simulator

    Hosted = Callable[..., Client]

PICTURE = (MEDIA / "1x1-thumbnail.jpg").read_bytes()
DATA = f"data:image/jpeg;base64,{base64.b64encode(PICTURE).decode()}"
LINK = "https://pictures.example.com/media/any/1x1-thumbnail.jpg"
# What only a caller on the same machine can use.
OF_THE_MACHINE = ("save", "path", "disk", "this machine", "folder", "join_videos")


async def list_texts(client: Client) -> str:
    """All texts that a client gets before its first call."""
    tools, prompts = await client.list_tools(), await client.list_prompts()
    resources, templates = await client.list_resources(), await client.list_resource_templates()
    shown = [tools, prompts, resources, templates]
    texts = [each.model_dump_json(by_alias=True, exclude_none=True) for each in shown]
    for prompt in prompts.prompts:
        required = {argument.name: "a fox" for argument in prompt.arguments or () if argument.required}
        texts.append((await client.get_prompt(prompt.name, required)).model_dump_json())
    return "\n".join([*texts, client.instructions or ""])


@BOTH_APIS
@pytest.mark.parametrize(("mode", "schema"), [(ERAS[0], "portable"), (ERAS[1], "exact")])
async def test_descriptions_do_not_mention_files(hosted: Hosted, mode: str, schema: str) -> None:
    async with hosted(mode, LUMA_MCP_SCHEMA=schema) as client:
        shown = await list_texts(client)
        names = {tool.name for tool in (await client.list_tools()).tools}
    # Icons are drawn with paths, and prompts speak of a flowing paragraph.
    shown = shown.replace("<path", "").replace("%3Cpath", "")
    assert [word for word in OF_THE_MACHINE if word in shown] == []
    assert {"generate_video", "get_job", "list_jobs", "list_options"} <= names
    async with hosted(mode, LUMA_MCP_SCHEMA=schema, has_local_files=True) as client:
        local = await list_texts(client)
    # The newest protocol has no instructions.
    assert [word for word in OF_THE_MACHINE if word not in local] in ([], ["disk"])


@BOTH_APIS
async def test_schema_of_list_options_and_of_the_resource_has_no_save(hosted: Hosted) -> None:
    async with hosted() as client:
        _, options = await call(client, "list_options", include_schema=True)
        [resource] = (await client.read_resource("luma://schemas/generate_video")).contents
    assert "save" not in options["schema"]["properties"]
    assert json.loads(resource.text) == options["schema"]  # type: ignore[union-attr]


@pytest.mark.parametrize("form", ["{}", '"{}"', "file://{}", "file:{}", "~/../..{}", "FILE://localhost{}", "C:{}"])
async def test_a_path_is_refused_whether_or_not_it_exists(hosted: Hosted, tmp_path: Path, form: str) -> None:
    existing, missing = tmp_path / "a.jpg", tmp_path / "b.jpg"
    existing.write_bytes(PICTURE)
    async with hosted(LUMA_MCP_INPUT_DIRS=str(tmp_path)) as client:
        errors = [await order_error(client, image_start=form.format(path)) for path in (existing, missing)]
    [text] = {json.dumps(error).replace("/a", "/b") for error in errors}
    problem = errors[0]["problems"][0]
    assert (problem["code"], errors[0]["charged"]) == ("unusable_image", "no")
    assert "an https:// link or a data: URI" in text
    assert "an absolute path" not in text


async def test_relative_file_link_is_not_an_uploaded_image(hosted: Hosted, simulator: Simulator) -> None:
    async with hosted() as client:
        error = await order_error(client, image_start="file:a.jpg")
    assert "starts with file: and must be" in error["message"]
    assert simulator.orders == []


async def test_a_saved_video_is_not_read(hosted: Hosted, tmp_path: Path) -> None:
    shared = {"LUMA_MCP_JOURNAL": str(tmp_path / "journal.db"), "LUMA_MCP_OUTPUT_DIR": str(tmp_path / "videos")}
    async with hosted(has_local_files=True, **shared) as client:
        _, saved = await order(client, save=True, wait_seconds=600)
    # What is in its place now is twice as long.
    Path(saved["saved_files"][0]).write_bytes((MEDIA / "16x9-10s-sdr.mp4").read_bytes())
    lengths: list[float] = []
    for has_local_files in (True, False):
        async with hosted(has_local_files=has_local_files, **shared) as client:
            result = await client.call_tool("get_job", {"jobid": saved["jobid"], "frames": 4})
            _, content = read_result(result, pictures=1)
            lengths.append(content["contact_sheet"]["times"][-1])
    local, hosted_elsewhere = lengths
    assert hosted_elsewhere <= 5 < local


async def test_links_and_data_are_still_images(hosted: Hosted) -> None:
    async with hosted() as client:
        refs: list[Any] = []
        for image in (DATA, LINK):
            _, content = await order(client, image_start=image)
            refs.append(content["assets"]["image_start"])
    # The same picture.
    assert refs[0] == refs[1]


async def test_refusal_of_save_names_an_alternative(hosted: Hosted) -> None:
    async with hosted() as client:
        error = await order_error(client, save=True)
        follow = await client.call_tool("get_job", {"jobid": "j1-bot:luma", "save": True})
    [problem] = error["problems"]
    assert (problem["field"], problem["code"]) == ("save", "no_such_feature")
    assert "download the video from the link" in error["message"]
    assert "save" not in error["suggestion"]
    assert error["suggestion"]["prompt"] == "A fox"
    assert follow.is_error


async def test_files_of_another_server_stay_unknown(hosted: Hosted, tmp_path: Path) -> None:
    """The journal may be shared with the server of a person who saves files."""
    videos = tmp_path / "videos"
    shared = {"LUMA_MCP_JOURNAL": str(tmp_path / "journal.db"), "LUMA_MCP_OUTPUT_DIR": str(videos)}
    async with hosted(has_local_files=True, **shared) as client:
        _, saved = await order(client, save=True, wait_seconds=600)
    [file] = saved["saved_files"]
    async with hosted(**shared) as client:
        answers = [await client.call_tool("get_job", {"jobid": saved["jobid"], "frames": 2})]
        answers += [await client.call_tool("list_jobs", {})]
        answers += [await client.call_tool("delete_job", {"jobid": saved["jobid"]})]
        answers += [await client.call_tool("get_job", {"jobid": saved["jobid"]})]
    texts = [answer.model_dump_json(exclude={"content": {1}}) for answer in answers]
    assert [text for text in texts if str(videos) in text or "saved" in text] == []
    assert (tmp_path / file).exists()


async def test_nothing_is_written_for_an_order_that_another_server_was_to_save(hosted: Hosted, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    shared = {"LUMA_MCP_JOURNAL": str(tmp_path / "journal.db"), "LUMA_MCP_OUTPUT_DIR": str(videos)}
    async with hosted(has_local_files=True, **shared) as client:
        _, running = await order(client, save=True)
    async with hosted(**shared) as client:
        # Longer than the server takes to look for what earlier ones left.
        await pass_time(300)
        text, content = await call(client, "get_job", jobid=running["jobid"])
    assert content["state"] == "completed"
    assert ("saved_files" in content, videos.exists()) == (False, False)
    assert "Download what you want to keep" in text


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_few_copies_of_videos_stay_in_the_temporary_folder(tmp_path: Path) -> None:
    """Many tenants share one disk."""
    environment: dict[str, Any] = {"LUMA_MCP_PUBLIC_URL": "http://127.0.0.1", "TMPDIR": str(tmp_path)}
    with run_server("--simulate", **environment) as (url, process):
        async with Client(url) as client:
            for number in range(5):
                _, content = await order(client, f"Fox {number} simulate:instant")
                await client.call_tool("get_job", {"jobid": content["jobid"], "frames": 1})
        assert len(list(tmp_path.rglob("*.mp4"))) == 4
        process.send_signal(signal.SIGTERM)
        await anyio.to_thread.run_sync(process.wait, STEP_TIMEOUT)
    assert list(tmp_path.rglob("*.mp4")) == []
