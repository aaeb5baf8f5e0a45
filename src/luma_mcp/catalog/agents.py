"""What can be made with Luma's own Agents API: the model Ray 3.2.

Source: Luma's documentation and its official SDK, as of `SOURCE_DATE`. Where they disagree, the rows contain
only what every source accepts. A new model or resolution is one row below; then `make docs`. The tests hold an
independent copy in tests/table_agents.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from types import MappingProxyType
from typing import Literal, get_args

from luma_mcp.catalog.models import (
    LOCAL_PATH,
    NEVER_OFFERED,
    AspectRatio,
    Catalog,
    Choice,
    ClipInput,
    Duration,
    Flag,
    ImageInput,
    Input,
    KeyframesInput,
    ModelRow,
    ModeRow,
    Output,
    ResolutionRow,
    Text,
    build_model,
    list_expensive,
)

# Types written by `make docs` from the rows below, because type checkers need literals; not used at run time.
ModelName = Literal["ray-3.2"]
Resolution = Literal["360p", "540p", "720p", "1080p"]
DynamicRange = Literal["sdr", "hdr", "hdr_exr"]
# End of the written types.

SOURCE = "Luma Agents API (POST /v1/generations, type video)"
SOURCE_DATE = "2026-11-25"
# docs.agents.lumalabs.ai/guides/pricing
PRICE_SOURCE = "Luma's price list"
PRICE_DATE = "2026-10-08"

_DURATIONS = {"sdr": ("5s", "10s"), "hdr": ("5s",), "hdr_exr": ("5s",)}
_SHORT_SDR = {"sdr": ("5s",)}

MODELS = (
    ModelRow(
        "ray-3.2",
        "the only one",
        (
            ModeRow(((), ("image_start",), ("image_end",), ("image_start", "image_end"), ("keyframes",)), _DURATIONS),
            ModeRow((("loop",), ("image_start", "loop")), _SHORT_SDR),
            # No price is known for an extension in 360p.
            ModeRow((("extend",),), _SHORT_SDR, smallest_resolution="540p"),
        ),
    ),
)

# Reported: 5 s in 720p well under 2 minutes, in 1080p 30 to 120 s; 10 s, 1080p and HDR several times as long.
RESOLUTIONS = (
    ResolutionRow("360p", ("sdr",), (20, 60), dollars=0.06),
    ResolutionRow("540p", ("sdr",), (30, 90), dollars=0.15),
    ResolutionRow("720p", ("sdr", "hdr", "hdr_exr"), (40, 120), dollars=0.30),
    ResolutionRow("1080p", ("sdr", "hdr", "hdr_exr"), (60, 240), expensive=True, dollars=1.20),
)

# How many times the price of 5 s in SDR a video costs. An extension costs as much as a video of 5 s.
_PRICE_MULTIPLES = {("5s", "sdr"): 1, ("10s", "sdr"): 3, ("5s", "hdr"): 2, ("5s", "hdr_exr"): 3}
_PRICE_FACTORS = ("resolution", "duration", "dynamic_range")

_HDR_NOTE = "no browser plays it: open it in VLC, mpv or a native HDR player"
_OUTPUTS = {
    "sdr": Output("MP4", True, "plays in browsers"),
    "hdr": Output("HDR MP4", False, _HDR_NOTE),
    "hdr_exr": Output("HDR MP4 and EXR frames", False, f"{_HDR_NOTE}; the EXR frames are for grading"),
}

_IMAGE = f"an https:// link, {LOCAL_PATH}the jobid of an earlier video, a data: URI or a file id"
_IMAGES = {
    "image_start": ImageInput("start_frame", "First frame", _IMAGE, frames=("last_frame",)),
    "image_end": ImageInput("end_frame", "Last frame", _IMAGE, frames=("last_frame",)),
}
_INPUTS: dict[str, Input] = {
    # The API's grid has 24 places per second.
    "keyframes": KeyframesInput(
        "keyframes",
        "Up to 64 pictures, each with its time in seconds",
        "1 to 64 objects, each with an image and its time in seconds",
        max_items=64,
        per_second=24,
    ),
    "extend": ClipInput(
        "start_frame",
        "Continue an earlier clip as one longer clip",
        "the jobid of a completed video",
        max_length=100,
        seconds=5,
        max_seconds=30,
    ),
    "loop": Flag("loop", "The end leads into the beginning"),
}
_TEXTS = {"prompt": Text("prompt", "What the video shows", "1 to 6000 characters of text", max_length=6000)}

_NOT_OFFERED = {
    **NEVER_OFFERED,
    "character image": ("character",),
    "choice of account": ("email", "account"),
    "webhook": ("webhook", "callback", "reply"),
    "editing of a video": ("edit", "reframe", "source_video", "input_video", "video_url"),
}
_INSTEAD = {"character image": "pass the picture as image_start, or describe the character in the prompt"}


def build_catalog(models: Sequence[ModelRow] = MODELS, resolutions: Sequence[ResolutionRow] = RESOLUTIONS) -> Catalog:
    """Build the catalog from rows, each kind cheapest first."""
    choices = {
        "model": Choice("model", "Ray model", tuple(row.name for row in models), "ray-3.2", True),
        "resolution": Choice("resolution", "Resolution", tuple(row.name for row in resolutions), "360p", True),
        "aspect_ratio": Choice("aspect_ratio", "Width to height", get_args(AspectRatio), "16:9"),
        "duration": Choice("duration", "Length", get_args(Duration), "5s", True),
        "dynamic_range": Choice("dynamic_range", "Dynamic range", tuple(_OUTPUTS), "sdr"),
    }
    prices: dict[tuple[str, ...], float] = {}
    for row, (kind, multiple) in product(resolutions, _PRICE_MULTIPLES.items()):
        if row.dollars is not None and kind[1] in row.dynamic_ranges:
            prices[row.name, *kind] = round(row.dollars * multiple, 2)
    return Catalog(
        api="agents",
        source=SOURCE,
        source_date=SOURCE_DATE,
        models=tuple(build_model(row, resolutions) for row in models),
        choices=MappingProxyType(choices),
        images=MappingProxyType(_IMAGES),
        texts=MappingProxyType(_TEXTS),
        outputs=MappingProxyType(_OUTPUTS),
        typical_seconds=MappingProxyType({row.name: row.typical_seconds for row in resolutions}),
        expensive=list_expensive(choices, resolutions),
        not_offered=MappingProxyType(_NOT_OFFERED),
        instead=MappingProxyType(_INSTEAD),
        inputs=MappingProxyType(_INPUTS),
        aliases=MappingProxyType({"resolution": {"draft": "360p"}}),
        prices=MappingProxyType(prices),
        price_factors=_PRICE_FACTORS,
        price_source=PRICE_SOURCE,
        price_date=PRICE_DATE,
    )


AGENTS = build_catalog()
