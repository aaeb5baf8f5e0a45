"""Huge arguments: the work and the size of results are limited, and nothing is ordered."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from mcp import MCPError
from mcp.types import EmptyResult
from tests.server.declaring import AnyRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

MAX_RESULT = 10_000
MANY, LONG = 20_000, 3_000_000
LONG_TEXT = "a" * LONG
SPELLINGS = map("".join, itertools.product(*zip("reply_ref", "REPLY_REF", strict=True)))


def build_nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = {"a": [value]}
    return value


HUGE: dict[str, dict[str, Any]] = {
    "many unknown": {f"unknown_{number}": number for number in range(MANY)},
    "many misspelled": {f"resolutionn{number}": "720p" for number in range(MANY)},
    "many not offered": {f"audio_{number}": True for number in range(MANY)},
    "many described": {f"style_{number}": "warm" for number in range(MANY)},
    "many spellings": dict(zip(SPELLINGS, map(str, range(MANY)), strict=False)),
    "many nested": {f"n{number}": build_nested(20) for number in range(2000)},
    "long name": {LONG_TEXT: 1},
    "long link as name": {f"https://{LONG_TEXT}": 1},
    "long unknown value": {"unknown": LONG_TEXT},
    "large array": {"unknown": list(range(200_000))},
    "long prompt": {"prompt": LONG_TEXT},
    "array as prompt": {"prompt": list(range(200_000))},
    "long choice": {"resolution": "7" * LONG},
    "long flag": {"save": LONG_TEXT},
    "long number": {"wait_seconds": "9" * LONG},
    "large number": {"duration": 10**4000},
    "long reference": {"reply_ref": LONG_TEXT},
    "long address": {"reply_url": f"https://{LONG_TEXT}"},
    "long account": {"email": f"{LONG_TEXT}@example.com"},
    "long image": {"image_start": LONG_TEXT},
}


@pytest.mark.parametrize("arguments", HUGE.values(), ids=HUGE)
async def test_an_order_with_huge_arguments_gets_a_short_error(
    server: Callable[..., Client], simulator: Simulator, arguments: dict[str, Any]
) -> None:
    async with server() as client:
        result = await client.call_tool("generate_video", {"prompt": "A fox", "wait_seconds": 0, **arguments})
    assert result.structured_content is not None
    assert result.structured_content["error"]["kind"] == "invalid_arguments"
    assert result.structured_content["error"]["charged"] == "no"
    assert len(result.model_dump_json()) < MAX_RESULT
    assert simulator.service.jobs == {}


CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "long jobid": ("get_job", {"jobid": LONG_TEXT}),
    "long jobid to delete": ("delete_job", {"jobid": f"user:{LONG_TEXT}"}),
    "array as jobid": ("get_job", {"jobid": list(range(200_000))}),
    "many beside a jobid": ("get_job", {"jobid": "j1", **HUGE["many unknown"]}),
    "long state": ("list_jobs", {"state": LONG_TEXT}),
    "many for a list": ("list_jobs", HUGE["many misspelled"]),
    "long model": ("list_options", {"model": LONG_TEXT}),
    "many for options": ("list_options", HUGE["many not offered"]),
    "array beside nothing": ("delete_job", HUGE["large array"]),
}


@pytest.mark.parametrize(("tool", "arguments"), CALLS.values(), ids=CALLS)
async def test_every_tool_returns_a_short_error_for_huge_arguments(
    server: Callable[..., Client], tool: str, arguments: dict[str, Any]
) -> None:
    async with server() as client:
        result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert len(result.model_dump_json()) < MAX_RESULT


async def test_the_first_problems_are_listed_and_the_rest_counted(server: Callable[..., Client]) -> None:
    async with server() as client:
        result = await client.call_tool("generate_video", {**HUGE["many unknown"], "prompt": "A fox"})
    error = (result.structured_content or {})["error"]
    *reported, rest = error["problems"]
    assert [problem["field"] for problem in reported] == [f"unknown_{number}" for number in range(len(reported))]
    assert (rest["code"], rest["field"], rest["value"]) == ("more", f"unknown_{len(reported)}", MANY - len(reported))
    assert str(rest["value"]) in error["message"]
    # A suggestion would drop stated values. The prompt, which comes last, is not reported as missing.
    assert "suggestion" not in error
    assert "missing" not in json.dumps(error)


async def test_secrets_in_a_huge_link_are_not_shown(server: Callable[..., Client]) -> None:
    link = f"https://user:hidden{LONG_TEXT}@example.com/"
    async with server() as client:
        for arguments in ({"resolution": link}, {link: 1}, {"unknown": link}):
            result = await client.call_tool("generate_video", {"prompt": "A fox", **arguments})
            assert "hidden" not in result.model_dump_json()


READS: dict[str, Callable[[Client], Any]] = {
    "prompt": lambda client: client.get_prompt(LONG_TEXT),
    "resource": lambda client: client.read_resource(f"luma://jobs/{LONG_TEXT}"),
    "unknown resource": lambda client: client.read_resource(LONG_TEXT),
    "tool": lambda client: client.call_tool(LONG_TEXT, {}),
    "method": lambda client: client.session.send_request(AnyRequest(method=LONG_TEXT, params={}), EmptyResult),
    "prompt arguments": lambda client: client.get_prompt(
        "make_video", {"idea": "A fox", **{f"unknown_{number}": "x" for number in range(MANY)}}
    ),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
async def test_huge_names_are_not_repeated(server: Callable[..., Client], read: Callable[[Client], Any]) -> None:
    async with server() as client:
        with pytest.raises(MCPError) as caught:
            await read(client)
    assert len(str(caught.value.error)) < MAX_RESULT
