"""Records are parsed tolerantly: an invalid field never loses a paid job."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from luma_mcp.api.protocol import Account, Asset, Job, JobFiles, Media, RunningJob, VideoRequest, parse_time
from luma_mcp.api.useapi import responses
from luma_mcp.catalog.useapi import USEAPI

VIDEO: dict[str, Any] = {"url": "https://cdn.example.com/v.mp4", "duration": 5.04}
COMPLETED: dict[str, Any] = {
    "jobid": "j1",
    "type": "video",
    "status": "completed",
    "created": "2026-03-26T14:05:30.123Z",
    "updated": "2026-03-26T14:06:30.123Z",
    "response": {"video": VIDEO},
    "credits": {"dm_usage": 20, "dm_relaxed_usage": None},
}


def parse(record: dict[str, Any]) -> Job:
    return responses.parse_job(USEAPI, record)


def test_a_complete_record_becomes_a_job() -> None:
    thumbnail = {"media_type": "image/jpeg", "url": "https://cdn.example.com/t.jpg", "width": 64, "height": 36}
    files = {"video": VIDEO, "video_hdr_exr": "https://cdn.example.com/e.zip", "thumbnail": thumbnail}
    sent = {"prompt": "A fox", "model": "ray-v3", "imageStart": "u1:a", "aspect_ratio": "1:1"}
    assert parse(COMPLETED | {"response": files, "request": sent}) == Job(
        jobid="j1",
        status="completed",
        kind="video",
        created="2026-03-26T14:05:30.123Z",
        updated="2026-03-26T14:06:30.123Z",
        files=JobFiles(
            video=Media("https://cdn.example.com/v.mp4", duration=5.04),
            video_hdr_exr=Media("https://cdn.example.com/e.zip"),
            thumbnail=Media("https://cdn.example.com/t.jpg", "image/jpeg", 64, 36),
        ),
        credits_used=20.0,
        request=VideoRequest("A fox", model="ray-v3", aspect_ratio="1:1", image_start="u1:a"),
    )


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
        {"request": {"model": "ray-v3"}},
        {"novel": {"field": 1}},
        {"response": {"video": VIDEO, "thumbnail": 5, "last_frame": {"no": "url"}, "video_hdr_exr": []}},
        {"response": {"video": VIDEO | {"width": "wide", "duration": None}}},
    ],
    ids=str,
)
def test_invalid_field_is_absent(odd: dict[str, Any]) -> None:
    job = parse(COMPLETED | odd)
    assert job.state == "completed"
    assert job.request is None
    assert job.files.video is not None
    assert job.files.video.url == "https://cdn.example.com/v.mp4"


@pytest.mark.parametrize("odd", [None, 5, "none", [], {"video": {"url": ""}}, {"video": {"url": 7}}], ids=str)
def test_invalid_files_are_absent(odd: object) -> None:
    assert parse(COMPLETED | {"response": odd}).files == JobFiles()


@pytest.mark.parametrize(
    ("value", "number"),
    [(20, 20.0), (1.5, 1.5), ("20", 20.0), (True, None), (10**400, None), ("NaN", None), ({}, None)],
    ids=lambda value: repr(value)[:9],
)
def test_numbers_are_finite_or_absent(value: object, number: float | None) -> None:
    assert parse(COMPLETED | {"credits": {"dm_usage": value}}).credits_used == number


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
def test_every_status_but_completed_and_failed_is_running(status: Any, state: str) -> None:
    assert parse({"jobid": "j1", "status": status}).state == state


def test_long_status_is_shortened() -> None:
    assert parse({"jobid": "j1", "status": "dreaming" * 100}).status == ("dreaming" * 100)[:100]


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
def test_times_are_parsed_in_each_format_of_the_api(text: str | None, time: datetime | None) -> None:
    assert parse_time(text) == time


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"error": "NSFW"}, "NSFW"),
        ({"error": {"message": "NSFW"}, "code": 422}, "NSFW"),
        ({"error": "Failed", "errorDetails": "NSFW"}, "Failed; NSFW"),
        ({"errorDetails": {"message": "NSFW"}}, "NSFW"),
        ({"error": None}, None),
    ],
    ids=str,
)
def test_reason_of_a_failure_is_found_in_each_shape(record: dict[str, Any], reason: str | None) -> None:
    assert parse({"jobid": "j1", "status": "failed"} | record).failure_reason == reason


def test_elapsed_time_ends_with_the_job_or_now() -> None:
    now = datetime(2026, 3, 26, 14, 5, 40, 123000, tzinfo=UTC)
    assert parse(COMPLETED).elapsed_seconds(now) == 60
    running = parse(COMPLETED | {"status": "pending"})
    assert running.elapsed_seconds(now) == 10
    assert running.elapsed_seconds(now - timedelta(hours=1)) == 0
    assert parse({"jobid": "j1"}).elapsed_seconds(now) is None
    assert parse({"jobid": "j1", "status": "completed", "created": COMPLETED["created"]}).elapsed_seconds(now) is None


def test_rows_of_running_jobs_without_a_jobid_are_left_out() -> None:
    rows = [{"jobid": "j1", "type": "video", "model": 7, "account": "a@example.com"}, {"type": "video"}, "j2", None]
    [job] = responses.parse_running_jobs({"jobs": rows})
    assert job == RunningJob("j1", kind="video", account="a@example.com")
    assert job.is_video
    assert not replace(job, kind="image").is_video


def test_an_account_with_an_error_has_no_free_slots() -> None:
    [account] = responses.parse_accounts({"a@example.com": {"concurrency": 4, "executing": "1"}, "remaining": 7})
    assert account == Account("a@example.com", concurrency=4, executing=1)
    assert account.free_slots == 3
    assert replace(account, error="Session expired").free_slots == 0


@pytest.mark.parametrize(
    ("value", "flag"), [(True, True), (False, False), ("false", False), ("maybe", None), (None, None), ([], None)]
)
def test_flags_of_an_account(value: object, flag: bool | None) -> None:
    record = {"account": "a@example.com", "sessionValid": value, "created": value, "credits": 7, "concurrency": 1.5}
    account = responses.parse_added_account(record)
    assert (account.session_valid, account.created) == (flag, flag)
    assert (account.credits, account.concurrency) == (None, None)


def test_an_asset_needs_only_its_reference() -> None:
    assert responses.parse_asset({"assetRef": "u1:a", "email": ["?"]}) == Asset("u1:a")


def test_a_request_lists_what_is_set() -> None:
    request = VideoRequest.from_params({"prompt": "A fox", "duration": "10s"})
    assert request == VideoRequest("A fox", duration="10s")
    assert request.to_dict() == {"prompt": "A fox", "duration": "10s"}


@pytest.mark.parametrize("params", [{"prompt": "A fox", "length": "10s"}, {"duration": "10s"}])
def test_a_request_has_known_parameters_and_a_prompt(params: dict[str, str]) -> None:
    with pytest.raises(TypeError):
        VideoRequest.from_params(params)


@pytest.mark.parametrize("url", ["", "null", "/media/clip.mp4", "clip.mp4", "javascript:alert(1)"])
def test_invalid_link_is_absent(url: str) -> None:
    job = parse({"jobid": "j1", "status": "completed", "response": {"video": {"url": url}}})
    assert job.files.video is None


@pytest.mark.parametrize(
    ("record", "state"),
    [
        ({"status": "succeeded", "response": {"video": {"url": "https://cdn.example.com/a.mp4"}}}, "completed"),
        ({"status": "cancelled", "error": "Cancelled by an operator"}, "failed"),
        ({"status": "queued"}, "running"),
        ({"status": "processing", "error": "Slow today"}, "running"),
    ],
)
def test_state_of_an_unknown_status_depends_on_the_record(record: dict[str, Any], state: str) -> None:
    assert parse({"jobid": "j1", **record}).state == state
