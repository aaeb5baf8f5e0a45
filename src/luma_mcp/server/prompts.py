"""Prompts that a person picks in the host, and completions while the person fills in their arguments.

A prompt is what a person would say to an agent for a usual kind of work. Its options and their values come from the
catalog, so a combination that cannot be made is rejected before an agent sees it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver.prompts import Prompt
from mcp.server.mcpserver.prompts.base import PromptArgument
from mcp.shared.exceptions import MCPError
from mcp.types import Completion, CompletionArgument, CompletionContext, PromptReference, ResourceTemplateReference
from mcp.types.jsonrpc import INVALID_PARAMS

from luma_mcp.catalog.models import Catalog
from luma_mcp.catalog.validate import shorten, validate_options
from luma_mcp.errors import format_problem
from luma_mcp.media import can_read_clips
from luma_mcp.service import FEWEST_VIDEOS, MOST_VIDEOS

if TYPE_CHECKING:
    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
    from mcp.server.mcpserver import MCPServer


_OWN_COMPLETIONS = {"shots": ("2", "3", "4", "5", "6", "7", "8")}
# The arguments whose completions are jobids.
MAX_UNKNOWN = 10
JOBID_ARGUMENTS = ("jobid", "picture", "character")
# Values in one response: the protocol's limit.
MAX_COMPLETIONS = 100

_WRITING_ADVICE = (
    "Write the prompt for generate_video as one flowing paragraph: first the subject and what it does, then the "
    "place, the camera and its movement, the light and the mood. Be concrete, describe what is there rather than what "
    "is not, and ask for one movement, not for a list of scenes."
)
# Left out of descriptions where the server reads no files.
_PATH = "a path "
_ORDER_ONCE = (
    "Call generate_video once; if the job still runs when the call returns, follow its next_step. Give me the link."
)
# What becomes of the shots of a film: where videos can be read and joined here, only read, and neither.
_FILM = {
    "look_at": "Look at each draft with get_job and frames 8, and tell me what does not match the story or the look.",
    "join": "Join the chosen takes with join_videos, in order, and give me the path of the film.",
}
_WITHOUT_JOINING = _FILM | {"join": "Give me the links of the chosen takes, in order: this server joins no videos."}
_WITHOUT_FILMS = {
    "look_at": "Give me the link of each draft, and ask me what does not match the story or the look.",
    "join": "Give me the links of the chosen takes, in order, and say that this server cannot join them without PyAV.",
}


@dataclass(frozen=True, slots=True)
class PromptDefinition:
    """A prompt."""

    name: str
    title: str
    # One sentence for the person.
    description: str
    # The prompt's own arguments and their descriptions; the first one is required.
    arguments: Mapping[str, str]
    # What the agent gets, with a place for each argument and for `options`, a sentence about what was chosen.
    text: str
    # They stand in for arguments that the person left out.
    defaults: Mapping[str, str] = field(default_factory=dict)
    # The catalog's choices that are not arguments of this prompt.
    left_out: tuple[str, ...] = ()
    # What the prompt has already decided about its video, as a partial combination.
    decided: Mapping[str, Any] = field(default_factory=dict)

    @property
    def required(self) -> str:
        """The argument that must be given."""
        return next(iter(self.arguments))

    def options(self, catalog: Catalog) -> tuple[str, ...]:
        """List the choices of the catalog that are arguments of this prompt."""
        return tuple(name for name in catalog.choices if name not in self.left_out)


# Two of them pass their picture as image_start, so completions offer only what a first frame allows.
_STARTS_WITH_PICTURE = {"image_start": True}
PROMPTS = (
    PromptDefinition(
        "make_video",
        "Make a video from an idea",
        "Turn an idea into a video.",
        {"idea": "What it shows."},
        f"Make a video of this idea: {{idea}}\n\n{_WRITING_ADVICE} {{options}} {_ORDER_ONCE}",
    ),
    PromptDefinition(
        "animate_picture",
        "Bring a picture to life",
        "Make a video that starts with a picture.",
        {"picture": f"A link, {_PATH}or a jobid.", "motion": "What moves, and how."},
        "Bring this picture to life: {picture}\n\nMovement: {motion}.\n\nPass the picture as image_start. It is the "
        "first frame, so describe what happens from there on, not what it looks like. If you can see the picture, "
        f"choose the aspect_ratio nearest to its own. {{options}} {_ORDER_ONCE}",
        {"motion": "choose a movement that suits the picture, and keep what it shows as it is"},
        decided=_STARTS_WITH_PICTURE,
    ),
    PromptDefinition(
        "continue_clip",
        "Continue a clip",
        "Make a clip that continues where an earlier one ends.",
        {"jobid": "The earlier video's job.", "next": "What happens next."},
        "Continue the video of this job: {jobid}\n\nWhat happens next: {next}.\n\nPass the jobid as image_start: the "
        "new clip starts with its last frame. Look at it with get_job first, and keep its aspect_ratio and style. "
        f"{{options}} {_WRITING_ADVICE} {_ORDER_ONCE}",
        {"next": "propose in one sentence what could happen next, and ask me before you order it"},
        decided=_STARTS_WITH_PICTURE,
    ),
    PromptDefinition(
        "short_film",
        "Make a short film",
        "Plan a film of several shots that share a look, try it with drafts, and join it.",
        {
            "story": "What happens.",
            "shots": "How many shots; each video of one is billed.",
            "look": "The style that they share.",
            "character": f"A picture of who appears in it: a link, {_PATH}or a jobid.",
        },
        "Make a short film: {story}\n\nLook: {look}. Character: {character}.\n\n"
        "1. Write a shot list of {shots} shots as a table: number, what happens, camera, and whether it continues the "
        "previous shot (then it starts with that shot's last frame) or cuts.\n"
        "2. Write the look as one sentence, and repeat it word for word in the prompt of every shot; describe people "
        "and places the same way each time. Where the API and the options allow it, pass the character's picture as "
        "image_character in every shot that begins with a cut. All shots share model, aspect_ratio and dynamic_range. "
        "{options}\n"
        "3. Show me the list with what the drafts and the final shots cost (list_options shows what is known), and say "
        "that each video is billed. Order nothing before I agree.\n"
        "4. Order a draft of each shot with generate_video, in the cheapest resolution that fits, one after another; a "
        "resolution that I chose is for the final shots. A shot that continues another one gets that shot's jobid as "
        "image_start.\n"
        "5. {look_at} Change the prompts that need it.\n"
        "6. When I agree to the cost, order the final shots, with takes 2 or more only "
        "where I want to choose. Ask me which takes to keep. A shot that continues another one follows when I have "
        "chosen that one's take, and gets its jobid.\n"
        "7. {join}\n\n{advice}",
        {
            "shots": "3 to 5",
            "look": "propose one: palette, light, lens, grain",
            "character": "none, unless the story needs one; then ask me for a picture",
        },
        # Each shot has its own length.
        left_out=("duration",),
    ),
)
_BY_NAME = {definition.name: definition for definition in PROMPTS}


def build_prompts(catalog: Catalog, *, has_local_files: bool = True) -> list[Prompt]:
    """Build the prompts as the SDK takes them. `has_local_files`: whether the server uses files for its callers."""
    prompts: list[Prompt] = []
    for each in PROMPTS:
        descriptions = dict(each.arguments)
        if not has_local_files:
            descriptions = {name: text.replace(f", {_PATH}", " ") for name, text in descriptions.items()}
        for name in each.options(catalog):
            choice = catalog.choices[name]
            descriptions[name] = f"{choice.about}: {', '.join(choice.values)}."
        arguments: list[PromptArgument] = []
        for name, description in descriptions.items():
            arguments.append(PromptArgument(name=name, description=description, required=name == each.required))
        # The SDK calls it with the arguments of a request.
        render = partial(_render, each, catalog, has_local_files)
        texts: dict[str, Any] = {"name": each.name, "title": each.title, "description": each.description}
        prompts.append(Prompt(**texts, arguments=arguments, fn=render, context_kwarg=None))
    return prompts


def _render(definition: PromptDefinition, catalog: Catalog, has_local_files: bool, /, **given: str) -> str:
    # Hosts send an empty text for a field that the person left empty.
    arguments = {name: text.strip() for name, text in given.items() if text.strip()}
    options = definition.options(catalog)
    chosen = {name: arguments[name] for name in options if name in arguments}
    unknown = [name for name in arguments if name not in definition.arguments and name not in options]
    problems = [f"{definition.name} has no argument {shorten(name)}." for name in unknown[:MAX_UNKNOWN]]
    if len(unknown) > MAX_UNKNOWN:
        problems.append(f"It lacks {len(unknown) - MAX_UNKNOWN} more of the given ones.")
    if definition.required not in arguments:
        problems.append(f"{definition.required} is missing.")
    shots = arguments.get("shots")
    # Anything that is not a number, such as "about five", is left to the agent.
    if shots and shots.isdecimal() and not FEWEST_VIDEOS <= int(shots) <= MOST_VIDEOS:
        problems.append(f"shots must be {FEWEST_VIDEOS} to {MOST_VIDEOS}.")
    # All problems at once: a host shows the person one error per attempt.
    problems += map(format_problem, validate_options(catalog, chosen).problems)
    if problems:
        raise MCPError(INVALID_PARAMS, " ".join(problems))
    advice = "Leave out the options that I did not ask for."
    if chosen:
        advice = f"Use {', '.join(f'{name} {value}' for name, value in chosen.items())}."
    film = _WITHOUT_FILMS
    if can_read_clips():
        film = _FILM if has_local_files else _WITHOUT_JOINING
    parts = {**film, "advice": _WRITING_ADVICE, "options": advice}
    return definition.text.format(**{**definition.defaults, **arguments, **parts})


async def check_prompt_request(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Middleware: reject an unknown prompt or a missing argument by name; the SDK would report an internal error."""
    if ctx.method == "prompts/get":
        params = ctx.params or {}
        name, arguments = params.get("name"), params.get("arguments") or {}
        # A request of another shape is left to the SDK, which rejects it.
        if isinstance(name, str) and isinstance(arguments, Mapping):
            if name not in _BY_NAME:
                known = ", ".join(_BY_NAME)
                raise MCPError(INVALID_PARAMS, f"There is no prompt {shorten(name)}; the prompts are {known}.")
            if _BY_NAME[name].required not in arguments:
                raise MCPError(INVALID_PARAMS, f"{_BY_NAME[name].required} is missing.")
    return await call_next(ctx)


def add_completions(
    server: MCPServer[Any], catalog: Catalog, list_jobids: Callable[[], Awaitable[Sequence[str]]]
) -> None:
    """Add completions for the arguments of prompts and for the jobid of the job resource.

    `list_jobids` returns the jobids that this machine knows, newest first.
    """

    @server.completion()  # type: ignore[no-untyped-call, untyped-decorator]
    async def complete(
        ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        context: CompletionContext | None,
    ) -> Completion:
        known: Sequence[str] = ()
        name = argument.name
        if isinstance(ref, PromptReference):
            definition = _BY_NAME.get(ref.name)
            if definition and name in definition.options(catalog):
                given = (context and context.arguments) or {}
                known = remaining_options(catalog, name, {**given, **definition.decided})
            # Free text has no completions.
            elif definition and name in definition.arguments:
                known = await list_jobids() if name in JOBID_ARGUMENTS else _OWN_COMPLETIONS.get(name, ())
        elif name == "jobid":
            known = await list_jobids()
        # A person may remember the end of a jobid, or "reasoning" of a model's name.
        typed = argument.value.strip().casefold()
        found = [value for value in known if typed in value.casefold()]
        # What starts with it comes first. The sort is stable, so each of the two groups keeps its order.
        found.sort(key=lambda value: not value.casefold().startswith(typed))
        return Completion(values=found[:MAX_COMPLETIONS], total=len(found), has_more=len(found) > MAX_COMPLETIONS)


def remaining_options(catalog: Catalog, name: str, given: Mapping[str, Any]) -> Sequence[Any]:
    """List the values of an option that fit the other arguments; one that is no value of its option is ignored."""
    fixed: dict[str, Any] = {}
    for other, value in given.items():
        is_image = other in catalog.switches and value is True
        is_choice = other in catalog.choices and value in catalog.choices[other].values
        if other != name and (is_image or is_choice):
            fixed[other] = value
    return catalog.remaining_values(fixed)[name]
