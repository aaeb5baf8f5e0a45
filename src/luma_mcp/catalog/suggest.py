"""What an unknown name or value most likely meant. A guess is only ever suggested, never acted upon."""

from __future__ import annotations

import math
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST = 100
"""Characters of a word that anything is near to."""
_PICTURE = {"image", "img", "photo", "picture", "frame", "keyframe"}
_LAST = {"end", "last", "final"}
_PERSON = {"character", "person", "face", "subject"}
_WORDS = {
    "length": "duration",
    "seconds": "duration",
    "aspect": "aspect_ratio",
    "ratio": "aspect_ratio",
    "orientation": "aspect_ratio",
    "size": "resolution",
    "quality": "resolution",
    "hdr": "dynamic_range",
    "range": "dynamic_range",
    "wait": "wait_seconds",
    "timeout": "wait_seconds",
    "webhook": "reply_url",
    "callback": "reply_url",
    "account": "email",
    "text": "prompt",
    "description": "prompt",
    "id": "jobid",
    "job": "jobid",
    "schema": "include_schema",
    "download": "save",
    "again": "new_take",
    "force": "new_take",
    "retake": "new_take",
    "count": "limit",
    "status": "state",
}
"""Words that other tools have in the names of such parameters."""
_NICKNAMES = {
    "8k": "1080p",
    "4k": "1080p",
    "2k": "1080p",
    "uhd": "1080p",
    "fullhd": "1080p",
    "fhd": "1080p",
    "hd": "720p",
    "sd": "540p",
    "low": "draft",
    "preview": "draft",
    "vertical": "9:16",
    "portrait": "9:16",
    "landscape": "16:9",
    "horizontal": "16:9",
    "widescreen": "16:9",
    "square": "1:1",
    "cinematic": "21:9",
    "ultrawide": "21:9",
    "hdr10": "hdr",
    "exr": "hdr_exr",
    "flash": "ray-v3-flash",
    "reasoning": "ray-v3-reasoning",
}
_NUMBERS = re.compile(r"(\d+(?:\.\d+)?)(?:[:x/](\d+(?:\.\d+)?))?[a-z]*")


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """The known parameter that `name` most likely stands for, if any is likely."""
    names = list(known)
    if len(name) > LONGEST:
        return None
    words = snake(name).split("_")
    plain = {n.replace("_", ""): n for n in names}
    guesses = [plain.get("".join(words)), _picture_name(set(words))]
    guesses += [_WORDS[word] for word in words if word in _WORDS]
    guesses += [n for n in names if set(words) & set(n.split("_"))]
    guesses += [_WORDS.get(n, n) for n in get_close_matches(snake(name), [*names, *_WORDS], n=1)]
    return next((guess for guess in guesses if guess in names), None)


def snake(name: str) -> str:
    """`imageStart` and `image_start` are one name."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).casefold()


def nearest_value(word: str, values: tuple[str, ...]) -> str | None:
    """The value that is nearest to an unknown word: by nickname, in number (`480p`, `8s`, `2:1`), or in spelling."""
    if len(word) > LONGEST:
        return None
    text = re.sub(r"[\s_-]", "", word.casefold())
    if _NICKNAMES.get(text) in values:
        return _NICKNAMES[text]
    measured = {v: m for v in values if (m := _measure(v)) is not None}
    asked = _measure(text)
    if asked is not None and measured:
        if not any(":" in v for v in values) and (sides := re.fullmatch(r"(\d+)[x/](\d+)", text)):
            asked = math.log(min(map(float, sides.groups())) or 1)  # 1920x1080 is 1080p: the short side names it
        return min(measured, key=lambda v: abs(measured[v] - asked))
    return next(iter(get_close_matches(text, values, n=1)), None)


def _picture_name(words: set[str]) -> str | None:
    if not words & (_PICTURE | _PERSON):
        return None
    return "image_character" if words & _PERSON else "image_end" if words & _LAST else "image_start"


def _measure(text: str) -> float | None:
    """The logarithm of a number or of a ratio, so that twice and half are equally far."""
    numbers = _NUMBERS.fullmatch(text)
    if not numbers:
        return None
    value = float(numbers[1]) / float(numbers[2] or 1) if float(numbers[2] or 1) else 0.0
    return math.log(value) if value else None
