"""The tests' own copy of the catalog, written by hand from useapi.net's page "Generate Videos" (April 6, 2026).

It shares nothing with `luma_mcp.catalog`. If the two differ, one of them contains a mistake.
"""

from __future__ import annotations

from itertools import product

MODELS = ("ray-v3-flash", "ray-v3", "ray-v3-reasoning")
RESOLUTIONS = ("draft", "540p", "720p", "1080p")
DURATIONS = ("5s", "10s")
DYNAMIC_RANGES = ("sdr", "hdr", "hdr_exr")
ASPECT_RATIOS = ("9:16", "3:4", "1:1", "4:3", "16:9", "21:9")
IMAGES = ("image_start", "image_end", "image_character")

RESOLUTIONS_OF = {
    ("ray-v3-flash", "sdr"): {"draft", "540p", "720p", "1080p"},
    ("ray-v3-flash", "hdr"): {"540p", "720p", "1080p"},
    ("ray-v3-flash", "hdr_exr"): {"540p", "720p"},
    ("ray-v3", "sdr"): {"draft", "540p", "720p", "1080p"},
    ("ray-v3", "hdr"): {"540p", "720p", "1080p"},
    ("ray-v3", "hdr_exr"): {"540p", "720p"},
    ("ray-v3-reasoning", "sdr"): {"720p", "1080p"},
    ("ray-v3-reasoning", "hdr"): {"720p", "1080p"},
    ("ray-v3-reasoning", "hdr_exr"): {"720p"},
}
DURATIONS_OF = {"sdr": {"5s", "10s"}, "hdr": {"5s"}, "hdr_exr": {"5s"}}


def is_valid(request: dict[str, str]) -> bool:
    """Whether the page's table has this complete request."""
    model, dynamic_range = request["model"], request["dynamic_range"]
    if request["resolution"] not in RESOLUTIONS_OF[model, dynamic_range]:
        return False
    if request["duration"] not in DURATIONS_OF[dynamic_range]:
        return False
    if "image_character" in request:
        alone = "image_start" not in request and "image_end" not in request
        return model == "ray-v3" and dynamic_range == "sdr" and alone
    return True


def full_product(images: dict[str, str]) -> list[dict[str, str]]:
    """List every request: 3 models, 4 resolutions, 2 durations, 3 ranges, 6 ratios, 8 combinations of images."""
    names = ("model", "resolution", "duration", "dynamic_range", "aspect_ratio")
    requests: list[dict[str, str]] = []
    for values in product(MODELS, RESOLUTIONS, DURATIONS, DYNAMIC_RANGES, ASPECT_RATIOS):
        for flags in product((False, True), repeat=len(IMAGES)):
            request = {"prompt": "A fox in the snow", **dict(zip(names, values, strict=True))}
            for name, given in zip(IMAGES, flags, strict=True):
                if given:
                    request[name] = images[name]
            requests.append(request)
    return requests
