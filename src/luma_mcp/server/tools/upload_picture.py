"""`upload_picture`: receive a picture in parts from the panel that `add_picture` opens, and upload it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from luma_mcp.errors import InvalidArguments, LumaError, Problem
from luma_mcp.server import messages, schemas
from luma_mcp.server.arguments import ParsedArguments, parse_arguments
from luma_mcp.server.results import build_result, format_iso
from luma_mcp.server.schemas import NUMBER, STRING
from luma_mcp.server.tools import CallToolResult, Context, ServerContext, Tool, build_tool
from luma_mcp.server.tools.add_picture import find_problems, get_names
from luma_mcp.server.ui import PAGE_META
from luma_mcp.text import without_none

if TYPE_CHECKING:
    from luma_mcp.media.images import Crop
    from luma_mcp.service.pictures import PictureUploads

DESCRIPTION = "Only for the panel of add_picture, which sends a picture in parts. Never call it yourself."
ACTIONS = ("preview", "finish", "discard")
_UPLOAD, _DIGEST = re.compile("[0-9a-f]{32}"), re.compile("[0-9a-f]{64}")
_SHARES = ("left", "top", "width", "height")
# Shares that a page computes from pixels can have rounding errors.
_TOLERANCE = 1e-6
_INPUT: schemas.Schema = {
    "upload": {"type": "string", "description": "32 hexadecimal digits."},
    "offset": {"type": "integer", "minimum": 0},
    "data": {"type": "string", "description": "A part as base64."},
    "action": {"type": "string", "enum": list(ACTIONS)},
    "size": {"type": "integer", "minimum": 1, "description": "Bytes of the picture."},
    "sha256": STRING,
    "crop": {"type": "object", "properties": dict.fromkeys(_SHARES, NUMBER), "description": "Shares of the picture."},
}
_OUTPUT: schemas.Schema = {"state": STRING, "received": NUMBER, "asset": STRING}


def definition(context: ServerContext) -> Tool:
    """Build the tool."""
    catalog = context.catalog
    properties = _INPUT | {"use_as": {"type": "string", "enum": list(catalog.images)}}
    if "email" in catalog.texts:
        properties["email"] = STRING
    return build_tool(
        context,
        handle,
        name="upload_picture",
        title="Upload a picture from the panel",
        description=DESCRIPTION,
        input_schema=schemas.input_object(properties, ["upload"]),
        output_schema=schemas.output_object(_OUTPUT),
        needs_apps=True,
        meta=PAGE_META,
    )


async def handle(context: ServerContext, raw: dict[str, Any], ctx: Context[Any, Any]) -> CallToolResult:  # noqa: ARG001
    """Receive a part, build a preview, upload the picture, or discard it."""
    try:
        return await _handle(context, raw)
    except LumaError as error:
        # An upload costs nothing.
        error.charged = "no"
        raise


async def _handle(context: ServerContext, raw: dict[str, Any]) -> CallToolResult:
    pictures = context.require_service().pictures
    parsed = parse_arguments(context.catalog, raw, get_names(context.catalog, *_INPUT, "use_as"))
    problems = [*parsed.problems, *find_problems(context.catalog, parsed)]
    upload, action = parsed.params.get("upload"), parsed.params.get("action")
    if not isinstance(upload, str) or not _UPLOAD.fullmatch(upload):
        problems.append(Problem("upload", "wrong_format", expected="32 hexadecimal digits"))
    if action not in (None, *ACTIONS):
        problems.append(Problem("action", "not_offered", allowed=ACTIONS))
    if problems:
        raise InvalidArguments(problems)
    upload = str(upload)
    if action == "finish":
        return await _finish(context, pictures, upload, parsed)
    if action == "preview":
        preview = await pictures.preview(upload)
        if preview is None:
            return _receiving(0)
        width, height = preview.size
        content = {"state": "preview", "width": width, "height": height}
        return build_result(messages.PICTURE_PREVIEW, content, pictures=[preview.data])
    if action == "discard":
        await pictures.discard(upload)
        return build_result(messages.PICTURE_DISCARDED, {"state": "discarded"})
    return _receiving(await pictures.receive(upload, *_parse_part(parsed)))


async def _finish(
    context: ServerContext, pictures: PictureUploads, upload: str, parsed: ParsedArguments
) -> CallToolResult:
    params = parsed.params
    problems: list[Problem] = []
    size, digest, use_as = params.get("size", 0), params.get("sha256"), params.get("use_as", "")
    if not _is_count(size) or size == 0:
        problems.append(Problem("size", "out_of_range", expected="the bytes of the whole picture"))
    if digest is not None and not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        problems.append(Problem("sha256", "wrong_format", expected="64 hexadecimal digits"))
    if not use_as:
        problems.append(Problem("use_as", "missing", expected=" or ".join(context.catalog.images)))
    crop = _parse_crop(params["crop"], problems) if "crop" in params else None
    if problems:
        raise InvalidArguments(problems)
    email = params.get("email")
    picture = await pictures.finish(upload, size, use_as, digest=digest, email=email, crop=crop)
    if isinstance(picture, int):
        return _receiving(picture)
    expires_at = None
    if picture.is_new and (days := context.provider.asset_days):
        expires_at = format_iso(context.require_service().now() + timedelta(days=days))
    content = {
        "state": "uploaded",
        "asset": picture.asset_ref,
        "use_as": use_as,
        "account": picture.account or None,
        "width": picture.size[0],
        "height": picture.size[1],
        "changes": picture.changes or None,
        "expires_at": expires_at,
        "simulated": context.settings.simulated or None,
    }
    text = messages.picture_uploaded(use_as, picture.asset_ref)
    return build_result(text, without_none(content), pictures=[picture.thumbnail])


def _receiving(received: int) -> CallToolResult:
    content = {"state": "receiving", "received": received}
    return build_result(messages.PICTURE_RECEIVING.format(received), content)


def _parse_part(parsed: ParsedArguments) -> tuple[int, bytes]:
    """Get where a part begins, and its bytes; none if nothing is sent, which only asks how much has arrived."""
    from luma_mcp.service.pictures import LARGEST_PART

    text, offset = parsed.params.get("data", ""), parsed.params.get("offset", 0)
    problems: list[Problem] = []
    if not _is_count(offset):
        problems.append(Problem("offset", "out_of_range", expected="a number of bytes"))
    data = b""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        problems.append(Problem("data", "wrong_format", expected="base64"))
    if len(data) > LARGEST_PART:
        problems.append(Problem("data", "out_of_range", expected=f"a part of at most {LARGEST_PART} bytes"))
    if problems:
        raise InvalidArguments(problems)
    return int(offset), data


def _parse_crop(given: Any, problems: list[Problem]) -> Crop | None:
    """Get what is used of a picture; None if that is all of it, or if a problem was added."""
    from luma_mcp.media.images import Crop

    if isinstance(given, Mapping) and set(given) == set(_SHARES) and all(map(_is_share, given.values())):
        crop = Crop(**{name: min(1.0, given[name]) for name in _SHARES})
        right, bottom = crop.left + crop.width, crop.top + crop.height
        if min(crop.width, crop.height) > 0 and max(right, bottom) <= 1 + _TOLERANCE:
            return None if crop.is_whole else crop
    expected = "left, top, width and height as shares of the picture from 0 to 1, within it"
    problems.append(Problem("crop", "out_of_range", expected=expected))
    return None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_share(value: Any) -> bool:
    # No comparison with NaN is true.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1 + _TOLERANCE
