"""What Luma can make: ONE table, and every question that is asked of it.

Source: `SOURCE` below, as of `SOURCE_DATE`. Every
enum, default, refusal, suggestion, schema and table of this project is derived from the rows below.
A new model is one row in `MODELS` (and one in the tests' own, hand-written copy).

Words and combinations
    A caller's *words* are a mapping of parameter names to values; what the caller left out is not in
    it. A *combination* gives every `CHOICES` parameter a value and says of every `IMAGES` parameter
    whether it is given. `combinations()` lists the valid ones; every question is a filter over it.
    Leaving an image away never makes a valid combination invalid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SOURCE = "useapi.net, Generate Videos (POST /v1/luma/videos)"
SOURCE_DATE = "2026-04-06"

Combination = dict[str, str | bool]
"""A value for every name in `CHOICES`, and for every name in `IMAGES` whether it is given."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A parameter with a closed set of values, cheapest first. `default`: the API's documented one."""

    api_name: str
    about: str
    values: tuple[str, ...]
    default: str


@dataclass(frozen=True, slots=True)
class Text:
    """A parameter with free text: at most `max_length` characters, somewhere matching `pattern`."""

    api_name: str
    about: str
    expects: str
    pattern: str
    max_length: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a model goes in one dynamic range: each of these resolutions with each of these durations."""

    resolutions: tuple[str, ...]
    durations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A row of the table. `character_ranges`: the dynamic ranges in which it takes `image_character`."""

    name: str
    about: str
    ranges: Mapping[str, Limits]
    keyframes: bool = True
    character_ranges: tuple[str, ...] = ()


_ALL = ("draft", "540p", "720p", "1080p")
_BOTH = ("5s", "10s")


def _ranges(**ranges: Limits) -> Mapping[str, Limits]:
    return MappingProxyType(ranges)


MODELS = (
    Model(
        "ray-v3-flash",
        "fast and cheapest",
        _ranges(
            sdr=Limits(_ALL, _BOTH),
            hdr=Limits(("540p", "720p", "1080p"), ("5s",)),
            hdr_exr=Limits(("540p", "720p"), ("5s",)),
        ),
    ),
    Model(
        "ray-v3",
        "the full model",
        _ranges(
            sdr=Limits(_ALL, _BOTH),
            hdr=Limits(("540p", "720p", "1080p"), ("5s",)),
            hdr_exr=Limits(("540p", "720p"), ("5s",)),
        ),
        character_ranges=("sdr",),
    ),
    Model(
        "ray-v3-reasoning",
        "plans before it draws",
        _ranges(
            sdr=Limits(("720p", "1080p"), _BOTH),
            hdr=Limits(("720p", "1080p"), ("5s",)),
            hdr_exr=Limits(("720p",), ("5s",)),
        ),
    ),
)

CHOICES: Mapping[str, Choice] = MappingProxyType(
    {
        "model": Choice("model", "Ray 3 model", tuple(m.name for m in MODELS), "ray-v3-flash"),
        "resolution": Choice("resolution", "Resolution", _ALL, "draft"),
        "aspect_ratio": Choice(
            "aspect_ratio", "Width to height", ("9:16", "3:4", "1:1", "4:3", "16:9", "21:9"), "16:9"
        ),
        "duration": Choice("duration", "Length", _BOTH, "5s"),
        "dynamic_range": Choice("dynamic_range", "Dynamic range", ("sdr", "hdr", "hdr_exr"), "sdr"),
    }
)

_IMAGE = "an https:// link, a whole path, the jobid of an earlier video, a data: URI or an assetRef"

IMAGES: Mapping[str, Text] = MappingProxyType(
    {
        "image_start": Text("imageStart", "First frame", _IMAGE, r"\S"),
        "image_end": Text("imageEnd", "Last frame", _IMAGE, r"\S"),
        "image_character": Text("imageCharacter", "A character to show", _IMAGE, r"\S"),
    }
)

FRAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "image_start": ("last_frame",),
        "image_end": ("last_frame",),
        "image_character": ("thumbnail", "last_frame"),
    }
)
"""The output of an earlier job that its jobid stands for: a film goes on from the last frame, and two clips can end
alike; a character is taken from the thumbnail, or if there is none, from the last frame. A choice of this project."""

TEXTS: Mapping[str, Text] = MappingProxyType(
    {
        "prompt": Text("prompt", "What the video shows", "1 to 2000 characters of text", r"\S", 2000),
        "email": Text(
            "email",
            "Luma account to use; any with a free slot if omitted",
            "the e-mail address of a configured account",
            r"^\S+@\S+$",
        ),
        "reply_url": Text(
            "replyUrl",
            "Webhook, called on submission and at the end",
            "an http(s) URL of at most 1024 characters",
            r"^https?://\S+$",
            1024,
        ),
        "reply_ref": Text("replyRef", "Your reference, echoed to the webhook", "a text", r"\S"),
    }
)

_ROWS: dict[str, Choice | Text] = {**TEXTS, **CHOICES, **IMAGES}
API_NAMES: Mapping[str, str] = MappingProxyType({name: row.api_name for name, row in _ROWS.items()})
"""This project's parameter names to the API's."""


@dataclass(frozen=True, slots=True)
class Output:
    """What one dynamic range delivers."""

    format: str
    plays_in_browser: bool
    note: str


_PLAYERS = "no browser plays it: open it in VLC, mpv or a native HDR player"
OUTPUTS: Mapping[str, Output] = MappingProxyType(
    {
        "sdr": Output("H.264 MP4", True, "plays in browsers"),
        "hdr": Output("HEVC Main 10, BT.2020, HDR10 (PQ) MP4", False, _PLAYERS),
        "hdr_exr": Output(
            "HEVC Main 10, BT.2020, HDR10 (PQ) MP4 and a ZIP of EXR frames",
            False,
            f"{_PLAYERS}; the ZIP is for grading",
        ),
    }
)

TYPICAL_SECONDS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "draft": (30, 60),
        "540p": (68, 112),
        "720p": (90, 150),
        "1080p": (135, 225),
    }
)
"""From submission to finished. Documented: draft 30 to 60 s, 1080p about 3 minutes; between them interpolated."""


@cache
def combinations() -> tuple[Combination, ...]:
    """All valid combinations."""
    return tuple(
        {"model": m.name, "resolution": r, "aspect_ratio": a, "duration": d, "dynamic_range": dynamic_range, **images}
        for m in MODELS
        for dynamic_range, reach in m.ranges.items()
        for images in _image_inputs(m, dynamic_range)
        for r, a, d in product(reach.resolutions, CHOICES["aspect_ratio"].values, reach.durations)
    )


def _image_inputs(model: Model, dynamic_range: str) -> Iterator[dict[str, bool]]:
    """Which images may be given together; a character excludes the keyframes."""
    none = dict.fromkeys(IMAGES, False)
    yield none
    if model.keyframes:
        yield none | {"image_start": True}
        yield none | {"image_end": True}
        yield none | {"image_start": True, "image_end": True}
    if dynamic_range in model.character_ranges:
        yield none | {"image_character": True}


def fits(combination: Mapping[str, Any], partial: Mapping[str, Any]) -> bool:
    """Whether the combination has every value that `partial` names."""
    return partial.items() <= combination.items()


def allowed(partial: Mapping[str, Any]) -> dict[str, tuple[str | bool, ...]]:
    """For a partial choice (images as True or False), the values still possible for every other parameter.

    Every tuple is empty when the partial choice is itself impossible.
    """
    left = [c for c in combinations() if fits(c, partial)]
    every: dict[str, tuple[str | bool, ...]] = {n: c.values for n, c in CHOICES.items()}
    every |= dict.fromkeys(IMAGES, (False, True))
    return {n: tuple(v for v in vs if any(c[n] == v for c in left)) for n, vs in every.items() if n not in partial}
