"""Errors contain facts, from which their short texts are built. The tree of errors is complete."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args

import pytest

from luma_mcp import errors
from luma_mcp.errors import (
    Charged,
    FailureStage,
    InvalidArguments,
    Kind,
    LumaError,
    NotFound,
    Problem,
    ProblemCode,
    Retry,
    Upstream,
    format_choices,
    format_problem,
)
from luma_mcp.providers import PROVIDERS, summarize_error

CLASSES = LumaError.__subclasses__()
NEXT = datetime(2026, 11, 22, 9, 5, tzinfo=UTC)


def test_every_kind_has_one_class() -> None:
    assert sorted(c.kind for c in CLASSES) == sorted(get_args(Kind))
    assert {c.default_retry for c in CLASSES} <= set(get_args(Retry))


def test_docstring_lists_every_class() -> None:
    assert errors.__doc__ is not None
    listed = [line.split()[1] for line in errors.__doc__.splitlines() if line[:1] in "├└" and line]
    assert sorted(listed) == sorted(c.__name__ for c in CLASSES)


def test_only_two_kinds_are_never_retried() -> None:
    """They are an order with an unknown outcome and a job of another user."""
    assert {c.kind for c in CLASSES if c.default_retry == "never"} == {"outcome_unknown", "forbidden"}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InvalidArguments(), "The API rejected the request."),
        (
            InvalidArguments([Problem("prompt", "empty"), Problem("jobid", "missing")], charged="no"),
            "prompt is empty. jobid is missing. Nothing was charged.",
        ),
        (errors.NotConfigured("USEAPI_TOKEN"), "USEAPI_TOKEN is not set, or not usable. Nothing was charged."),
        (errors.Unauthorized(), "The API does not accept the token."),
        (errors.PaymentRequired(), "The account has no subscription or no credits left."),
        (errors.Forbidden(), "The job belongs to another user."),
        (errors.AccessDenied(), "The API refuses requests of this account: it is suspended or deactivated."),
        (
            errors.AccessDenied(hdr=True),
            "The API does not let this account order HDR: it has no access to HDR, or it is suspended.",
        ),
        (NotFound("job"), "The API does not know this job."),
        (NotFound("job", deleted=True), "The job was deleted."),
        (errors.Conflict(), "A running job can be neither deleted nor stopped."),
        (errors.Conflict("just_finished"), "An identical job has just finished; nothing was ordered."),
        (
            errors.Moderated(api_message="prompt rejected", charged="no"),
            'Content moderation rejected the prompt or an image. The API says: "prompt rejected". Nothing was charged.',
        ),
        (errors.Capacity(), "All slots are in use."),
        (
            errors.LimitReached(3, NEXT, is_shared=True, retry_after=60),
            (
                "The limit of 3 videos per hour is reached; the next one is allowed at 2026-11-22 09:05 UTC. "
                "Nothing was charged."
            ),
        ),
        (
            errors.BudgetReached(2.5, 2.4, 0.3, "price_list", "dollars", is_shared=True, next_at=NEXT),
            (
                "This video does not fit into the budget that this server's owner has set for 24 hours ($2.50). The "
                "orders of the last 24 hours count for $2.40, and this video costs $0.30. Enough of the budget is free "
                "again at 2026-11-22 09:05 UTC. Nothing was charged."
            ),
        ),
        (errors.AccountSession(), "The session of the Luma account has expired."),
        (Upstream(status=500), "The API failed (500)."),
        (Upstream("unexpected_status", status=302), "The API answered with an unexpected status (302)."),
        (
            Upstream("unreadable", detail="unreadable text/html", status=200),
            "The API answered with unreadable text/html (200).",
        ),
        (Upstream("not_listed"), "The API does not list the job that was ordered (yet, or any more)."),
        (Upstream("internal", detail="KeyError"), "This program failed (KeyError)."),
        (errors.NetworkError("dns"), "The API was not reached: its name could not be resolved."),
        (
            errors.NetworkError("unsendable", detail="ImportError"),
            "The API was not reached: the request cannot be sent with this machine's settings (ImportError).",
        ),
        (
            errors.OutcomeUnknown("the connection broke"),
            "The order was sent, but the connection broke: a job may be running and charged.",
        ),
        (errors.JobFailed(jobid="j1", api_message=None, credits_used=None), "The video was not made."),
        (errors.DownloadError("The link answers 500.", jobid="j1"), "The link answers 500."),
    ],
    ids=lambda value: value.kind if isinstance(value, LumaError) else value[:40],
)
def test_text_of_an_error_is_built_from_its_facts(error: LumaError, text: str) -> None:
    assert str(error) == text


def test_budget_error_states_what_is_unknown() -> None:
    error = errors.BudgetReached(100, 100, None, "any_video", "credits", is_shared=False)
    assert str(error) == (
        "This video does not fit into the budget that this server's owner has set for 24 hours (100 credits). The "
        "orders of the last 24 hours count for 100 credits, and what this video costs is not known yet. Only orders of "
        "this process are counted, because it has no shared record of orders. The price is more than the whole budget, "
        "so waiting does not help. Nothing was charged."
    )


@pytest.mark.parametrize(
    ("amount", "unit", "text"),
    [
        (0.3, "dollars", "$0.30"),
        (0.1 + 0.2, "dollars", "$0.30"),
        (1234.5, "dollars", "$1,234.50"),
        (0.005, "dollars", "$0.005"),
        (20.0, "credits", "20 credits"),
        (1_000_000, "credits", "1000000 credits"),
    ],
)
def test_amounts_are_formatted_with_their_unit(amount: float, unit: str, text: str) -> None:
    assert errors.format_amount(amount, unit) == text


def test_error_of_an_expired_session_names_the_account() -> None:
    error = errors.AccountSession()
    error.email = "a@example.com"
    assert "a@example.com" in str(error)
    error.all_accounts = True
    assert str(error).startswith("No Luma account is usable")


@pytest.mark.parametrize("stage", get_args(FailureStage))
def test_every_stage_has_a_text(stage: FailureStage) -> None:
    assert str(errors.NetworkError(stage)).startswith("The API was not reached: ")


@pytest.mark.parametrize("what", ["job", "asset", "account", "order_input", "any_account", "address"])
def test_every_kind_of_not_found_has_a_text(what: str) -> None:
    assert str(NotFound(what)).startswith("The API does not know ")  # type: ignore[arg-type]  # a parametrized literal


@pytest.mark.parametrize(
    ("credits_used", "charged"), [(20.0, "yes"), (0.0, "no"), (None, "unknown")], ids=["20", "0", "not known"]
)
def test_failed_job_is_charged_if_it_used_credits(credits_used: float | None, charged: Charged) -> None:
    error = errors.JobFailed(jobid="j1", api_message="NSFW", credits_used=credits_used)
    assert (error.charged, error.jobid, error.api_message) == (charged, "j1", "NSFW")


def test_unknown_outcome_may_be_charged() -> None:
    assert errors.OutcomeUnknown("the connection broke").charged == "unknown"


def test_retry_of_an_instance_overrides_the_default() -> None:
    assert (Upstream().retry, Upstream(retry="never").retry) == ("later", "never")


def test_choices_are_quoted_and_joined() -> None:
    assert [format_choices(values) for values in ((), ("a",), ("a", "b"), ("a", "b", "c"))] == [
        "",
        '"a"',
        '"a" or "b"',
        '"a", "b" or "c"',
    ]


@pytest.mark.parametrize("code", get_args(ProblemCode))
def test_every_problem_code_is_one_sentence(code: ProblemCode) -> None:
    text = format_problem(
        Problem("model", code, value="ray-v9", allowed=("ray-v3",), conflicts_with=("image_end",), reason="is odd")
    )
    assert text.endswith((".", "?"))
    # The upload panel shows these, and its users do not know the parameters.
    assert ("model" in text) == (code not in ("unusable_file", "too_many_uploads"))


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (
            Problem("length", "unknown_parameter", did_you_mean="duration", expected='"5s" or "10s"'),
            '"length" is not a parameter: did you mean "duration"? It takes "5s" or "10s".',
        ),
        (
            Problem("mood", "unknown_parameter", allowed=("prompt", "model")),
            '"mood" is not a parameter: leave it out.',
        ),
        (
            Problem("resolution", "not_offered", value="4k", allowed=("720p", "1080p")),
            'resolution "4k" is not offered; use "720p" or "1080p".',
        ),
        (
            Problem("duration", "conflict", value="10s", allowed=("5s",), conflicts_with=('dynamic_range "hdr"',)),
            'duration "10s" cannot be combined with dynamic_range "hdr"; use "5s".',
        ),
        (
            Problem("image_character", "conflict", conflicts_with=('model "ray-v3-flash"', "image_start")),
            'image_character cannot be combined with model "ray-v3-flash" or image_start; leave it out.',
        ),
        (
            Problem("prompt", "too_long", expected="1 to 2000 characters of text", reason="has 2001 characters"),
            "prompt has 2001 characters; it takes 1 to 2000 characters of text.",
        ),
    ],
    ids=lambda value: value.code if isinstance(value, Problem) else value[:20],
)
def test_text_of_a_problem(problem: Problem, text: str) -> None:
    assert format_problem(problem) == text


@pytest.mark.parametrize(
    ("error", "useapi", "agents"),
    [
        (errors.Unauthorized(), "does not accept the token", "does not accept the key"),
        (errors.PaymentRequired(), "no subscription", "too few credits"),
        (errors.Capacity(), "All slots are in use", "As many jobs are running as Luma's Agents API allows"),
        (errors.NotFound("order_input"), "an asset or the account", "a file id, or the earlier video, of this order"),
        (errors.NotFound("asset"), "this asset", "this file id"),
        (errors.NotFound("job"), "this job", "this job"),
    ],
    ids=["key", "credits", "jobs", "order", "file", "job"],
)
def test_summary_in_the_terms_of_each_api(error: errors.LumaError, useapi: str, agents: str) -> None:
    assert useapi in summarize_error(error, PROVIDERS["useapi"])
    assert agents in summarize_error(error, PROVIDERS["agents"])
