"""The tests' own copy of the second catalog, written by hand from Luma's documentation and SDK (November 25, 2026).

It shares nothing with `luma_mcp.catalog`. If the two differ, one of them contains a mistake. Prices: Luma's pricing
guide, as of October 8, 2026.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

MODELS = ("ray-3.2",)
RESOLUTIONS = ("360p", "540p", "720p", "1080p")
DURATIONS = ("5s", "10s")
SECONDS = {"5s": 5, "10s": 10}
DYNAMIC_RANGES = ("sdr", "hdr", "hdr_exr")
ASPECT_RATIOS = ("9:16", "3:4", "1:1", "4:3", "16:9", "21:9")
IMAGES = ("image_start", "image_end")
PROMPT_LENGTH = 6000
MOST_KEYFRAMES = 64

# In dollars for one clip, by resolution: SDR of 5 s and of 10 s, HDR of 5 s, HDR with EXR frames of 5 s.
PRICES: dict[str, dict[tuple[str, str], float]] = {
    "360p": {("sdr", "5s"): 0.06, ("sdr", "10s"): 0.18},
    "540p": {("sdr", "5s"): 0.15, ("sdr", "10s"): 0.45},
    "720p": {("sdr", "5s"): 0.30, ("sdr", "10s"): 0.90, ("hdr", "5s"): 0.60, ("hdr_exr", "5s"): 0.90},
    "1080p": {("sdr", "5s"): 1.20, ("sdr", "10s"): 3.60, ("hdr", "5s"): 2.40, ("hdr_exr", "5s"): 3.60},
}


def is_valid(request: dict[str, Any]) -> bool:
    """Whether the API accepts this complete request. Keyframes must be distinct and within the longest clip."""
    dynamic_range, duration = request["dynamic_range"], request["duration"]
    if (dynamic_range, duration) not in PRICES[request["resolution"]]:
        return False
    is_short_sdr = (dynamic_range, duration) == ("sdr", "5s")
    has_frame = "image_start" in request or "image_end" in request
    is_loop = request.get("loop", False)
    if is_loop and (not is_short_sdr or "image_end" in request):
        return False
    if "keyframes" in request:
        latest = max(keyframe["seconds"] for keyframe in request["keyframes"])
        if latest > SECONDS[duration] or has_frame or is_loop or "extend" in request:
            return False
    if "extend" in request:
        return is_short_sdr and request["resolution"] != "360p" and not has_frame and not is_loop
    return True


def full_product(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List every request: 4 resolutions, 2 durations, 3 ranges, 6 ratios, with and without each image and input."""
    names = ("model", "resolution", "duration", "dynamic_range", "aspect_ratio")
    requests: list[dict[str, Any]] = []
    for values in product(MODELS, RESOLUTIONS, DURATIONS, DYNAMIC_RANGES, ASPECT_RATIOS):
        for flags in product((False, True), repeat=len(given)):
            request = {"prompt": "A fox in the snow", **dict(zip(names, values, strict=True))}
            for name, flag in zip(given, flags, strict=True):
                if flag:
                    request[name] = given[name]
            requests.append(request)
    return requests
