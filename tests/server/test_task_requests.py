"""Tasks over HTTP: each request declares its capabilities, and a header names the task."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from tests.server.by_hand import post, run_server
from tests.server.declaring import APPS, TASKS, assert_conforms

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with run_server() as (url, _):
        yield url


def order(url: str, *extensions: str, **arguments: Any) -> dict[str, Any]:
    arguments = {"prompt": "A fox", "wait_seconds": 0, **arguments}
    response = post(url, "tools/call", "generate_video", *extensions, name="generate_video", arguments=arguments)
    return dict(response["result"])


def test_each_request_declares_the_extension(url: str) -> None:
    task = order(url, TASKS)
    assert_conforms(task, "CreateTaskResult")
    assert task["resultType"] == "task"
    for others in ((), (APPS,)):
        result = order(url, *others)
        assert result["resultType"] == "complete"
        assert result["structuredContent"]["jobid"] == task["taskId"]
        rejected = post(url, "tasks/get", task["taskId"], *others, taskId=task["taskId"])
        assert rejected["error"]["code"] == -32021
        assert rejected["error"]["data"] == {"requiredCapabilities": {"extensions": {TASKS: {}}}}
    working = post(url, "tasks/get", task["taskId"], TASKS, taskId=task["taskId"])["result"]
    assert_conforms(working, "GetTaskResult")
    assert working["status"] == "working"


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
@pytest.mark.parametrize("header", ["generate_video", None, ""], ids=["another", "none", "empty"])
def test_a_header_must_name_the_task(url: str, method: str, header: str | None) -> None:
    task_id = order(url, TASKS)["taskId"]
    rejected = post(url, method, header, TASKS, taskId=task_id, inputResponses={})
    assert_conforms(rejected["error"], "Error")
    assert rejected["error"]["code"] == -32020


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
def test_a_header_may_be_plain_or_encoded(url: str, method: str) -> None:
    task_id = order(url, TASKS)["taskId"]
    for name in (task_id, f"=?base64?{base64.b64encode(task_id.encode()).decode()}?="):
        assert post(url, method, name, TASKS, taskId=task_id, inputResponses={})["result"]["resultType"] == "complete"
