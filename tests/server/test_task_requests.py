"""Tasks over real HTTP: each request says for itself what its client takes, and its header names the task."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from tests.server.by_hand import posted, serving
from tests.server.declaring import APPS, TASKS, conforms

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as (url, _):
        yield url


def order(url: str, *extensions: str, **arguments: Any) -> dict[str, Any]:
    arguments = {"prompt": "A fox", "wait_seconds": 0, **arguments}
    answer = posted(url, "tools/call", "generate_video", *extensions, name="generate_video", arguments=arguments)
    return dict(answer["result"])


def test_the_extension_counts_for_the_request_that_declares_it_and_for_no_other(url: str) -> None:
    task = order(url, TASKS)
    conforms(task, "CreateTaskResult")
    assert task["resultType"] == "task"
    for others in ((), (APPS,)):
        result = order(url, *others)
        assert result["resultType"] == "complete"
        assert result["structuredContent"]["jobid"] == task["taskId"]
        refused = posted(url, "tasks/get", task["taskId"], *others, taskId=task["taskId"])
        assert refused["error"]["code"] == -32021
        assert refused["error"]["data"] == {"requiredCapabilities": {"extensions": {TASKS: {}}}}
    working = posted(url, "tasks/get", task["taskId"], TASKS, taskId=task["taskId"])["result"]
    conforms(working, "GetTaskResult")
    assert working["status"] == "working"


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
@pytest.mark.parametrize("said", ["generate_video", None, ""], ids=["another", "none", "empty"])
def test_a_header_that_names_another_task_or_none_is_refused(url: str, method: str, said: str | None) -> None:
    task_id = order(url, TASKS)["taskId"]
    refused = posted(url, method, said, TASKS, taskId=task_id, inputResponses={})
    conforms(refused["error"], "Error")
    assert refused["error"]["code"] == -32020


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
def test_a_header_that_names_the_task_is_taken_plain_and_encoded(url: str, method: str) -> None:
    task_id = order(url, TASKS)["taskId"]
    for name in (task_id, f"=?base64?{base64.b64encode(task_id.encode()).decode()}?="):
        assert posted(url, method, name, TASKS, taskId=task_id, inputResponses={})["result"]["resultType"] == "complete"
