"""The simulated `POST /videos`: the checks in the API's order, and its error bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from luma_mcp.catalog.useapi import API_NAMES, CHOICES, IMAGES
from luma_mcp.catalog.validate import check
from luma_mcp.simulator.records import created_record
from luma_mcp.simulator.state import asked_for, error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from luma_mcp.simulator.state import Service

Answer = tuple[int, dict[str, Any]]

SESSION_ERROR = (
    "Luma account has an error. Please check your account configuration via GET /v1/luma/accounts "
    "or re-add the account via POST /v1/luma/accounts"
)
NO_SUBSCRIPTION = "Account has no subscription or subscription expired"
AT_CAPACITY = "All configured accounts are running at maximum capacity"


def order(service: Service, body: Mapping[str, Any]) -> Answer:
    """Status and body for an order. Unlike the client, the API fills in fixed defaults, and then refuses some."""
    given = {name: body[api] for name, api in API_NAMES.items() if body.get(api) not in (None, "")}
    words = {name: choice.default for name, choice in CHOICES.items()} | given
    if problems := check(words).problems:
        return 400, error(_refusal(words, problems[0].field, problems[0].allowed))
    refs = [words[name] for name in IMAGES if name in words]
    if any(ref not in service.assets for ref in refs):
        return 404, error("Asset not found")
    owners = {service.assets[ref] for ref in refs}
    email = words.get("email")
    if len(owners | {email or next(iter(owners), None)}) > 1:
        return 400, error("Parameter email must match the account of the assets")
    return _place(service, words, email or next(iter(owners), None))


REFUSALS: dict[str, Answer] = {
    "expired": (596, error(SESSION_ERROR)),
    "broke": (402, error(NO_SUBSCRIPTION)),
    "moderate": (422, error("Content moderation: prompt rejected", 422)),
    "busy": (429, error(AT_CAPACITY, 429)),
    "down": (500, error("Internal server error")),
}
"""What a prompt can ask for, in the order in which the API would find it."""


def _place(service: Service, words: Mapping[str, Any], email: str | None) -> Answer:
    """Finds an account for a valid order, and starts the job there."""
    if email and email not in service.accounts:
        return 404, error(f"Unable to find configuration for email {email}")
    candidates = [service.accounts[email]] if email else list(service.accounts.values())
    usable = [a for a in candidates if a.session_valid]
    subscribed = [a for a in usable if a.subscribed]
    free = [a for a in subscribed if service.free_slots(a.email) > 0]
    wishes = asked_for(words["prompt"])
    found = {"expired": not usable, "broke": not subscribed, "busy": not free}
    for fault, refusal in REFUSALS.items():
        if fault in wishes or found.get(fault):
            return refusal
    request = {api: words[name] for name, api in API_NAMES.items() if name in words and name != "email"}
    webhook = request.pop("replyUrl", None) is not None
    request.pop("replyRef", None)
    job = service.start(request, service.chance.choice(free).email, webhook=webhook)
    return (504, {}) if "lost" in wishes else (200, created_record(job))


def _refusal(words: Mapping[str, Any], field: str, allowed: tuple[str, ...]) -> str:
    name = API_NAMES[field]
    if field not in words:
        return f"Parameter {name} is required"
    if field in CHOICES and words[field] not in CHOICES[field].values:
        allowed = CHOICES[field].values
    if allowed:
        return f"Parameter {name} ({words[field]}) valid values: {', '.join(allowed)}"
    return f"Parameter {name} is not supported here"
