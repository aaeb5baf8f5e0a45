"""The scenarios of the official suite that are tested on each server, and their checks that are known to fail.

Every scenario that the suite lists for servers is in one of three tables, so a new one needs a decision.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Server = Literal["luma-ray-mcp", "fixture"]

VERSIONS = ("2026-07-28", "2025-11-25")
"""Protocol versions. Each scenario is tested at the versions that it applies to."""

ANY_SERVER = (
    "server-initialize",
    "server-session-lifecycle",
    "server-stateless",
    "ping",
    "completion-complete",
    "tools-list",
    "tools-call-error",
    "server-sse-multiple-streams",
    "resources-list",
    "sep-2164-resource-not-found",
    "prompts-list",
    "dns-rebinding-protection",
    "caching",
    "http-header-validation",
    "input-required-result-unsupported-methods",
)
"""Scenarios without names of the suite's own server, tested on `luma-ray-mcp serve --http`."""

FIXTURES = (
    "server-stateless",  # again, as two of its checks call a tool
    "tools-call-simple-text",
    "tools-call-image",
    "tools-call-audio",
    "tools-call-embedded-resource",
    "tools-call-mixed-content",
    "tools-call-error",
    "tools-call-with-progress",
    "json-schema-2020-12",
    "resources-read-text",
    "resources-read-binary",
    "resources-templates-read",
    "prompts-get-simple",
    "prompts-get-with-args",
    "prompts-get-embedded-resource",
    "prompts-get-with-image",
    "http-custom-header-server-validation",
    "input-required-result-basic-elicitation",
    "input-required-result-basic-sampling",
    "input-required-result-basic-list-roots",
    "input-required-result-request-state",
    "input-required-result-multiple-input-requests",
    "input-required-result-multi-round",
    "input-required-result-missing-input-response",
    "input-required-result-non-tool-request",
    "input-required-result-result-type",
    "input-required-result-tampered-state",
    "input-required-result-capability-check",
    "input-required-result-ignore-extra-params",
    "input-required-result-validate-input",
    "tasks-lifecycle",
    "tasks-capability-negotiation",
    "tasks-wire-fields",
    "tasks-request-state-removal",
    "tasks-mrtr-input",
    "tasks-request-headers",
    "tasks-dispatch-and-envelope",
    "tasks-status-notifications",
    "tasks-required-task-error",
    "tasks-mrtr-composition",
)
"""Scenarios that call tools which a server for videos does not have, tested on the fixture server."""

_STATELESS = "before 2026-07-28 it needs a session, and our HTTP is stateless"
_LOGGING = "logging is deprecated: the server logs to stderr"
_SUBSCRIBING = "the server's resources do not change while they are read, so it offers no subscriptions"
_SKILLS = "an extension that the server does not have"
LEFT_OUT = {
    "tools-call-sampling": _STATELESS,
    "tools-call-elicitation": _STATELESS,
    "elicitation-sep1034-defaults": _STATELESS,
    "elicitation-sep1330-enums": _STATELESS,
    "server-sse-polling": _STATELESS,
    "logging-set-level": _LOGGING,
    "tools-call-with-logging": _LOGGING,
    "resources-subscribe": _SUBSCRIBING,
    "resources-unsubscribe": _SUBSCRIBING,
    "sep-2640-skills-directory": _SKILLS,
    "sep-2640-skills-enumeration": _SKILLS,
    "sep-2640-skills-manifest": _SKILLS,
}
"""Scenarios that are not tested, with reasons. Elicitation is tested at the newer version; tests/server tests both."""


class KnownFailure(NamedTuple):
    """A check that is known to fail or warn, with the reason."""

    server: Server
    version: str
    scenario: str
    check: str
    why: str


_CALLS_A_TOOL = "calls the suite's tool test_missing_capability; tested on the fixture server, which has it"
_MUTATES = "needs a tool of the suite that changes a list; ours never change while the server runs"

_TOOLS_CHANGED = "sep-2575-server-sends-tools-list-changed-on-subscription"
_PROMPTS_CHANGED = "sep-2575-server-sends-prompts-list-changed-on-subscription"
KNOWN = (
    KnownFailure(
        "luma-ray-mcp", "2026-07-28", "server-stateless", "sep-2575-server-rejects-undeclared-capability", _CALLS_A_TOOL
    ),
    KnownFailure(
        "luma-ray-mcp", "2026-07-28", "server-stateless", "sep-2575-missing-capability-http-400", _CALLS_A_TOOL
    ),
    KnownFailure("luma-ray-mcp", "2026-07-28", "server-stateless", _TOOLS_CHANGED, _MUTATES),
    KnownFailure("luma-ray-mcp", "2026-07-28", "server-stateless", _PROMPTS_CHANGED, _MUTATES),
    KnownFailure("fixture", "2026-07-28", "server-stateless", _TOOLS_CHANGED, _MUTATES),
    KnownFailure("fixture", "2026-07-28", "server-stateless", _PROMPTS_CHANGED, _MUTATES),
)
