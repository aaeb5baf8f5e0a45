"""Records are read tolerantly: one odd field never loses a job that was paid for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from luma_mcp.api.protocol import Account, Job, parse_time

COMPLETED: dict[str, Any] = {
    "jobid": "j1",
    "type": "video",
    "status": "completed",
    "created": "2026-03-26T14:05:30.123Z",
    "updated": "2026-03-26T14:06:30.123Z",
    "response": {"video": {"url": "https://cdn.example.com/v.mp4", "duration": 5.04}},
    "credits": {"dm_usage": 20, "dm_relaxed_usage": None},
}


@pytest.mark.parametrize(
    "odd",
    [
        {"type": 7},
        {"created": 1234567890},
        {"updated": ["yesterday"]},
        {"credits": "none"},
        {"credits": {"dm_usage": "a lot"}},
        {"error": [7]},
        {"request": "as before"},
        {"request": {"prompt": ["?"]}},
        {"novel": {"field": 1}},
        {"response": COMPLETED["response"] | {"thumbnail": 5, "last_frame": {"no": "url"}, "video_hdr_exr": []}},
        {"response": {"video": COMPLETED["response"]["video"] | {"width": "wide", "duration": None}}},
    ],
    ids=str,
)
def test_an_odd_field_is_taken_as_absent(odd: dict[str, Any]) -> None:
    job = Job.model_validate(COMPLETED | odd)
    assert job.state == "completed"
    assert job.outputs.video is not None
    assert job.outputs.video.url == "https://cdn.example.com/v.mp4"


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("created", "running"),
        ("pending", "running"),
        ("processing", "running"),
        ("paused by moon phase", "running"),
        (None, "running"),
        ("completed", "completed"),
        ("failed", "failed"),
        ("Failed", "failed"),
    ],
)
def test_only_completed_and_failed_are_the_end(status: Any, state: str) -> None:
    assert Job.model_validate({"jobid": "j1", "status": status}).state == state


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-03-26T14:05:30.123Z", datetime(2026, 3, 26, 14, 5, 30, 123000, tzinfo=UTC)),
        ("2026-05-27 02:20:34 UTC", datetime(2026, 5, 27, 2, 20, 34, tzinfo=UTC)),
        ("2026-03-28", datetime(2026, 3, 28, tzinfo=UTC)),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_times_are_read_in_all_forms_that_the_api_has(text: str | None, time: datetime | None) -> None:
    assert parse_time(text) == time


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"error": "NSFW"}, "NSFW"),
        ({"error": {"message": "NSFW"}, "code": 422}, "NSFW"),
        ({"error": "Failed", "errorDetails": "NSFW"}, "Failed; NSFW"),
        ({"errorDetails": {"message": "NSFW"}}, "NSFW"),
        ({"error": None}, None),
    ],
    ids=str,
)
def test_a_failed_job_s_reason_is_found_in_every_shape(record: dict[str, Any], why: str | None) -> None:
    assert Job.model_validate({"jobid": "j1", "status": "failed"} | record).why_failed == why


def test_elapsed_time_runs_to_the_end_of_a_finished_job_and_to_now_for_a_running_one() -> None:
    now = datetime(2026, 3, 26, 14, 5, 40, 123000, tzinfo=UTC)
    assert Job.model_validate(COMPLETED).elapsed_seconds(now) == 60
    running = Job.model_validate(COMPLETED | {"status": "pending"})
    assert running.elapsed_seconds(now) == 10
    assert running.elapsed_seconds(now - timedelta(hours=1)) == 0
    assert Job.model_validate({"jobid": "j1"}).elapsed_seconds(now) is None


def test_an_account_with_an_error_has_no_free_slots() -> None:
    usable = Account.model_validate({"email": "a@example.com", "concurrency": 4, "executing": 1})
    assert usable.free_slots == 3
    assert usable.model_copy(update={"error": "Session expired"}).free_slots == 0
