"""The tools' own parameters, which say nothing of the video: what they take, and what they fall back to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_args

from luma_mcp.catalog.useapi import API_NAMES
from luma_mcp.hosts import UNKNOWN_WAIT
from luma_mcp.service.states import MOST, ListedState
from luma_mcp.settings import LONGEST_WAIT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WAIT, SAVE, NEW_TAKE, LIMIT, STATE, SCHEMA = "wait_seconds", "save", "new_take", "limit", "state", "include_schema"
ORDER_WORDS = (*API_NAMES, WAIT, SAVE, NEW_TAKE)
"""What `generate_video` takes."""
DEFAULT_LIMIT = 20
STATES: tuple[str, ...] = get_args(ListedState)
_YES_OR_NO = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class Own:
    """A parameter. `read`: from a spelling to the value; `mend`: the nearest value it takes, itself if it is one."""

    takes: str
    read: Callable[[Any], Any]
    mend: Callable[[Any], Any]
    allowed: tuple[str, ...]


def _number(value: Any) -> Any:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)s?", value) if isinstance(value, str) else None
    return float(found[1]) if found else value


def _between(low: int, high: int, otherwise: int, *, whole: bool = False) -> Callable[[Any], Any]:
    def mend(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124 - NaN
            return otherwise
        inside = max(low, min(high, value))
        return int(inside) if whole else inside

    return mend


def _flag(value: Any) -> Any:
    return _YES_OR_NO.get(str(value).casefold(), value)


_FLAG = Own("true or false", _flag, lambda value: value is True, ("true", "false"))
OWN: Mapping[str, Own] = MappingProxyType(
    {
        WAIT: Own(
            f"a number of seconds from 0 to {LONGEST_WAIT}",
            _number,
            _between(0, LONGEST_WAIT, UNKNOWN_WAIT),
            ("0", str(LONGEST_WAIT)),
        ),
        LIMIT: Own(
            f"a whole number from 1 to {MOST}", _number, _between(1, MOST, DEFAULT_LIMIT, whole=True), ("1", str(MOST))
        ),
        STATE: Own(
            f"one of {', '.join(STATES)}",
            lambda value: value.casefold() if isinstance(value, str) else value,
            lambda value: value if value in STATES else STATES[0],
            STATES,
        ),
        SAVE: _FLAG,
        NEW_TAKE: _FLAG,
        SCHEMA: _FLAG,
    }
)
