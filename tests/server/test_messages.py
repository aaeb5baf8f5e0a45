"""Error messages for agents: facts, charges and one next step, but no command to run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args

import pytest

from luma_mcp import errors
from luma_mcp.errors import LumaError, Problem
from luma_mcp.providers import USEAPI
from luma_mcp.server.messages import NextAction, describe_error, explain_error
from luma_mcp.server.results import build_error_content

JOBID = "j1-u12345-x-bot:luma"
TOOLS = ("generate_video", "get_job", "list_jobs", "delete_job", "list_options", "join_videos")
NEXT_AT = datetime(2026, 11, 22, 12, 5, tzinfo=UTC)


def full_slots() -> errors.Capacity:
    error = errors.Capacity(charged="no", retry_after=30)
    error.running = (errors.JobReference(JOBID, "A fox"),)
    error.deletable = (errors.JobReference("j2"),)
    return error


def expired_session(*, all_accounts: bool) -> errors.AccountSession:
    error = errors.AccountSession(charged="no")
    error.all_accounts = all_accounts
    return error


def transient_image(jobid: str | None = None) -> errors.InvalidArguments:
    problem = Problem("image_start", "unusable_image", reason="could not be fetched")
    return errors.InvalidArguments([problem], charged="no", retry="later", jobid=jobid)


def spent_budget(next_at: datetime | None) -> errors.BudgetReached:
    return errors.BudgetReached(
        100, 90, 20, "such_videos", "credits", is_shared=True, next_at=next_at, retry_after=600 if next_at else None
    )


CASES: dict[str, tuple[LumaError, NextAction]] = {
    "missing prompt": (errors.InvalidArguments([Problem("prompt", "missing")], charged="no"), "fix_arguments"),
    "transient image": (transient_image(), "order_later"),
    "image of a running job": (transient_image(JOBID), "get_job"),
    "no token": (errors.NotConfigured("USEAPI_TOKEN"), "fix_setup"),
    "other setting": (errors.NotConfigured("LUMA_MCP_OUTPUT_DIR"), "fix_setup"),
    "unauthorized": (errors.Unauthorized(charged="no"), "fix_setup"),
    "payment required": (errors.PaymentRequired(charged="no"), "fix_setup"),
    "forbidden": (errors.Forbidden(), "none"),
    "access_denied": (errors.AccessDenied(), "fix_setup"),
    "unknown job": (errors.NotFound("job"), "list_jobs"),
    "deleted job": (errors.NotFound("job", deleted=True, saved_files=("/videos/a.mp4",)), "none"),
    "unknown asset": (errors.NotFound("order_input", charged="no"), "fix_arguments"),
    "unknown account": (errors.NotFound("account", charged="no"), "fix_arguments"),
    "wrong address": (errors.NotFound("address", charged="no"), "fix_setup"),
    "no account": (errors.NotFound("any_account", charged="no"), "fix_setup"),
    "running job": (errors.Conflict(), "get_job"),
    "just finished": (errors.Conflict("just_finished", charged="no"), "list_jobs"),
    "moderated": (errors.Moderated(charged="no"), "fix_arguments"),
    "full slots": (full_slots(), "ask_user"),
    "hourly limit": (errors.LimitReached(3, NEXT_AT, is_shared=True, retry_after=600), "order_later"),
    "budget": (spent_budget(NEXT_AT), "order_later"),
    "more than the budget": (spent_budget(None), "ask_user"),
    "no journal": (errors.JournalUnavailable("the file cannot be used"), "fix_setup"),
    "expired session": (expired_session(all_accounts=False), "fix_setup"),
    "expired sessions": (expired_session(all_accounts=True), "fix_setup"),
    "failed API": (errors.Upstream(status=503, charged="no"), "order_later"),
    "own failure": (errors.Upstream("internal", detail="KeyError"), "list_jobs"),
    "DNS": (errors.NetworkError("dns", charged="no"), "order_later"),
    "settings": (errors.NetworkError("unsendable", charged="no"), "fix_setup"),
    "lost answer": (errors.OutcomeUnknown("no answer came in time", candidates=(JOBID,)), "ask_user"),
    "lost answer before": (errors.OutcomeUnknown("its answer was lost", candidates=(), age=200), "ask_user"),
    "no file": (errors.DownloadError("The link answers 500."), "order_later"),
    "full disk": (errors.DownloadError("There is no room left in /tmp.", folder_unusable=True), "fix_setup"),
    "failed job": (errors.JobFailed(jobid=JOBID, api_message=None, credits_used=None), "fix_arguments"),
}
"""An error of each kind, and its next action after a call of `generate_video`."""
each_error = pytest.mark.parametrize("error", [error for error, _ in CASES.values()], ids=CASES)


@pytest.mark.parametrize(("error", "action"), CASES.values(), ids=CASES)
def test_every_error_has_one_next_action(error: LumaError, action: NextAction) -> None:
    assert explain_error(error, "generate_video", USEAPI)[1] == action


def test_every_kind_of_error_is_covered() -> None:
    assert {error.kind for error, _ in CASES.values()} == set(get_args(errors.Kind))
    # `join_videos` follows only calls of other tools.
    assert {action for _, action in CASES.values()} | {"join_videos"} == set(get_args(NextAction))


@pytest.mark.parametrize("tool", TOOLS)
@each_error
def test_no_text_names_a_command(error: LumaError, tool: str) -> None:
    text = describe_error(error, tool, USEAPI)
    assert "luma-ray-mcp" not in text
    assert "--" not in text
    assert "None" not in text
    assert text.endswith(".")
    action = explain_error(error, tool, USEAPI)[1]
    if action in TOOLS and "Try again" not in text:
        assert action in text


@each_error
def test_charges_are_mentioned_only_for_orders(error: LumaError) -> None:
    is_free = error.charged == "no" and error.kind != "job_failed"
    assert ("Nothing was charged." in describe_error(error, "generate_video", USEAPI)) == is_free
    for tool in TOOLS[1:]:
        assert "Nothing was charged." not in describe_error(error, tool, USEAPI)
        if error.kind != "job_failed":
            assert "charged" not in build_error_content(error, tool, USEAPI)


@pytest.mark.parametrize(
    ("used", "money", "charged"),
    [
        (None, "Whether it used credits is not known.", "unknown"),
        (0, "It used 0 credits.", "no"),
        (20, "It used 20 credits.", "yes"),
    ],
)
def test_failed_job_and_its_credits(used: float | None, money: str, charged: str) -> None:
    error = errors.JobFailed(jobid=JOBID, api_message="Too dark", credits_used=used)
    content = build_error_content(error, "get_job", USEAPI)
    assert content["message"] == f'The video was not made; the API says: "Too dark". {money}'
    assert (content["reason"], content["charged"]) == ("Too dark", charged)


def test_full_slots_name_the_jobs() -> None:
    content = build_error_content(full_slots(), "generate_video", USEAPI)
    assert (content["running"], content["deletable"]) == ([JOBID], ["j2"])
    assert f"{JOBID} (A fox)" in content["message"]
    assert "The API asks to wait 30 s." in content["message"]
    # A deletion may lose videos, so the user decides.
    assert content["next_action"] == "ask_user"
    assert "whose links then stop working: j2." in content["next_step"]


def test_full_slots_name_the_job_that_ends_next() -> None:
    running = (errors.JobReference("j2", "A cat"), errors.JobReference("j1", "A fox"))
    error = errors.Capacity(charged="no")
    error.running, error.seconds, error.in_use, error.slots = running, 41.6, 2, 2
    content = build_error_content(error, "generate_video", USEAPI)
    assert "No slot is free: 2 of 2 are in use." in content["message"]
    assert (content["next_action"], content["running"]) == ("get_job", ["j2", "j1"])
    assert 'in about 42 s: call get_job with {"jobid": "j2"}' in content["next_step"]
    assert "delete_job" not in content["next_step"]


def test_hourly_limit_names_the_time() -> None:
    message = build_error_content(
        errors.LimitReached(1, NEXT_AT, is_shared=True, retry_after=600), "generate_video", USEAPI
    )["message"]
    assert "(1 per hour)" in message
    assert f"at {NEXT_AT:%Y-%m-%d} 12:05 UTC, in 10 minutes." in message


def test_hourly_limit_of_one_process_is_explained() -> None:
    message = build_error_content(
        errors.LimitReached(1, NEXT_AT, is_shared=False, retry_after=600), "generate_video", USEAPI
    )
    assert "counted for this server process alone" in message["message"]


def test_order_that_failed_with_a_500_is_repeated_later() -> None:
    error = errors.OutcomeUnknown("the API answered with a failure (500)", candidates=(), retry="later", status=500)
    content = build_error_content(error, "generate_video", USEAPI)
    assert (content["retry"], content["charged"], content["next_action"]) == ("later", "unknown", "order_later")
    assert "same arguments" in content["next_step"]
    assert "new_take" not in content["next_step"]
