"""Clean text and JSON values before they are shown. A leaf: imports nothing of this package."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

# Control characters could move the cursor or recolour a terminal; the last two ranges reverse the writing direction,
# so that a text reads differently from what it is. Newlines and tabs are harmless.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def strip_control(text: str) -> str:
    """Remove control characters, which a terminal executes instead of showing; newlines and tabs stay."""
    return _CONTROL.sub("", text)


def one_line(text: str) -> str:
    """Remove control characters and put the text on one line."""
    return strip_control(text).replace("\n", " ")


def decode_utf8(text: str) -> str:
    """Decode as UTF-8 a text of the system that Python has decoded by its locale. `UnicodeError`: it is not UTF-8."""
    return os.fsencode(text).decode()


def make_encodable(value: Any) -> Any:
    """Replace lone surrogates in a JSON value, as in names of files in another encoding: UTF-8 cannot express them.

    A single one would prevent an answer from being sent, even one about a paid job.
    """
    with suppress(UnicodeEncodeError):
        # Nearly every value can be encoded, and this shows it much faster than checking each part.
        json.dumps(value, ensure_ascii=False).encode()
        return value
    return _replace_surrogates(value)


def _replace_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_replace_surrogates(name): _replace_surrogates(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_surrogates(item) for item in value]
    return value


def without_none(content: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is not known."""
    return {name: value for name, value in content.items() if value is not None}


def shorten(text: str, limit: int) -> str:
    """Cut the text to `limit` characters; an ellipsis follows where something was cut."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}…"


def fold(text: str) -> str:
    """Reduce a text to what a search compares: without case, the accents of letters and forms of width."""
    # Only these marks are accents. Those of Japanese and others make another letter, which is composed again.
    bare = re.sub("[\u0300-\u036f]", "", unicodedata.normalize("NFKD", text))
    return unicodedata.normalize("NFKC", bare).casefold()
