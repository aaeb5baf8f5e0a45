"""Prompts that a person picks in the host: what to say to an agent for the usual kinds of work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver.prompts import Prompt
from mcp.server.mcpserver.prompts.base import PromptArgument
from mcp.shared.exceptions import MCPError
from mcp.types.jsonrpc import INVALID_PARAMS

from luma_mcp.catalog.useapi import CHOICES
from luma_mcp.catalog.validate import check_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

    from luma_mcp.errors import Problem

SHOTS = tuple(str(n) for n in range(2, 9))
FIXED: Mapping[str, Mapping[str, Any]] = {
    "animate_picture": {"image_start": True},
    "continue_clip": {"image_start": True},
}
"""What a prompt has already decided about its video."""

_CRAFT = (
    "Write the prompt that generate_video gets in one flowing paragraph: the subject and what it does first, then the "
    "place, the camera and how it moves, the light, the mood. Be concrete, say what is there rather than what is not, "
    "and ask for one movement, not for a list of scenes."
)
_ORDER = (
    "Call generate_video once; if it still runs when the call returns, do what its next_step says. Give me the link."
)


@dataclass(frozen=True, slots=True)
class _Row:
    """A prompt. `own`: its own arguments, the first of them required; the options come from the table."""

    name: str
    title: str
    about: str
    own: Mapping[str, str]
    options: tuple[str, ...]
    text: Callable[[Mapping[str, str], str], str]


def _make(said: Mapping[str, str], options: str) -> str:
    return f"Make a video of this idea: {said['idea']}\n\n{_CRAFT} {options} {_ORDER}"


def _animate(said: Mapping[str, str], options: str) -> str:
    motion = said.get("motion") or "choose a movement that suits it, and keep what it shows as it is"
    return (
        f"Bring this picture to life: {said['picture']}\n\nMovement: {motion}.\n\nPass the picture as image_start; "
        "it is the first frame, so describe what happens from there on, not what it looks like. If you can see the "
        f"picture, choose the aspect_ratio nearest to its own. {options} {_ORDER}"
    )


def _continue(said: Mapping[str, str], options: str) -> str:
    following = said.get("next") or "propose in one sentence what could happen next, and ask me before you order it"
    return (
        f"Continue the video of this job: {said['jobid']}\n\nWhat happens next: {following}.\n\nPass the jobid as "
        "image_start: the new clip begins with its last frame. Look at it with get_job first, and keep its "
        f"aspect_ratio and look. {options} {_CRAFT} {_ORDER}"
    )


def _film(said: Mapping[str, str], options: str) -> str:
    count = said.get("shots") or "3 to 5"
    look = said.get("look") or "propose one: palette, light, lens, grain"
    return (
        f"Make a short film: {said['story']}\n\nLook: {look}.\n\n"
        f"1. Write a shot list of {count} shots as a table: number, what happens, camera, and whether it continues the "
        "shot before (then it begins with that one's last frame) or cuts.\n"
        "2. Write the look as one sentence, and repeat it word for word in the prompt of every shot; describe people "
        "and places the same way each time. All shots share model, resolution, aspect_ratio and dynamic_range. "
        f"{options}\n"
        "3. Show me the list, and say that each shot is a billed job. Order nothing before I agree.\n"
        "4. Then order the shots one after the other. A shot that continues another gets that one's jobid as "
        "image_start.\n"
        f"5. At the end list the links in order.\n\n{_CRAFT}"
    )


_ALL = tuple(CHOICES)
_SHARED = tuple(name for name in CHOICES if name != "duration")
ROWS = (
    _Row(
        "make_video", "Make a video from an idea", "From an idea to a video.", {"idea": "What it shows."}, _ALL, _make
    ),
    _Row(
        "animate_picture",
        "Bring a picture to life",
        "A picture becomes the first frame of a video.",
        {"picture": "A link, a path, a jobid or an assetRef.", "motion": "What moves, and how."},
        _ALL,
        _animate,
    ),
    _Row(
        "continue_clip",
        "Continue a clip",
        "A new clip that goes on where an earlier one ends.",
        {"jobid": "The earlier video's job.", "next": "What happens next."},
        _ALL,
        _continue,
    ),
    _Row(
        "short_film",
        "Make a short film",
        "A shot list of clips that share a look.",
        {"story": "What it tells.", "shots": "How many clips: each is a billed job.", "look": "What they share."},
        _SHARED,
        _film,
    ),
)


_NAMES = tuple(row.name for row in ROWS)


def prompts() -> list[Prompt]:
    """All of them."""
    return [
        Prompt(
            name=row.name,
            title=row.title,
            description=row.about,
            arguments=[
                *(PromptArgument(name=n, description=d, required=i == 0) for i, (n, d) in enumerate(row.own.items())),
                *(
                    PromptArgument(name=n, description=f"{CHOICES[n].about}: {', '.join(CHOICES[n].values)}.")
                    for n in row.options
                ),
            ],
            fn=_rendering(row),
            context_kwarg=None,
        )
        for row in ROWS
    ]


async def judge_prompt(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """A middleware: a prompt that is not there, or lacks its argument, is refused; the SDK would say that it broke."""
    if ctx.method == "prompts/get":
        asked = ctx.params or {}
        name, given = asked.get("name"), asked.get("arguments") or {}
        if not isinstance(name, str) or not isinstance(given, Mapping):
            # The SDK judges the shape.
            return await call_next(ctx)
        needed = {row.name: next(iter(row.own)) for row in ROWS}.get(name)
        if needed is None:
            raise MCPError(INVALID_PARAMS, f"There is no prompt {name}; these are: {', '.join(_NAMES)}.")
        if needed not in given:
            raise MCPError(INVALID_PARAMS, f"{needed} is missing.")
    return await call_next(ctx)


def _rendering(row: _Row) -> Callable[..., str]:
    def render(**said: str) -> str:
        words = {name: text.strip() for name, text in said.items() if text.strip()}
        chosen = {name: words[name] for name in row.options if name in words}
        unknown = [f"{row.name} has no argument {name}." for name in words if name not in (*row.own, *row.options)]
        missing = [f"{name} is missing." for name in [next(iter(row.own))] if name not in words]
        faults = [*unknown, *missing, *_spoken(check_options(chosen).problems)]
        if faults:
            raise MCPError(INVALID_PARAMS, " ".join(faults))
        options = ", ".join(f"{name} {value}" for name, value in chosen.items())
        return row.text(words, f"Use {options}." if options else "Leave out the options that I did not ask for.")

    return render


def _spoken(problems: tuple[Problem, ...]) -> list[str]:
    return [problem.message for problem in problems]
