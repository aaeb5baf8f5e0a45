"""`add_picture`: open the panel in which the user chooses a picture and uploads it."""

from __future__ import annotations

from typing import Any

from luma_mcp.catalog.models import FRAME_IMAGES, Catalog
from luma_mcp.catalog.validate import shorten, value_problems
from luma_mcp.errors import InvalidArguments, Problem
from luma_mcp.server import messages, schemas
from luma_mcp.server.arguments import ParsedArguments, parse_arguments
from luma_mcp.server.results import build_result
from luma_mcp.server.schemas import STRING
from luma_mcp.server.tools import CallToolResult, Context, ServerContext, Tool, build_tool
from luma_mcp.server.ui import PICTURE_META
from luma_mcp.text import without_none

DESCRIPTION = (
    "Open a panel in the chat where the user adds a picture: use it when they want their own picture, or one from the "
    "chat that you cannot pass on. Free. Their next message names the picture."
)
_OUTPUT: schemas.Schema = dict.fromkeys(("state", "next_action", "next_step"), STRING)
# Bytes of a request beside the base64 of a part.
_ENVELOPE = 8_192


def definition(context: ServerContext) -> Tool:
    """Build the tool."""
    catalog = context.catalog
    properties: schemas.Schema = {
        "use_as": {"type": "string", "enum": list(catalog.images), "description": "What it is for."},
        "aspect_ratio": {"type": "string", "enum": list(catalog.choices["aspect_ratio"].values)},
    }
    if "email" in catalog.texts:
        properties["email"] = {"type": "string", "description": f"{catalog.texts['email'].about}."}
    return build_tool(
        context,
        handle,
        name="add_picture",
        title="Add a picture",
        description=DESCRIPTION,
        input_schema=schemas.input_object(properties),
        output_schema=schemas.output_object(_OUTPUT),
        needs_apps=True,
        meta=PICTURE_META,
    )


async def handle(context: ServerContext, raw: dict[str, Any], ctx: Context[Any, Any]) -> CallToolResult:  # noqa: ARG001
    """Build the initial state of the panel. Nothing is sent to the API."""
    # The panel could not upload anything without it.
    context.require_service()
    # Imported here, because a host that only lists the tools needs none of it.
    from luma_mcp.media.images import LARGEST_UPLOAD
    from luma_mcp.service.pictures import LARGEST_PART

    catalog = context.catalog
    parsed = parse_arguments(catalog, raw, get_names(catalog, "use_as", "aspect_ratio"))
    problems = [*parsed.problems, *find_problems(catalog, parsed)]
    ratios = catalog.choices["aspect_ratio"].values
    ratio = parsed.params.get("aspect_ratio")
    if ratio not in (None, *ratios):
        problems.append(Problem("aspect_ratio", "not_offered", shorten(ratio), allowed=ratios))
    if problems:
        raise InvalidArguments(problems)
    uses: list[dict[str, Any]] = []
    for name, image in catalog.images.items():
        uses.append({"parameter": name, "title": image.about, "is_frame": name in FRAME_IMAGES})
    longest = context.settings.max_body_bytes
    content = {
        "state": "waiting_for_user",
        "uses": uses,
        "use_as": parsed.params.get("use_as", next(iter(catalog.images))),
        "aspect_ratios": list(ratios),
        # Without it, the user chooses.
        "aspect_ratio": ratio,
        "account": parsed.params.get("email"),
        "largest_bytes": LARGEST_UPLOAD,
        # Four characters of base64 stand for three bytes.
        "part_bytes": min(LARGEST_PART, (longest - _ENVELOPE) // 4 * 3) if longest else LARGEST_PART,
        "next_action": "none",
        "next_step": messages.WAIT_FOR_PICTURE,
        "simulated": context.settings.simulated or None,
    }
    return build_result(f"{messages.PANEL_IS_OPEN} {messages.WAIT_FOR_PICTURE}", without_none(content))


def get_names(catalog: Catalog, *names: str) -> tuple[str, ...]:
    """Get the arguments of a tool about pictures: those named, and the account where there is a choice."""
    return (*names, "email") if "email" in catalog.texts else names


def find_problems(catalog: Catalog, parsed: ParsedArguments) -> list[Problem]:
    """Find what is wrong with the use of a picture and with its account."""
    problems: list[Problem] = []
    use_as, email = parsed.params.get("use_as"), parsed.params.get("email")
    uses = tuple(catalog.images)
    # A list or an object is in no mapping: it cannot be looked up there.
    if use_as is not None and use_as not in uses:
        problems.append(Problem("use_as", "not_offered", shorten(use_as), allowed=uses))
    if email is not None:
        problems += value_problems(catalog, "email", email, catalog.texts["email"])
    return problems
