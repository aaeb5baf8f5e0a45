"""Completions: values of closed sets that still go with what is filled in already, and jobids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp.types import Completion, PromptReference

from luma_mcp.catalog.useapi import CHOICES, allowed
from luma_mcp.server.prompts import FIXED, ROWS, SHOTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mcp.server.mcpserver import MCPServer
    from mcp.types import CompletionArgument, CompletionContext, ResourceTemplateReference

MOST = 100
"""Values in one answer: the protocol's limit."""
WITH_JOBIDS = ("jobid", "picture")


def add_completions(server: MCPServer[Any], jobids: Callable[[], Iterable[str]]) -> None:
    """Adds them to the server. `jobids`: what is known on this machine, newest first."""

    @server.completion()  # type: ignore[no-untyped-call, untyped-decorator]
    async def complete(
        ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        context: CompletionContext | None,
    ) -> Completion:
        if argument.name not in _arguments(ref):
            return Completion(values=[], total=0, has_more=False)
        fixed = FIXED.get(ref.name, {}) if isinstance(ref, PromptReference) else {}
        filled = (context.arguments if context else None) or {}
        return completion(argument.name, argument.value, {**filled, **fixed}, jobids)


def _arguments(ref: PromptReference | ResourceTemplateReference) -> tuple[str, ...]:
    if not isinstance(ref, PromptReference):
        return ("jobid",)
    row = next((row for row in ROWS if row.name == ref.name), None)
    return (*row.own, *row.options) if row else ()


def completion(name: str, begun: str, filled: Mapping[str, Any], jobids: Callable[[], Iterable[str]]) -> Completion:
    """What the argument may become: first the values that begin as it does, then those that contain it."""
    known: list[str] = []
    if name in CHOICES:
        known = [str(value) for value in _still_possible(name, filled)]
    elif name == "shots":
        known = list(SHOTS)
    elif name in WITH_JOBIDS:
        known = list(jobids())
    sought = begun.strip().casefold()
    begin = [value for value in known if value.casefold().startswith(sought)]
    found = begin + [value for value in known if sought in value.casefold() and value not in begin]
    return Completion(values=found[:MOST], total=len(found), has_more=len(found) > MOST)


def _still_possible(name: str, filled: Mapping[str, Any]) -> Iterable[Any]:
    """What goes with the arguments that are filled in; one that is no value at all narrows nothing."""
    partial = {
        other: value
        for other, value in filled.items()
        if other != name and (value is True or (other in CHOICES and value in CHOICES[other].values))
    }
    return allowed(partial)[name]
