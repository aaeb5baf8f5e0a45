"""The endpoints that are called, and what each needs and means. Source: useapi.net, Luma API v1, April 2026."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from luma_mcp.api.retry import ORDER, READ
from luma_mcp.errors import NO_MONEY

if TYPE_CHECKING:
    from luma_mcp.api.retry import RetryPolicy


@dataclass(frozen=True, slots=True)
class Call:
    """One endpoint. `needs`: fields without which a 2xx answer is unreadable; `missing`: what a 404 means.

    `seconds`: how long it may take from its connection to the end of its answer.
    """

    method: str
    path: str
    effect: RetryPolicy
    needs: dict[str, type]
    missing: str
    seconds: float = 15.0


_NO_JOB = "No such job: the jobid is wrong, or the record has expired. Pass it exactly as it was returned."
_NO_ACCOUNT = "No such account is configured at useapi.net (luma-ray-mcp accounts shows those that are)."
SUBMIT = Call(
    "POST",
    "/videos",
    ORDER,
    {"jobid": str},
    f"The API does not know something that was sent: an assetRef (they live 30 days), or the email. {NO_MONEY}",
    # Longer, because a time-out leaves its outcome unknown; but less than hosts give a tool call.
    seconds=40.0,
)
# Sent again like a read: an image that arrives twice costs nothing. 20 MB over a slow line take their time.
UPLOAD = Call("POST", "/assets/{}", READ, {"assetRef": str}, _NO_ACCOUNT, seconds=120.0)
GET_JOB = Call("GET", "/jobs/{}", READ, {"jobid": str}, _NO_JOB)
LIST_JOBS = Call("GET", "/jobs", READ, {"jobs": list}, _NO_JOB)
DELETE_JOB = Call("DELETE", "/jobs/{}", ORDER, {}, _NO_JOB)
LIST_ACCOUNTS = Call("GET", "/accounts", READ, {}, _NO_ACCOUNT)
# To add an account twice only refreshes it; but each time the API signs in at Luma with somebody's cookie, and what it
# answers (500: "Please try again") is for the person who sits there. So it is sent again only if it never arrived.
ADD_ACCOUNT = Call("POST", "/accounts", ORDER, {"account": str}, _NO_ACCOUNT, seconds=60.0)
# A removal that arrived twice would be answered with "no such account".
REMOVE_ACCOUNT = Call("DELETE", "/accounts/{}", ORDER, {}, _NO_ACCOUNT)
GET_ACCOUNT = Call("GET", "/accounts/{}", READ, {}, _NO_ACCOUNT)
