"""Asking the person before money is spent, where the owner wishes it (`LUMA_MCP_CONFIRM`) and the client can.

The SDK carries the question: on 2026-07-28 as a result that is answered by the same call again, before that as a
request to the client. It reads the annotations of the functions below when they are made, so that this module has
them evaluated.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.resolve import Elicit, Resolve
from mcp.types import CallToolResult
from pydantic import BaseModel, Field

from luma_mcp.catalog.useapi import CHOICES, IMAGES
from luma_mcp.errors import LumaError
from luma_mcp.server import arguments
from luma_mcp.server.call_options import NEW_TAKE, ORDER_WORDS
from luma_mcp.server.client_capabilities import supports_elicitation
from luma_mcp.server.decisions import ConfirmationDecision
from luma_mcp.server.results import answer, shortened
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from luma_mcp.service.service import VideoService

logger = logging.getLogger(__name__)

EXPENSIVE: Mapping[str, tuple[str, ...]] = {
    "resolution": ("1080p",),
    "duration": ("10s",),
    "dynamic_range": ("hdr", "hdr_exr"),
}
"""What `LUMA_MCP_CONFIRM=expensive` asks about: any of these."""
NOT_ORDERED = (
    "Not ordered: the user was asked, and did not agree. Nothing was billed. Do not order it again by yourself; "
    "ask the user what they would like instead."
)
NOT_ASKABLE = (
    "LUMA_MCP_CONFIRM is %s, but this client shows no questions: its orders go out without one. "
    "LUMA_MCP_MAX_JOBS_PER_HOUR bounds them."
)
ANSWERS_KEPT = 1000
Handler = Callable[..., Awaitable[CallToolResult]]

_answered_with: ContextVar[str | None] = ContextVar("answered_with", default=None)
"""The sealed state that came with an answer: each question has its own."""


async def note_answer(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """A middleware, outside of what unseals the state: notes which question a call answers."""
    state = (ctx.params or {}).get("requestState")
    _answered_with.set(state if isinstance(state, str) else None)
    return await call_next(ctx)


class Questions:
    """What to ask, of one server; `studio` gives the one it works with, None while there is no token."""

    def __init__(self, settings: Settings, studio: "Callable[[], VideoService | None]") -> None:
        self._settings = settings
        self._studio = studio
        self._told = False
        self._spent: dict[str, None] = {}

    async def before_order(self, raw: dict[str, Any], ctx: Context[Any, Any]) -> str | ConfirmationDecision:
        """The question before such a call; or what it may do without one.

        What was found here holds for the call: it is not judged anew in the hope of another finding.
        """
        studio = self._studio()
        if studio is None:
            return ConfirmationDecision()
        if not supports_elicitation(ctx):
            if not self._told:
                logger.warning(NOT_ASKABLE, self._settings.confirm)
                self._told = True
            return ConfirmationDecision()
        asked = arguments.read(raw, ORDER_WORDS)
        another = bool(asked.words.get(NEW_TAKE))
        try:
            words = await studio.would_order(asked.about_video(), problems=asked.problems, another=another)
        except LumaError as error:
            return ConfirmationDecision(refused=error)
        if words is None:
            return ConfirmationDecision(only_running=True)
        if self._settings.confirm == "expensive" and not is_expensive(words):
            return ConfirmationDecision()
        return question_about(words)

    def after_yes(self) -> ConfirmationDecision:
        """What a person's yes permits: one order, however often the client sends it."""
        state = _answered_with.get()
        if state is None:
            return ConfirmationDecision()
        if state in self._spent:
            return ConfirmationDecision(only_running=True)
        self._spent[state] = None
        if len(self._spent) > ANSWERS_KEPT:
            del self._spent[next(iter(self._spent))]
        return ConfirmationDecision()


class GoAhead(BaseModel):
    """The person's answer."""

    order: bool = Field(default=True, title="Order it", description="Yes: the video is ordered, and billed.")


class Unasked(GoAhead):
    """Nobody was asked."""

    # Any, as it is no data: some versions of pydantic would look into it.
    permit: Any


def asks_first(order: Handler, questions: Questions) -> Callable[..., Any]:
    """The tool `generate_video` that asks, where there is something to ask, before it orders."""

    async def ask(raw: dict[str, Any], ctx: Context[Any, Any]) -> Elicit[GoAhead] | GoAhead:
        found = await questions.before_order(raw, ctx)
        return Elicit(found, GoAhead) if isinstance(found, str) else Unasked(permit=found)

    async def generate_video(
        raw: dict[str, Any], ctx: Context[Any, Any], said: Annotated[ElicitationResult[GoAhead], Resolve(ask)]
    ) -> CallToolResult:
        if not (isinstance(said, AcceptedElicitation) and said.data.order):
            return answer(NOT_ORDERED, {"note": NOT_ORDERED})
        permit = said.data.permit if isinstance(said.data, Unasked) else questions.after_yes()
        return await order(raw, ctx, permit=permit)

    return generate_video


def is_expensive(words: Mapping[str, Any]) -> bool:
    """Whether a complete request has anything that costs more."""
    return any(words.get(name) in values for name, values in EXPENSIVE.items())


def question_about(words: Mapping[str, Any]) -> str:
    """What the person is asked; the same words give the same question."""
    options = ", ".join(str(words[name]) for name in CHOICES if name in words)
    pictures = [name.replace("_", " ") for name in IMAGES if name in words]
    with_pictures = f", with {' and '.join(pictures)}" if pictures else ""
    return f"Make this video? It is a billed job. {options}{with_pictures}. Prompt: {shortened(words['prompt'])}"
