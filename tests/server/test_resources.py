"""What can be read: the table, the exact schema, the list of jobs, one job."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from jsonschema import Draft202012Validator
from mcp.shared.exceptions import MCPError
from tests import table
from tests.clock import pass_time
from tests.conftest import ERAS, TOKEN
from tests.results import told
from tests.transports import Canned

from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import httpx2
    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Server = Callable[..., Client]

NAMES = ("model", "resolution", "duration", "dynamic_range", "aspect_ratio")
SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda jobid: jobid,
    "percent-encoded": lambda jobid: quote(jobid, safe=""),
    "half encoded": lambda jobid: jobid.replace("@", "%40"),
}


@pytest.fixture(params=ERAS)
def server(request: pytest.FixtureRequest, connect: Server, tmp_path: Path) -> Server:
    """A server with a journal, in either era."""

    def start(transport: httpx2.AsyncBaseTransport | None = None, **settings: str) -> Client:
        own = {"USEAPI_TOKEN": TOKEN, "LUMA_MCP_JOURNAL": str(tmp_path / "journal.db")}
        return connect(mode=request.param, transport=transport, environment={**own, **settings})

    return start


async def read(client: Client, uri: str) -> Any:
    """The one content of a resource, which is JSON."""
    [content] = (await client.read_resource(uri)).contents
    assert (content.uri, content.mime_type) == (uri, "application/json")
    return json.loads(content.model_dump()["text"])


async def order(client: Client, prompt: str = "A fox", **arguments: Any) -> dict[str, Any]:
    return told(await client.call_tool("generate_video", {"prompt": prompt, "wait_seconds": 0, **arguments}))[1]


async def test_every_resource_that_is_listed_can_be_read(server: Server) -> None:
    async with server() as client:
        resources = (await client.list_resources()).resources
        for resource in resources:
            assert (resource.title, resource.mime_type) != (None, None)
            assert await read(client, resource.uri)
        [template] = (await client.list_resource_templates()).resource_templates
    assert [resource.uri for resource in resources] == [
        "luma://options",
        "luma://schemas/generate_video",
        "luma://jobs",
    ]
    assert (template.uri_template, template.mime_type) == ("luma://jobs/{jobid}", "application/json")


async def test_the_options_are_the_table_as_list_options_tells_it_without_a_token(server: Server) -> None:
    async with server(USEAPI_TOKEN="") as client:
        options = await read(client, "luma://options")
        _, content = told(await client.call_tool("list_options", {}))
    assert options == content
    assert [model["name"] for model in options["models"]] == list(table.MODELS)
    assert options["parameters"]["resolution"] == list(table.RESOLUTIONS)
    assert options["parameters"]["aspect_ratio"] == list(table.ASPECT_RATIOS)


async def test_the_schema_accepts_what_the_table_has_and_nothing_else(server: Server) -> None:
    async with server() as client:
        schema = await read(client, "luma://schemas/generate_video")
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    for request in table.full_product(dict.fromkeys(table.IMAGES, "https://example.com/a.png"))[::7]:
        assert validator.is_valid({**request, "wait_seconds": 10}) == table.is_valid(request)
    assert not validator.is_valid({"prompt": "A fox", "fps": 60})


async def test_the_jobs_are_what_list_jobs_tells(server: Server) -> None:
    async with server() as client:
        empty = await read(client, "luma://jobs")
        first, second = await order(client), await order(client, "A cat", wait_seconds=100)
        jobs = await read(client, "luma://jobs")
        _, content = told(await client.call_tool("list_jobs", {}))
    assert empty["jobs"] == []
    assert jobs == content
    assert {job["jobid"]: job["state"] for job in jobs["jobs"]}[second["jobid"]] == "completed"
    assert first["jobid"] in [job["jobid"] for job in jobs["jobs"]]


@pytest.mark.parametrize("spelled", SPELLINGS.values(), ids=SPELLINGS)
async def test_a_job_has_the_facts_that_get_job_tells_however_its_address_is_spelled(
    server: Server, spelled: Callable[[str], str]
) -> None:
    async with server() as client:
        jobid = (await order(client))["jobid"]
        assert ":" in jobid
        assert "@" in jobid
        uri = f"luma://jobs/{spelled(jobid)}"
        running = await read(client, uri)
        _, done = told(await client.call_tool("get_job", {"jobid": jobid, "wait_seconds": 200}))
        completed = await read(client, uri)
    assert (running["jobid"], running["state"]) == (jobid, "running")
    assert completed == done


async def test_a_job_that_failed_can_be_read_with_its_reason(server: Server) -> None:
    async with server() as client:
        failed = await order(client, "A fox simulate:fail", wait_seconds=100)
        job = await read(client, f"luma://jobs/{failed['jobid']}")
    assert (job["state"], job["error"]) == ("failed", failed["error"])


async def test_reading_a_job_saves_nothing_although_its_files_are_wanted(server: Server, tmp_path: Path) -> None:
    async with server(LUMA_MCP_OUTPUT_DIR=str(tmp_path / "Luma")) as client:
        jobid = (await order(client, save=True))["jobid"]
        await pass_time(100)
        job = await read(client, f"luma://jobs/{jobid}")
        assert (job["state"], "saved_files" in job, (tmp_path / "Luma").exists()) == ("completed", False, False)
        _, done = told(await client.call_tool("get_job", {"jobid": jobid}))
    assert len(done["saved_files"]) == 1


@pytest.mark.parametrize(
    "uri",
    [
        "luma://nothing",
        "luma://jobs/none",
        "luma://jobs/j1v-u12345-email:studio@example.com-bot:luma",
        "luma://jobs/j1v-u1-email%3Aelse%40example.com-bot%3Aluma",
        "luma://jobs/",
        "luma://jobs/a/b",
        "luma://schemas/list_jobs",
        "ui://luma-ray-mcp/other.html",
        "file:///etc/passwd",
    ],
)
async def test_a_resource_that_is_not_there_is_an_invalid_parameter_that_is_named(server: Server, uri: str) -> None:
    async with server() as client:
        with pytest.raises(MCPError) as refused:
            await client.read_resource(uri)
    assert refused.value.code == -32602
    assert refused.value.error.data == {"uri": uri}


@pytest.mark.parametrize("part", ["..", "%2e%2e%2faccounts", "..%2Faccounts%2Fx", "%00", "a%2Fb"])
async def test_no_address_leads_the_api_astray(server: Server, simulator: Simulator, part: str) -> None:
    async with server() as client:
        with pytest.raises(MCPError) as refused:
            await client.read_resource(f"luma://jobs/{part}")
    assert refused.value.code == -32602
    assert simulator.requests.keys() <= {"GET /jobs/…"}


async def test_trouble_with_the_api_is_an_error_of_this_server_in_its_words(
    server: Server, simulator: Simulator
) -> None:
    async with server() as client:
        jobid = (await order(client))["jobid"]
        simulator.faults.append(Fault("GET", "/jobs", 401, b'{"error":"Unauthorized"}', times=9))
        with pytest.raises(MCPError, match="token") as trouble:
            await client.read_resource(f"luma://jobs/{jobid}")
    assert trouble.value.code == -32603
    assert TOKEN not in str(trouble.value)


async def test_without_the_api_the_list_of_jobs_is_what_the_journal_knows(server: Server) -> None:
    async with server() as client:
        jobid = (await order(client))["jobid"]
    async with server(Canned(503)) as client:
        jobs = await read(client, "luma://jobs")
    assert [job["jobid"] for job in jobs["jobs"]] == [jobid]
    assert jobs["problem"]


@pytest.mark.parametrize("uri", ["luma://jobs", "luma://jobs/j1"])
async def test_without_a_token_jobs_cannot_be_read_and_the_reason_is_told(server: Server, uri: str) -> None:
    async with server(USEAPI_TOKEN="") as client:
        with pytest.raises(MCPError, match="USEAPI_TOKEN"):
            await client.read_resource(uri)
