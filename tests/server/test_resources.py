"""The resources: options, exact schema, list of jobs, and single jobs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from jsonschema import Draft202012Validator
from mcp.shared.exceptions import MCPError
from tests import table
from tests.clock import pass_time
from tests.conftest import BOTH_APIS, ERAS, TOKEN
from tests.server.calls import call, order
from tests.transports import CannedTransport

from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Server = Callable[..., Client]

NAMES = ("model", "resolution", "duration", "dynamic_range", "aspect_ratio")
every_era = pytest.mark.parametrize("mode", ERAS)
SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda jobid: jobid,
    "percent-encoded": lambda jobid: quote(jobid, safe=""),
    "half encoded": lambda jobid: jobid.replace("@", "%40"),
}


async def read(client: Client, uri: str) -> Any:
    """Read the only content of a resource, which is JSON."""
    [content] = (await client.read_resource(uri)).contents
    assert (content.uri, content.mime_type) == (uri, "application/json")
    return json.loads(content.model_dump()["text"])


@BOTH_APIS
@every_era
async def test_every_listed_resource_can_be_read(server: Server, mode: str) -> None:
    async with server(mode) as client:
        resources = (await client.list_resources()).resources
        for resource in resources:
            assert (resource.title, resource.mime_type) != (None, None)
            assert await read(client, resource.uri)
        templates = (await client.list_resource_templates()).resource_templates
    assert [resource.uri for resource in resources] == [
        "luma://options",
        "luma://schemas/generate_video",
        "luma://jobs",
    ]
    assert [(template.uri_template, template.mime_type) for template in templates] == [
        ("luma://jobs/{jobid}", "application/json"),
        ("luma://jobs/{jobid}/preview", "video/mp4"),
    ]


@every_era
async def test_the_options_match_list_options(server: Server, mode: str) -> None:
    async with server(mode, USEAPI_TOKEN="") as client:
        options = await read(client, "luma://options")
        _, content = await call(client, "list_options")
    # Clients may cache the resource, so it has nothing about the account.
    cost = content.pop("cost")
    assert options == content
    assert "not known yet" in cost
    assert [model["name"] for model in options["models"]] == list(table.MODELS)
    assert options["parameters"]["resolution"] == list(table.RESOLUTIONS)
    assert options["parameters"]["aspect_ratio"] == list(table.ASPECT_RATIOS)


async def test_the_schema_accepts_exactly_the_valid_requests(server: Server) -> None:
    async with server() as client:
        schema = await read(client, "luma://schemas/generate_video")
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    for request in table.full_product(dict.fromkeys(table.IMAGES, "https://example.com/a.png"))[::7]:
        assert validator.is_valid({**request, "wait_seconds": 10}) == table.is_valid(request)
    assert not validator.is_valid({"prompt": "A fox", "fps": 60})


@BOTH_APIS
@every_era
async def test_the_jobs_match_list_jobs(server: Server, mode: str) -> None:
    async with server(mode) as client:
        empty = await read(client, "luma://jobs")
        _, first = await order(client)
        _, second = await order(client, "A cat", wait_seconds=100)
        jobs = await read(client, "luma://jobs")
        _, content = await call(client, "list_jobs")
    assert empty["jobs"] == []
    assert jobs == content
    assert {job["jobid"]: job["state"] for job in jobs["jobs"]}[second["jobid"]] == "completed"
    assert first["jobid"] in [job["jobid"] for job in jobs["jobs"]]


@every_era
@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
async def test_a_job_has_the_content_of_get_job(server: Server, mode: str, spell: Callable[[str], str]) -> None:
    async with server(mode) as client:
        jobid = (await order(client))[1]["jobid"]
        assert ":" in jobid
        assert "@" in jobid
        uri = f"luma://jobs/{spell(jobid)}"
        running = await read(client, uri)
        _, done = await call(client, "get_job", jobid=jobid, wait_seconds=200)
        completed = await read(client, uri)
    assert (running["jobid"], running["state"]) == (jobid, "running")
    assert completed == done


async def test_a_failed_job_has_its_reason(server: Server) -> None:
    async with server() as client:
        _, failed = await order(client, "A fox simulate:fail", wait_seconds=100)
        job = await read(client, f"luma://jobs/{failed['jobid']}")
    assert (job["state"], job["error"]) == ("failed", failed["error"])


async def test_reading_a_job_saves_nothing(server: Server, folder: Path) -> None:
    async with server() as client:
        jobid = (await order(client, save=True))[1]["jobid"]
        await pass_time(100)
        job = await read(client, f"luma://jobs/{jobid}")
        assert (job["state"], "saved_files" in job, folder.exists()) == ("completed", False, False)
        _, done = await call(client, "get_job", jobid=jobid)
    assert len(done["saved_files"]) == 1


@every_era
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
async def test_an_unknown_resource_is_named(server: Server, mode: str, uri: str) -> None:
    async with server(mode) as client:
        with pytest.raises(MCPError) as rejected:
            await client.read_resource(uri)
    assert rejected.value.code == -32602
    assert rejected.value.error.data == {"uri": uri}


@pytest.mark.parametrize("part", ["..", "%2e%2e%2faccounts", "..%2Faccounts%2Fx", "%00", "a%2Fb"])
async def test_no_uri_reaches_another_endpoint(server: Server, simulator: Simulator, part: str) -> None:
    async with server() as client:
        with pytest.raises(MCPError) as rejected:
            await client.read_resource(f"luma://jobs/{part}")
    assert rejected.value.code == -32602
    assert simulator.requests.keys() <= {"GET /jobs/…"}


async def test_an_api_error_is_an_internal_error(server: Server, simulator: Simulator) -> None:
    async with server() as client:
        jobid = (await order(client))[1]["jobid"]
        simulator.faults.append(Fault("GET", "/jobs", 401, b'{"error":"Unauthorized"}', times=9))
        with pytest.raises(MCPError, match="token") as failure:
            await client.read_resource(f"luma://jobs/{jobid}")
    assert failure.value.code == -32603
    assert TOKEN not in str(failure.value)


async def test_the_list_works_without_the_api(server: Server) -> None:
    async with server() as client:
        jobid = (await order(client))[1]["jobid"]
    async with server(transport=CannedTransport(503)) as client:
        jobs = await read(client, "luma://jobs")
    assert [job["jobid"] for job in jobs["jobs"]] == [jobid]
    assert jobs["problem"]


@pytest.mark.parametrize("uri", ["luma://jobs", "luma://jobs/j1"])
async def test_jobs_need_a_token(server: Server, uri: str) -> None:
    async with server(USEAPI_TOKEN="") as client:
        with pytest.raises(MCPError, match="USEAPI_TOKEN"):
            await client.read_resource(uri)
