"""Guess what an unknown name or value most likely means. A guess is only suggested, never acted upon."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from luma_mcp.catalog.models import Catalog

# difflib takes quadratic time, and nothing this long is a misspelled name or value.
MAX_LENGTH = 100


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_IMAGE = "image images img picture pictures photo photos keyframe keyframes"
# Parts of names that other tools use for such parameters, besides those of the parameter's own name.
_SYNONYMS: Mapping[str, str] = {
    "image_start": f"{_IMAGE} frame first initial init begin",
    "image_end": f"{_IMAGE} frame last final tail",
    "image_character": f"{_IMAGE} person face subject",
    "keyframes": f"{_IMAGE} frame frames",
    "extend": "extension extended continue continued continuation previous prev prior earlier id job jobid generation",
    "loop": "looping looped loopable seamless seamlessly",
    "duration": "length seconds second secs",
    "aspect_ratio": "orientation",
    "resolution": "size quality",
    "dynamic_range": "hdr",
    "wait_seconds": "timeout",
    "reply_url": "webhook callback",
    "email": "account mail",
    "prompt": "text description positive",
    "jobid": "id job task generation",
    "save": "download",
    "new_take": "again force retake",
    "limit": "count",
    "state": "status",
}
# Parts of names that do not change what a name stands for.
_FILLERS = _set(
    "video clip output input target desired url uri file path link source src name version reference ref enable use "
    "max total is make from perfect list times indexes"
)
# These are spelled like parameters of ours and mean something else.
_OTHER_MEANING = frozenset({"mode", "frames"})
# What a prompt describes, and how many videos there are to be, have a parameter of their own elsewhere.
_DESCRIBED = _set("style camera motion movement mood lighting scene genre pose background")
_COUNTS = _set("n num number count batch samples variations variants quantity amount")
_COUNTED = _set("of size per video videos clip clips output outputs sample result results")
_OFF = frozenset(
    {"", "0", "0.0", "false", "no", "none", "null", "off", "silent", "mute", "muted", "disabled", "without"}
)
_NEGATIONS = frozenset({"mute", "muted", "no", "without", "disable", "remove", "skip"})
# What other spellings of values mean, in lower case and without separators. A meaning need not be offered: the nearest
# value that is offered is suggested.
_NICKNAMES: Mapping[str, Mapping[str, str]] = {
    "resolution": {"8k": "4320p", "4k": "2160p", "uhd": "2160p", "2k": "1440p", "fullhd": "1080p", "fhd": "1080p"}
    | {"4kuhd": "2160p", "hd": "720p", "sd": "480p", "low": "cheapest", "preview": "cheapest", "medium": "720p"}
    | dict.fromkeys(("high", "highest", "best", "max", "maximum", "ultra"), "dearest"),
    "dynamic_range": dict.fromkeys(("dolbyvision", "hlg", "pq", "10bit", "true"), "hdr"),
    "aspect_ratio": {"landscape": "16:9", "horizontal": "16:9", "widescreen": "16:9", "square": "1:1"}
    | {"portrait": "9:16", "vertical": "9:16", "cinematic": "21:9", "ultrawide": "21:9"},
}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)(?:[:x/](\d+(?:\.\d+)?))?[a-z]*")
_MINUTES = re.compile(r"(\d+(?:\.\d+)?)m(in|ins|inute|inutes)?")
_SIZE = re.compile(r"(\d+)[x/](\d+)")


def find_feature(catalog: Catalog, name: str) -> str | None:
    """Get what other generators have and this API does not, if that is what a name stands for."""
    parts = _get_parts(name)
    for feature, names in catalog.not_offered.items():
        if any(parts.issuperset(each.split("_")) for each in names):
            return feature
    return None


def is_off(name: str, value: Any) -> bool:
    """Whether a parameter with this value asks for something to be absent: `audio: false`, `mute: true`."""
    return (str(value).strip().casefold() in _OFF) != (not _NEGATIONS.isdisjoint(_get_parts(name)))


def is_described(name: str) -> bool:
    """Whether a name stands for something that the prompt describes."""
    return not _DESCRIBED.isdisjoint(_get_parts(name))


def is_count(name: str) -> bool:
    """Whether a name stands for the number of videos."""
    parts = _get_parts(name)
    return not _COUNTS.isdisjoint(parts) and parts <= _COUNTS | _COUNTED


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Get the known parameter that `name` most likely stands for, if any is likely.

    Every part of the name must fit: `image_url` is an image, `image_strength` is something else.
    """
    if len(name) > MAX_LENGTH or name.casefold() in _OTHER_MEANING:
        return None
    names = list(known)
    spelling = snake_case(name)
    parts = _get_parts(name)
    fits: dict[str, int] = {}
    synonyms: dict[str, str] = {}
    for known_name in names:
        # `key_frame` is one of `keyframes`.
        if spelling.replace("_", "") in (known_name.replace("_", ""), known_name.removesuffix("s")):
            return known_name
        own = {*known_name.split("_"), known_name.removesuffix("s")}
        vocabulary = {*own, *_SYNONYMS.get(known_name, "").split()}
        synonyms |= dict.fromkeys(vocabulary - _FILLERS - synonyms.keys(), known_name)
        if parts <= vocabulary | _FILLERS:
            # A part of the name itself weighs more than another name for it.
            fits[known_name] = len(parts & vocabulary - _FILLERS) + len(parts & own - _FILLERS)
    best = max(fits, key=fits.__getitem__, default="")
    if fits.get(best):
        return best
    # The first letter is rarely misspelled: `count` is no misspelled `account`.
    candidates = [each for each in (*names, *synonyms) if each[0] == spelling[:1]]
    similar = get_close_matches(spelling, candidates, n=1, cutoff=0.82)
    return next((synonyms.get(each, each) for each in similar), None)


def _get_parts(name: str) -> set[str]:
    return set(re.findall("[a-z]+", snake_case(name)))


def snake_case(name: str) -> str:
    """Spell a name as this project does: `imageStart` becomes `image_start`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).casefold()


def nearest_value(catalog: Catalog, name: str, text: str) -> str | None:
    """Get the value of a choice that is nearest to unknown text, if any is near.

    Looks by nickname (`4k`), by a part that only one value has (`reasoning`), by number (`480p`, `8s`, `2:1`), and then
    by spelling.
    """
    if len(text) > MAX_LENGTH:
        return None
    values = catalog.choices[name].values
    spelling = re.sub(r"[\s_-]", "", text.casefold())
    names = {**_NICKNAMES.get(name, {}), **catalog.aliases.get(name, {})}
    meaning = names.get(spelling, spelling)
    if meaning == "cheapest":
        return values[0]
    if meaning == "dearest":
        return values[-1]
    if meaning in values:
        return meaning
    if name == "duration" and (minutes := _MINUTES.fullmatch(meaning)):
        meaning = f"{float(minutes[1]) * 60:g}s"
    # Part of a name, such as "flash"; a part that several values have, such as "ray", means none of them.
    with_part = [value for value in values if meaning in re.split(r"[_-]", value)]
    if len(with_part) == 1:
        return with_part[0]
    similar = get_close_matches(meaning, values, n=1)
    return _nearest_number(meaning, values) or next(iter(similar), None)


def _nearest_number(text: str, values: tuple[str, ...]) -> str | None:
    number = _measure(text)
    if number is None:
        return None
    size = _SIZE.fullmatch(text)
    if size and ":" not in "".join(values):
        # A size is named after its short side: 1920x1080 is 1080p.
        number = math.log(min(float(size[1]), float(size[2])) or 1)
    distances: dict[str, float] = {}
    for value in values:
        measured = _measure(value)
        # A frame rate is no resolution, and neither is a ratio: what is compared has the same unit.
        if measured is not None and (size or _has_unit(text, value)):
            distances[value] = abs(measured - number)
    return min(distances, key=distances.__getitem__, default=None)


def _has_unit(text: str, value: str) -> bool:
    """Whether a number has the unit of a value, abbreviated or not, or none; a ratio has none."""
    unit = text.lstrip("0123456789.:x/")
    return bool({":", "x", "/"} & set(text)) == (":" in value) and (not unit or unit[0] == value[-1])


def _measure(text: str) -> float | None:
    """Get the logarithm of a number or ratio, so that twice and half are equally far; None if there is no number."""
    numbers = _NUMBER.fullmatch(text)
    if numbers is None:
        return None
    dividend, divisor = float(numbers[1]), float(numbers[2] or 1)
    if not dividend or not divisor:
        return None
    return math.log(dividend / divisor)
