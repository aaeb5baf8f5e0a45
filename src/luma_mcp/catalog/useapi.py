"""What can be made with Luma over useapi.net, version 1 of its Luma API.

Source: the page "Generate Videos" (POST /v1/luma/videos) as of `SOURCE_DATE`. Enums, defaults, rejections, suggestions,
schemas and tables are derived from the rows below. A new model is one row in `MODELS`, a new resolution one row in
`RESOLUTIONS`; then `make docs`. The tests hold an independent copy in tests/table.py. See docs/adding-a-model.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Literal, get_args

from luma_mcp.catalog.models import (
    LOCAL_PATH,
    NEVER_OFFERED,
    AspectRatio,
    Catalog,
    Choice,
    Duration,
    ImageInput,
    ModelRow,
    ModeRow,
    Output,
    ResolutionRow,
    Text,
    build_model,
    list_expensive,
)

# Types written by `make docs` from the rows below, because type checkers need literals; not used at run time.
ModelName = Literal["ray-v3-flash", "ray-v3", "ray-v3-reasoning"]
Resolution = Literal["draft", "540p", "720p", "1080p"]
DynamicRange = Literal["sdr", "hdr", "hdr_exr"]
# End of the written types.

SOURCE = "useapi.net, Generate Videos (POST /v1/luma/videos)"
SOURCE_DATE = "2026-04-06"

_ANY_DURATION = ("5s", "10s")
_DURATIONS = {"sdr": _ANY_DURATION, "hdr": ("5s",), "hdr_exr": ("5s",)}

_FRAMES = ModeRow(((), ("image_start",), ("image_end",), ("image_start", "image_end")), _DURATIONS)
_CHARACTER = ModeRow((("image_character",),), {"sdr": _ANY_DURATION})

MODELS = (
    ModelRow("ray-v3-flash", "fast and cheapest", (_FRAMES,)),
    ModelRow("ray-v3", "the full model", (_FRAMES, _CHARACTER)),
    ModelRow("ray-v3-reasoning", "plans before it draws", (_FRAMES,), smallest_resolution="720p"),
)

# Documented times: 30 to 60 s for draft and about 3 minutes for 1080p. Those between them are interpolated.
RESOLUTIONS = (
    ResolutionRow("draft", ("sdr",), (30, 60)),
    ResolutionRow("540p", ("sdr", "hdr", "hdr_exr"), (68, 112)),
    ResolutionRow("720p", ("sdr", "hdr", "hdr_exr"), (90, 150)),
    ResolutionRow("1080p", ("sdr", "hdr"), (135, 225), expensive=True),
)

_HDR_NOTE = "no browser plays it: open it in VLC, mpv or a native HDR player"
_HDR = "HEVC Main 10, BT.2020, HDR10 (PQ) MP4"
_OUTPUTS = {
    "sdr": Output("H.264 MP4", True, "plays in browsers"),
    "hdr": Output(_HDR, False, _HDR_NOTE),
    "hdr_exr": Output(f"{_HDR} and a ZIP of EXR frames", False, f"{_HDR_NOTE}; the ZIP is for grading"),
}

_IMAGE = f"an https:// link, {LOCAL_PATH}the jobid of an earlier video, a data: URI or an assetRef"
# Which frame a jobid stands for is this project's choice: a film continues from the last frame, two clips can end
# alike, and a character is easiest to see in the thumbnail.
_IMAGES = {
    "image_start": ImageInput("imageStart", "First frame", _IMAGE, frames=("last_frame",)),
    "image_end": ImageInput("imageEnd", "Last frame", _IMAGE, frames=("last_frame",)),
    "image_character": ImageInput("imageCharacter", "A character to show", _IMAGE, frames=("thumbnail", "last_frame")),
}

_ACCOUNT = "Luma account to use; any with a free slot if omitted"
_WEBHOOK = "Webhook, called on submission and at the end"
_URL = "an http(s) URL of at most 1024 characters"
_TEXTS = {
    "prompt": Text("prompt", "What the video shows", "1 to 2000 characters of text", max_length=2000),
    "email": Text("email", _ACCOUNT, "the e-mail address of a configured account", r"^\S+@\S+$", 320),
    "reply_url": Text("replyUrl", _WEBHOOK, _URL, r"^https?://\S+$", 1024),
    # Without a documented limit. The record of the job repeats it, and is read up to a size.
    "reply_ref": Text(
        "replyRef", "Your reference, echoed to the webhook", "text of at most 10000 characters", max_length=10_000
    ),
}


def build_catalog(models: Sequence[ModelRow] = MODELS, resolutions: Sequence[ResolutionRow] = RESOLUTIONS) -> Catalog:
    """Build the catalog from rows, each kind cheapest first."""
    choices = {
        "model": Choice("model", "Ray model", tuple(row.name for row in models), "ray-v3-flash", True),
        "resolution": Choice("resolution", "Resolution", tuple(row.name for row in resolutions), "draft", True),
        "aspect_ratio": Choice("aspect_ratio", "Width to height", get_args(AspectRatio), "16:9"),
        "duration": Choice("duration", "Length", get_args(Duration), "5s", True),
        "dynamic_range": Choice("dynamic_range", "Dynamic range", tuple(_OUTPUTS), "sdr"),
    }
    return Catalog(
        api="useapi",
        source=SOURCE,
        source_date=SOURCE_DATE,
        models=tuple(build_model(row, resolutions) for row in models),
        choices=MappingProxyType(choices),
        images=MappingProxyType(_IMAGES),
        texts=MappingProxyType(_TEXTS),
        outputs=MappingProxyType(_OUTPUTS),
        typical_seconds=MappingProxyType({row.name: row.typical_seconds for row in resolutions}),
        expensive=list_expensive(choices, resolutions),
        not_offered=MappingProxyType(NEVER_OFFERED),
    )


USEAPI = build_catalog()
