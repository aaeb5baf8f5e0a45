"""Asking the person before money is spent, where the owner wishes it (`LUMA_MCP_CONFIRM`) and the client can.

The SDK carries the question: on 2026-07-28 as a result that is answered by the same call again, before that as a
request to the client. It reads the annotations of the functions below when they are made, so that this module has
them evaluated.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.resolve import Elicit, Resolve
from mcp.types import CallToolResult
from pydantic import BaseModel, Field

from luma_mcp.errors import LumaError
from luma_mcp.matrix import CHOICES, IMAGES
from luma_mcp.server import arguments
from luma_mcp.server.clients import can_be_asked
from luma_mcp.server.parameters import NEW_TAKE, ORDER_WORDS
from luma_mcp.server.present import answer, shortened
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from luma_mcp.studio.studio import Studio

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
Handler = Callable[[dict[str, Any], Context[Any, Any]], Awaitable[CallToolResult]]
Question = Callable[[dict[str, Any], Context[Any, Any]], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Questions:
    """What to ask, of one server; `studio` gives the one it works with, None while there is no token."""

    settings: Settings
    studio: "Callable[[], Studio | None]"

    async def before_order(self, raw: dict[str, Any], ctx: Context[Any, Any]) -> str | None:
        """The question before such a call; None if there is none to ask, or if it would order nothing."""
        studio = self.studio()
        if studio is None or not can_be_asked(ctx):
            return None
        asked = arguments.read(raw, ORDER_WORDS)
        another = bool(asked.words.get(NEW_TAKE))
        try:
            words = await studio.would_order(asked.about_video(), problems=asked.problems, another=another)
        except LumaError:
            # The call itself tells it.
            return None
        if words is None or (self.settings.confirm == "expensive" and not is_expensive(words)):
            return None
        return question_about(words)


class GoAhead(BaseModel):
    """The person's answer."""

    order: bool = Field(default=True, title="Order it", description="Yes: the video is ordered, and billed.")


def asks_first(order: Handler, question: Question) -> Callable[..., Any]:
    """The tool `generate_video` that asks `question` (nothing if it is None) before it orders."""

    async def ask(raw: dict[str, Any], ctx: Context[Any, Any]) -> Elicit[GoAhead] | GoAhead:
        asked = await question(raw, ctx)
        return Elicit(asked, GoAhead) if asked else GoAhead()

    async def generate_video(
        raw: dict[str, Any], ctx: Context[Any, Any], said: Annotated[ElicitationResult[GoAhead], Resolve(ask)]
    ) -> CallToolResult:
        if isinstance(said, AcceptedElicitation) and said.data.order:
            return await order(raw, ctx)
        return answer(NOT_ORDERED, {"note": NOT_ORDERED})

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
