"""What an unknown name or value most likely means. A guess is only ever suggested, never acted upon."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from luma_mcp.catalog.models import Catalog

# difflib takes quadratic time, and nothing this long is a misspelled name or value.
MAX_LENGTH = 100

_IMAGE_PARTS = frozenset({"image", "img", "photo", "picture", "frame", "keyframe"})
_LAST_PARTS = frozenset({"end", "last", "final"})
_PERSON_PARTS = frozenset({"character", "person", "face", "subject"})
# Parts of names that other tools use for such parameters. Image parameters are found by the sets above.
_PARTS_OF: Mapping[str, tuple[str, ...]] = {
    "duration": ("length", "seconds"),
    "aspect_ratio": ("aspect", "ratio", "orientation"),
    "resolution": ("size", "quality"),
    "dynamic_range": ("hdr", "range"),
    "wait_seconds": ("wait", "timeout"),
    "reply_url": ("webhook", "callback"),
    "email": ("account",),
    "prompt": ("text", "description"),
    "jobid": ("id", "job"),
    "include_schema": ("schema",),
    "save": ("download",),
    "new_take": ("again", "force", "retake"),
    "limit": ("count",),
    "state": ("status",),
}
_NAME_PARTS = {part: name for name, parts in _PARTS_OF.items() for part in parts}
# What other spellings of values mean, in lower case and without separators. A meaning need not be offered: the nearest
# value that is offered is suggested.
_NICKNAMES: Mapping[str, Mapping[str, str]] = {
    "resolution": {"8k": "4320p", "4k": "2160p", "uhd": "2160p", "2k": "1440p", "fullhd": "1080p", "fhd": "1080p"}
    | {"hd": "720p", "sd": "480p", "low": "cheapest", "preview": "cheapest"},
    "aspect_ratio": {"landscape": "16:9", "horizontal": "16:9", "widescreen": "16:9", "square": "1:1"}
    | {"portrait": "9:16", "vertical": "9:16", "cinematic": "21:9", "ultrawide": "21:9"},
}
# Parts of names of parameters that other video generators have.
_NOT_OFFERED = frozenset({"audio", "sound", "music", "voice", "fps", "framerate", "seed", "negative", "steps", "cfg"})
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)(?:[:x/](\d+(?:\.\d+)?))?[a-z]*")
_SIZE = re.compile(r"(\d+)[x/](\d+)")


def is_not_offered(name: str) -> bool:
    """Whether a name stands for something that other generators have and this one does not."""
    return not _NOT_OFFERED.isdisjoint(snake_case(name).split("_"))


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Get the known parameter that `name` most likely stands for, if any is likely."""
    if len(name) > MAX_LENGTH or is_not_offered(name):
        return None
    names = list(known)
    spelling = snake_case(name)
    parts = spelling.split("_")
    without_separators = {known_name.replace("_", ""): known_name for known_name in names}
    guesses = [without_separators.get("".join(parts))]
    if not _PERSON_PARTS.isdisjoint(parts):
        guesses.append("image_character")
    elif not _IMAGE_PARTS.isdisjoint(parts):
        if not _LAST_PARTS.isdisjoint(parts):
            guesses.append("image_end")
        else:
            guesses.append("image_start")
    guesses += map(_NAME_PARTS.get, parts)
    for known_name in names:
        if not set(parts).isdisjoint(known_name.split("_")):
            guesses.append(known_name)
    for similar in get_close_matches(spelling, [*names, *_NAME_PARTS], n=1, cutoff=0.75):
        guesses.append(_NAME_PARTS.get(similar, similar))
    # The first guess is the most likely, but this tool may not have that parameter.
    return next(filter(names.__contains__, guesses), None)


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
    meaning = _NICKNAMES.get(name, {}).get(spelling, spelling)
    if meaning == "cheapest":
        return values[0]
    if meaning in values:
        return meaning
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
        if measured is not None:
            distances[value] = abs(measured - number)
    return min(distances, key=distances.__getitem__, default=None)


def _measure(text: str) -> float | None:
    """Get the logarithm of a number or ratio, so that twice and half are equally far; None if there is no number."""
    numbers = _NUMBER.fullmatch(text)
    if numbers is None:
        return None
    dividend, divisor = float(numbers[1]), float(numbers[2] or 1)
    if not dividend or not divisor:
        return None
    return math.log(dividend / divisor)
